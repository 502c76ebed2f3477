"""The watch over open exchanges: deadlines, keepalives and callers who left.

One sweep every 50 ms looks at all of them, in place of several timers for each request. That a caller left, the sink
tells at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic
from mainspring.base.errors import ProviderTimeout

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange

_SWEEP_SECONDS = 0.05


class Watch:
    """Watches every exchange between `add` and `discard`.

    Args:
        keepalive_seconds: a stream that was silent for so long gets a keepalive.
    """

    def __init__(self, keepalive_seconds: float) -> None:
        self._keepalive = keepalive_seconds
        self._open: set[Exchange] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin to sweep on the running loop."""
        self._sweeper = asyncio.create_task(self._sweep(), name="watch")

    async def close(self) -> None:
        """Stop sweeping."""
        tasks = [*self._tasks, *([self._sweeper] if self._sweeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, exchange: Exchange) -> None:
        """Watch an exchange from now on."""
        self._open.add(exchange)
        exchange.sink.when_gone(exchange.caller_left)

    def discard(self, exchange: Exchange) -> None:
        """Watch it no more."""
        self._open.discard(exchange)
        exchange.sink.when_gone(None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = monotonic()
            for exchange in list(self._open):
                if exchange.waiting is not None:
                    exchange.waiting.consider()
                if now >= exchange.deadline > 0 and (not exchange.writing or _is_over(exchange, now)):
                    exchange.interrupt(_timeout(exchange))
                elif (
                    exchange.stream and not exchange.writing and now - exchange.last_write >= self._keepalive
                ):
                    exchange.last_write = now
                    task = asyncio.create_task(exchange.keep_alive())
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)


def _is_over(exchange: Exchange, now: float) -> bool:
    """Whether all of its time is up. Before that, a caller who reads slowly is not the provider's silence."""
    return exchange.timeouts is not None and now - exchange.received >= exchange.timeouts.total


def _timeout(exchange: Exchange) -> ProviderTimeout:
    timeouts, target = exchange.timeouts, exchange.target
    assert timeouts is not None
    name = f"{target.provider}/{target.model}" if target is not None else "the provider"
    if monotonic() - exchange.received >= timeouts.total:
        return ProviderTimeout(
            f"{name} did not finish within {timeouts.total:g} s.", remedy="Raise timeouts.total of the route."
        )
    if exchange.content_sent:
        return ProviderTimeout(
            f"{name} went silent for {timeouts.idle:g} s in the middle of its answer.",
            remedy="Raise timeouts.idle of the route if that is normal for this model.",
        )
    return ProviderTimeout(
        f"{name} sent nothing for {timeouts.first_token:g} s.",
        remedy="Raise timeouts.first_token of the route if that is normal for this model.",
    )
