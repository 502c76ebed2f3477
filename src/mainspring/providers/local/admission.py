"""Who may use an engine now: a few at once, a few more in line, everyone else is told to come back."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from mainspring.base.clock import monotonic
from mainspring.base.errors import Overloaded

_SMOOTHING = 0.2


class Admission:
    """A line in front of one engine, first come first served. Belongs to one event loop.

    Args:
        name: what is in demand, for the message.
        parallel: how many run at once.
        queue: how many may wait.
    """

    def __init__(self, name: str, parallel: int, queue: int) -> None:
        self._name = name
        self._parallel = parallel
        self._queue = queue
        self._line: deque[asyncio.Future[None]] = deque()
        self._mean_seconds = 5.0
        #: How many run now.
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    async def enter(self) -> Place:
        """Wait for a place; whoever gets one must leave it.

        Raises:
            Overloaded: the line is full.
        """
        if self.running < self._parallel and not self._line:
            self.running += 1
            return Place(self)
        if len(self._line) >= self._queue:
            raise Overloaded(
                f"{self._name} is answering {self.running} requests and {len(self._line)} are waiting.",
                remedy="Try again later, or raise [local] parallel and queue.",
                retry_after=self._wait_seconds(),
            )
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            else:
                self._line.remove(turn)
            raise
        return Place(self)

    def leave(self, seconds: float) -> None:
        """Give a place back after so many seconds of use."""
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
        self._next()

    def _next(self) -> None:
        """Hand a place that became free to the first in line, or close it."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def _wait_seconds(self) -> int:
        return max(1, math.ceil((len(self._line) + 1) * self._mean_seconds / self._parallel))


class Place:
    """The right to use the engine, until it is left."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission
        self._since = monotonic()

    def leave(self) -> None:
        """Give it back; more than once is fine."""
        if self._admission is not None:
            self._admission.leave(monotonic() - self._since)
            self._admission = None
