"""The port, and what goes through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What a meter lets through: in any time `t` at most `capacity + t / emission_us` units.

    A meter that does not drain only bounds what is held at once. Its `emission_us` is then without meaning.

    Attributes:
        emission_us: microseconds in which one unit drains away.
        capacity: units that fit in at once.
        drains: whether the meter has a level at all.
    """

    emission_us: float
    capacity: float
    drains: bool = True


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A wish to move one meter.

    `charge` units are counted now. `reserve` units are held, and are given back by `Shared.give` with the same key;
    they are whole numbers. An ask for more than the capacity fits where nothing else is in the meter.
    """

    key: str
    allowance: Allowance
    charge: float = 0
    reserve: int = 0


class Taken(msgspec.Struct, gc=False):
    """What became of a list of asks: all of them were done, or none.

    Attributes:
        admitted: which of the two.
        levels: for each ask, microseconds until its meter has drained, as it stands afterwards.
        held: for each ask, units held in its meter, by all processes, as it stands afterwards.
        parts: by how many the allowances were divided because each process had to decide for itself.
    """

    admitted: bool
    levels: Sequence[float]
    held: Sequence[float]
    parts: int = 1


class SharedStatus(msgspec.Struct, frozen=True):
    """How the shared state is doing, as this process sees it.

    Attributes:
        kind: `memory` or `redis`.
        working: whether decisions are made on what all processes share.
        reason: why not; empty where they are.
        since_us: when that began, in Unix microseconds.
        processes: how many share it, as far as is known.
        place: the address, without a password; empty for memory.
        remedy: what to do about the reason.
    """

    kind: str
    working: bool
    reason: str
    since_us: int
    processes: int
    place: str = ""
    remedy: str = ""


class Shared(Protocol):
    """Meters shared by all processes of an instance. Belongs to one event loop. Nothing here raises."""

    async def start(self) -> None:
        """Begin; returns at once or after a moment, whether or not the server behind it is there."""
        ...

    async def take(self, asks: Sequence[Ask], /) -> Taken:
        """Move all these meters, or none of them if one has no room. Each key stands there once."""
        ...

    def give(self, asks: Sequence[Ask], /) -> None:
        """Count `charge` units without asking, and give back `reserve` units that were held. Does not wait."""
        ...

    def status(self) -> SharedStatus:
        """How it is doing."""
        ...

    async def close(self) -> None:
        """Give back what this process holds, and end."""
        ...
