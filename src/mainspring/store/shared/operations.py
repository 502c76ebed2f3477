"""What a batch for the script in Redis is made of: one operation for each thing that was asked.

It knows the names of the keys there and the order of the numbers that the script reads, nothing of connections.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from mainspring.store.shared.script import BEAT, BOTH, GIVE, HELD, HOLD, LEVEL, TAKE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from mainspring.store.shared.types import Ask, Taken

#: All keys in one slot of a cluster, since one call touches several.
_PREFIX = "{mainspring}:"
#: Names that are kept ready: a request needs up to seven, and one costs a microsecond to make.
_MOST_NAMES = 20_000
ALIVE = f"{_PREFIX}alive".encode()
_BORN = f"{_PREFIX}born".encode()


class Operation:
    """One thing that the script is to do; `keys` and `numbers` are what it is told."""

    __slots__ = ("asks", "future", "keys", "kind", "numbers")

    def __init__(self, kind: int, keys: list[bytes], numbers: list[float]) -> None:
        self.kind = kind
        self.keys = keys
        self.numbers = numbers
        self.asks: Sequence[Ask] = ()
        self.future: asyncio.Future[Taken] | None = None


def taking(asks: Sequence[Ask], hint: Callable[[str], float] | None = None) -> Operation:
    """Let something through if every meter has room.

    Args:
        asks: what each meter is asked.
        hint: units that a meter stood at here, for a server that may have forgotten.
    """
    keys: list[bytes] = []
    numbers: list[float] = []
    for ask in asks:
        uses = _name_keys(ask, keys)
        allowance = ask.allowance
        level = 0.0 if hint is None else hint(ask.key)
        numbers += (uses, allowance.emission_us, allowance.capacity, ask.charge, ask.reserve, level)
    operation = Operation(TAKE, keys, numbers)
    operation.asks = asks
    return operation


def holding(key: str, units: float) -> Operation:
    """Say how much this process holds of something; 0 is nothing any more."""
    return Operation(HOLD, [_name(key, held=True)], [units])


def beating() -> Operation:
    """Say that this process lives, and learn how many do."""
    return Operation(BEAT, [_BORN], [])


def giving(asks: Sequence[Ask]) -> Operation:
    """Charge what is known by now, and let go of what was reserved for it."""
    keys: list[bytes] = []
    numbers: list[float] = []
    for ask in asks:
        uses = _name_keys(ask, keys)
        numbers += (uses, ask.allowance.emission_us, ask.charge, ask.reserve)
    operation = Operation(GIVE, keys, numbers)
    operation.asks = asks
    return operation


def _name_keys(ask: Ask, keys: list[bytes]) -> int:
    """Add the keys that an ask uses; returns which they are."""
    if not ask.allowance.drains:
        keys.append(_name(ask.key, held=True))
        return HELD
    keys.append(_name(ask.key, held=False))
    if not ask.reserve:
        return LEVEL
    keys.append(_name(ask.key, held=True))
    return BOTH


@lru_cache(maxsize=_MOST_NAMES)
def _name(key: str, *, held: bool) -> bytes:
    """The key there. It tells nothing of the user that it may be about, and is no longer than this."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"{_PREFIX}{digest}:h".encode() if held else f"{_PREFIX}{digest}".encode()
