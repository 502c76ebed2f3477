"""The request path as a whole: the steps in their order, and what happens when one fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from mainspring.base.clock import monotonic
from mainspring.base.errors import (
    BudgetExceeded,
    ClientGone,
    InvalidRequest,
    MainspringError,
    Overloaded,
    drop_frames,
)
from mainspring.base.logging import get_logger, request_id
from mainspring.gateway.admit import admit, release
from mainspring.gateway.authenticate import authenticate
from mainspring.gateway.call import call_stream, call_whole
from mainspring.gateway.denials import worth_a_row
from mainspring.gateway.fallback import Fallback
from mainspring.gateway.plan import RequestNeeds, plan
from mainspring.gateway.relay import relay_stream, relay_whole
from mainspring.gateway.reserve import Purse, step_down
from mainspring.gateway.reserve import release as give_back
from mainspring.gateway.resume import resume
from mainspring.gateway.settle import settle
from mainspring.gateway.upstreams import Upstreams
from mainspring.gateway.watch import Watch
from mainspring.routing import Health, Router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.base.settings import Settings
    from mainspring.base.telemetry import Meter
    from mainspring.budgets import Budgets
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.opening import AnswerStream
    from mainspring.keys import KeyRing
    from mainspring.ledger import Ledger
    from mainspring.limits import Limits
    from mainspring.providers import Providers

_log = get_logger(__name__)
_Answer = TypeVar("_Answer")
_DEGRADED = "Answers that another route, a heuristic or a message gave in place of the route's targets."


class Gateway:
    """One process's request path.

    Args:
        settings: the configuration in force.
        config_hash: its name in the ledger.
        keys: who may ask.
        providers: who answers.
        ledger: where answers are recorded.
        meter: counts and times.
        limits: how much is let through; None for all.
        health: how the targets are, as far as this process knows; None begins anew.
        budgets: what may be spent; None is all.
    """

    def __init__(  # noqa: PLR0917 - the rooms below, each once
        self,
        settings: Settings,
        config_hash: str,
        keys: KeyRing,
        providers: Providers,
        ledger: Ledger,
        meter: Meter,
        limits: Limits | None = None,
        health: Health | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._keys = keys
        self._ledger = ledger
        self._meter = meter
        self._limits = limits
        self._providers = providers
        self._config_hash = config_hash
        self._purse = None if budgets is None else Purse(budgets, settings, providers)
        self.health = Health() if health is None else health
        self.planner = Router(settings, providers, self.health)
        self._upstreams = Upstreams(providers, self.health)
        self._fallback = Fallback(settings, self.planner, self._upstreams)
        self.watch = Watch(settings.server.keepalive_seconds)

    def start(self) -> None:
        """Begin to watch."""
        self.watch.start()

    def adopt(self, before: Gateway) -> None:
        """Go on with what is left of the extra calls of the gateway that this one replaces."""
        self._upstreams.adopt(before._upstreams)

    async def close(self) -> None:
        """Stop watching; open exchanges have been drained by then."""
        await self.watch.close()
        await self._upstreams.close()

    async def handle(self, exchange: Exchange) -> None:
        """Take a request all the way to its answer or its error. Raises nothing but a cancellation from outside."""
        exchange.task = asyncio.current_task()
        request_id.set(exchange.id)  # the task ends with the request, and its context with it
        self.watch.add(exchange)
        try:
            await self._answer(exchange)
        except MainspringError as error:
            await self._refuse(exchange, error)
        except asyncio.CancelledError:
            # The process is going down and could not wait for this answer; what was used is recorded all the same.
            exchange.error, exchange.cut = (
                Overloaded("The server stopped before the answer was complete."),
                True,
            )
            exchange.status = 200 if exchange.head_sent else exchange.error.status
            if exchange.principal is not None and not exchange.recorded:
                await asyncio.shield(self._record_quietly(exchange))
            raise
        except RecursionError:  # the envelope was read on a shallower stack than what follows it
            deep = InvalidRequest("The body is nested too deeply.", remedy="Send a flatter document.")
            await self._refuse(exchange, deep)
        except Exception as error:  # noqa: BLE001 - a bug of ours must still end in the caller's dialect
            _log.exception("unexpected_error", request_id=exchange.id, error=type(error).__name__)
            unexpected = MainspringError(
                "Something went wrong inside Mainspring.", remedy="The log has the request id."
            )
            await self._refuse(exchange, unexpected)
        finally:
            self.watch.discard(exchange)
            if exchange.grant is not None:
                exchange.grant.release()
            give_back(exchange)
            if exchange.error is not None:
                drop_frames(exchange.error)

    async def _answer(self, exchange: Exchange) -> None:
        authenticate(exchange, self._keys)
        plan(exchange, self.planner)
        await admit(exchange, self._limits)
        if self._purse is not None:
            self._purse.open(exchange)
        if exchange.stream:
            try:
                stream = await self._within_budget(exchange, call_stream)
            except MainspringError as error:
                stream = await self._fallback.stream(exchange, error)
            await relay_stream(exchange, stream, self._record, self._resume)
        else:
            try:
                body = await self._within_budget(exchange, call_whole)
            except MainspringError as error:
                body = await self._fallback.whole(exchange, error)
            await relay_whole(exchange, body, self._record)

    async def _within_budget(
        self, exchange: Exchange, call: Callable[[Exchange, Upstreams], Awaitable[_Answer]]
    ) -> _Answer:
        """Call, and where a budget has too little left for that, once more by the route that it names."""
        try:
            return await call(exchange, self._upstreams)
        except BudgetExceeded as error:
            if not step_down(
                exchange, error, lambda route: self.planner.plan(route, lambda: RequestNeeds(exchange))
            ):
                raise
            drop_frames(error)
        return await call(exchange, self._upstreams)

    async def _resume(
        self, exchange: Exchange, stream: AnswerStream, error: MainspringError
    ) -> AnswerStream | None:
        return await resume(exchange, stream, error, self._upstreams)

    async def _refuse(self, exchange: Exchange, error: MainspringError) -> None:
        """End an exchange with an error: record it, then say it."""
        exchange.closing = True  # a keepalive while the row is written would change what can be said
        exchange.error = error
        exchange.cut = exchange.content_sent
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, ClientGone):
            exchange.status = error.http_status
        elif exchange.head_sent:
            exchange.refusal = exchange.dialect.stream_error(error, exchange.id)
        else:
            exchange.status, headers, exchange.refusal = exchange.dialect.error(error, exchange.id)
        if exchange.principal is not None and not exchange.recorded:
            if worth_a_row(exchange, error, self._limits, self._meter):
                await self._record_quietly(exchange)
            else:
                self._count(exchange)
        if isinstance(error, ClientGone):
            return
        try:
            if not exchange.head_sent:
                exchange.head_sent = True
                length = (b"content-length", b"%d" % len(exchange.refusal))
                if exchange.plan is not None:
                    headers += exchange.answer_headers()
                await exchange.sink.start(exchange.status, [*headers, *exchange.limit_headers(), length])
            await exchange.sink.write(exchange.refusal, last=True)
        except ClientGone:
            pass  # it left while it was being refused; the row stands

    async def _record(self, exchange: Exchange) -> None:
        """Make the row and wait until it is durable.

        Raises:
            StoreUnavailable: the database is away; the answer is not complete without its row.
        """
        exchange.recorded = True
        row, payload = settle(exchange, self._providers.prices, self._config_hash)
        release(exchange, self._limits, row)
        counters = self._purse.settle(exchange, row) if self._purse is not None else ()
        if await self._ledger.append(row, payload, counters) and counters and self._purse is not None:
            self._purse.budgets.committed(counters)
        self._count(exchange)

    async def _record_quietly(self, exchange: Exchange) -> None:
        """Record what has failed already: a second failure is logged, since the caller is told of the first."""
        try:
            await self._record(exchange)
        except MainspringError as error:
            _log.error("row_lost", request_id=exchange.id, error=error.code)
        except Exception as error:  # noqa: BLE001 - a bug of ours in the record must not keep the caller from its answer
            _log.exception("row_lost", request_id=exchange.id, error=type(error).__name__)

    def _count(self, exchange: Exchange) -> None:
        seen, target, first = exchange.seen, exchange.target, exchange.first_byte_us
        if exchange.degraded is not None:
            route = (exchange.plan.route if exchange.plan is not None else None) or ""
            self._meter.count("degraded_answers", _DEGRADED, route=route, by=exchange.degraded)
        usage = seen.usage if seen is not None else None
        self._meter.answer(
            dialect=exchange.dialect.name,
            route=(exchange.plan.route if exchange.plan is not None else None) or "",
            provider=target.provider if target is not None else "",
            model=target.model if target is not None else "",
            status=exchange.status,
            error=exchange.error.code if exchange.error is not None else None,
            stream=exchange.stream,
            latency_s=monotonic() - exchange.received,
            first_token_s=(first - exchange.received_us) / 1e6
            if first is not None and exchange.stream
            else None,
            input_tokens=usage.input + usage.cache_read + usage.cache_write if usage is not None else 0,
            output_tokens=usage.output + usage.reasoning if usage is not None else 0,
            cost_nusd=exchange.cost_nusd,
        )
