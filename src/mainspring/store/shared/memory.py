"""Meters in the memory of this process: the shared state of one process, and what Redis leaves us with when it is away.

A level is kept as the instant at which the meter will have drained (GCRA), so that a meter nobody asks for costs
nothing. Meters that have drained are swept out, a part of them every second: memory follows the callers of the last
minute, not all that there ever were.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.store.shared.types import SharedStatus, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.store.shared.types import Ask

#: Parts of the table; one is swept every second, so that no sweep is long. A power of two.
_PARTS = 64
_LAST_PART = _PARTS - 1
SWEEP_SECONDS = 1.0
#: What rounding may make of two times that are the same, in microseconds.
SLACK_US = 1.0


def monotonic_us() -> float:
    """Microseconds that never go back."""
    return time.monotonic_ns() / 1000


class Meters:
    """Decides and counts; nothing here waits.

    Args:
        clock: microseconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic_us) -> None:
        self._clock = clock
        #: By key, when the meter will have drained.
        self._drained: list[dict[str, float]] = [{} for _ in range(_PARTS)]
        #: By key, what is held.
        self.held: dict[str, int] = {}
        self._next_sweep = 0

    def __len__(self) -> int:
        return sum(map(len, self._drained))

    def take(self, asks: Sequence[Ask], parts: int = 1) -> Taken:
        """See `Shared.take`; every allowance divided by `parts`."""
        now = self._clock()
        tables, holders = self._drained, self.held
        denied = -1
        levels: list[float] = []
        held: list[float] = []
        # Each meter is moved as it is looked at, and moved back where a later one has no room: most have.
        for ask in asks:
            key, allowance, charge, reserve = ask.key, ask.allowance, ask.charge, ask.reserve
            emission, capacity = allowance.emission_us, allowance.capacity
            if parts != 1:
                emission, capacity = emission * parts, max(1.0, capacity / parts)
            table = tables[hash(key) & _LAST_PART]
            level = table.get(key, 0.0) - now
            level = level if level > 0.0 else 0.0  # noqa: FURB136 - max() takes three times as long
            others = holders.get(key, 0) if reserve else 0
            need = charge + reserve
            need = need if need < capacity else capacity  # noqa: FURB136 - as above
            if denied >= 0:
                pass
            elif level + (others + need - capacity) * emission > SLACK_US:
                denied = len(levels)
            else:
                if charge:
                    level += charge * emission
                    table[key] = now + level
                if reserve:
                    others += reserve
                    holders[key] = others
            levels.append(level)
            held.append(others)
        if denied >= 0:
            self._undo(asks[:denied], parts, now, levels, held)
        return Taken(denied < 0, levels, held, parts)

    def _undo(
        self, asks: Sequence[Ask], parts: int, now: float, levels: list[float], held: list[float]
    ) -> None:
        """Move meters back that were moved in vain."""
        for index, ask in enumerate(asks):
            if ask.charge:
                levels[index] = max(0.0, levels[index] - ask.charge * ask.allowance.emission_us * parts)
                self._drained[hash(ask.key) & _LAST_PART][ask.key] = now + levels[index]
            if ask.reserve:
                held[index] -= ask.reserve
                self.hold(ask.key, -ask.reserve)

    def give(self, asks: Sequence[Ask], parts: int = 1) -> None:
        """See `Shared.give`."""
        now = self._clock()
        for ask in asks:
            key = ask.key
            if ask.charge and ask.allowance.drains:
                table = self._drained[hash(key) & _LAST_PART]
                table[key] = max(table.get(key, 0.0), now) + ask.charge * ask.allowance.emission_us * parts
            if ask.reserve:
                self.hold(key, -ask.reserve)

    def hold(self, key: str, units: int) -> None:
        """Hold more, or less, without asking."""
        rest = self.held.get(key, 0) + units
        if rest > 0:
            self.held[key] = rest
        else:
            self.held.pop(key, None)

    def level(self, key: str) -> float:
        """Microseconds until a meter has drained."""
        return max(0.0, self._drained[hash(key) & _LAST_PART].get(key, 0.0) - self._clock())

    def remember(self, asks: Sequence[Ask], taken: Taken) -> None:
        """Take over levels that were decided on elsewhere."""
        now = self._clock()
        for ask, level in zip(asks, taken.levels, strict=True):
            if level > 0:
                self._drained[hash(ask.key) & _LAST_PART][ask.key] = now + level

    def sweep(self) -> None:
        """Forget what has drained, in the next part of the table."""
        now = self._clock()
        table = self._drained[self._next_sweep]
        self._next_sweep = (self._next_sweep + 1) & _LAST_PART
        kept = {key: end for key, end in table.items() if end > now}
        if len(kept) < len(table):
            self._drained[(self._next_sweep - 1) & _LAST_PART] = kept


class MemoryShared:
    """`memory://`: nothing is shared with anybody.

    Args:
        parts: how many processes of this server each keep meters of their own; every allowance is divided by it, so
            that all together let no more through than one.
        clock: microseconds that never go back.
    """

    def __init__(self, parts: int = 1, clock: Callable[[], float] = monotonic_us) -> None:
        self.meters = Meters(clock)
        self._parts = parts
        self._since_us = now_us()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sweep."""
        self._sweeper = asyncio.create_task(self._sweep(), name="meters")

    async def take(self, asks: Sequence[Ask], /) -> Taken:
        """Decide at once."""
        return self.meters.take(asks, self._parts)

    def give(self, asks: Sequence[Ask], /) -> None:
        """Count at once."""
        self.meters.give(asks, self._parts)

    def status(self) -> SharedStatus:
        """Always well."""
        alone = self._parts == 1
        return SharedStatus(
            "memory",
            alone,
            "" if alone else f"{self._parts} processes each keep a share of every limit",
            self._since_us,
            self._parts,
            remedy="" if alone else "Name a Redis or Valkey in storage.shared to have them exact together.",
        )

    async def close(self) -> None:
        """Stop sweeping."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.meters.sweep()
