"""When no target answers: another route, a user's own heuristic, a fixed message, in this order, as the route says.

What stands in for a model is marked as degraded in the headers, in the ledger and in the metrics. Errors that are the
caller's own are told as they are, and so is everything on surfaces where an answer is no text, unless another route has
it. An answer that was kept from earlier belongs before all of them: at the head of
`Fallback.whole` and `Fallback.stream`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import ClientGone, MainspringError, RequestError
from mainspring.base.settings import FallbackSettings
from mainspring.gateway.call import call_stream, call_whole
from mainspring.gateway.exchange import Interruptible
from mainspring.gateway.faults import another_target_may_cure, is_kept_elsewhere
from mainspring.gateway.heuristics import Heuristics
from mainspring.gateway.plan import RequestNeeds
from mainspring.providers.translate import CLIENTS, streamed_text, whole_text
from mainspring.providers.types import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.base.settings import Settings
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.opening import AnswerStream
    from mainspring.gateway.upstreams import Upstreams
    from mainspring.routing import Plan, Router


class TextStream:
    """A text that is here already, as a stream; see `opening.AnswerStream`."""

    def __init__(self, events: bytes, end: bytes) -> None:
        self.held = [events]
        self._end = end

    async def next(self) -> bytes | None:
        """Nothing more."""
        return None

    def end(self) -> bytes:
        """What closes it."""
        return self._end

    def close(self, error: MainspringError | None = None) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""


class Fallback:
    """What stands in for models, in one gateway.

    Args:
        settings: the configuration.
        router: knows the other routes.
        upstreams: the way to their targets.

    Raises:
        ConfigError: a heuristic is not there.
    """

    def __init__(self, settings: Settings, router: Router, upstreams: Upstreams) -> None:
        self._router = router
        self._upstreams = upstreams
        self._heuristics = Heuristics(sorted(_heuristics(settings)))

    async def whole(self, exchange: Exchange, error: MainspringError) -> bytes:
        """A whole answer in place of the one that nobody gave.

        Raises:
            MainspringError: `error`, where nothing stands in for it.
        """
        plan = self._plan(exchange, error)
        while plan is not None and plan.fallback is not None:
            other = self._other(exchange, plan.fallback)
            if other is not None:
                try:
                    body = await call_whole(exchange, self._upstreams, other)
                except MainspringError as failure:
                    _raise_if_gone(failure)
                else:
                    exchange.degraded = "route"
                    return body
            text = await self._text(exchange, plan.fallback, error)
            if text is not None:
                return whole_text(exchange.operation, exchange.body, text, exchange.envelope.model)
            plan = other
        raise error

    async def stream(self, exchange: Exchange, error: MainspringError) -> AnswerStream:
        """A stream in place of the one that nobody began; otherwise as `whole`."""
        plan = self._plan(exchange, error)
        while plan is not None and plan.fallback is not None:
            other = self._other(exchange, plan.fallback)
            if other is not None:
                try:
                    stream = await call_stream(exchange, self._upstreams, other)
                except MainspringError as failure:
                    _raise_if_gone(failure)
                else:
                    exchange.degraded = "route"
                    return stream
            text = await self._text(exchange, plan.fallback, error)
            if text is not None:
                return TextStream(
                    *streamed_text(exchange.operation, exchange.body, text, exchange.envelope.model)
                )
            plan = other
        raise error

    def _plan(self, exchange: Exchange, error: MainspringError) -> Plan | None:
        """The plan that failed; None where nothing may stand in for it."""
        if exchange.left is not None or not another_target_may_cure(error) or is_kept_elsewhere(error):
            return None
        return exchange.plan

    def _other(self, exchange: Exchange, settings: FallbackSettings) -> Plan | None:
        """The plan of the other route."""
        if settings.route is None:
            return None
        try:
            return self._router.plan(settings.route, lambda: RequestNeeds(exchange))
        except RequestError:  # none of its targets can do what is asked
            return None

    async def _text(
        self, exchange: Exchange, settings: FallbackSettings, error: MainspringError
    ) -> str | None:
        """What the heuristic or the message says; None where there is neither, or no place for a text."""
        if exchange.operation not in CLIENTS:
            return None
        text, kind = None, "heuristic"
        if settings.heuristic is not None:
            text = await self._ask(settings.heuristic, exchange, error)
        if text is None and settings.message is not None:
            text, kind = settings.message, "message"
        if text is not None:
            exchange.degraded = kind
            exchange.target = exchange.attempt = None
            exchange.seen = Seen(finish_reason="stop", finished=True, content=True)
        return text

    async def _ask(self, heuristic: str, exchange: Exchange, error: MainspringError) -> str | None:
        """Ask a heuristic; a caller who leaves ends the wait."""
        exchange.deadline = 0.0  # that of the targets has passed; a heuristic has a time of its own
        with Interruptible(exchange):
            return await self._heuristics.ask(heuristic, exchange, error.code)


def _heuristics(settings: Settings) -> Iterator[str]:
    """The heuristics that are named anywhere."""
    for fallback in (settings.defaults.fallback, *(route.fallback for route in settings.routes.values())):
        if isinstance(fallback, FallbackSettings) and fallback.heuristic is not None:
            yield fallback.heuristic


def _raise_if_gone(failure: MainspringError) -> None:
    if isinstance(failure, ClientGone):
        raise failure
