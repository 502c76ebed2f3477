"""The step of the calls: a whole answer, or a stream up to its first content, from the first target that gives one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.gateway.attempts import Attempts
from mainspring.gateway.opening import AnswerStream, OpenStream, open_stream
from mainspring.gateway.preparing import prepare
from mainspring.ledger.types import Usage
from mainspring.providers.estimate import estimate_request
from mainspring.providers.translate import translation
from mainspring.providers.types import Operation, Seen, Tokenizes

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.trial import Trial
    from mainspring.gateway.upstreams import Upstreams
    from mainspring.providers import Provider
    from mainspring.routing.types import Plan


async def call_whole(exchange: Exchange, upstreams: Upstreams, plan: Plan | None = None) -> bytes:
    """Get a whole answer.

    Args:
        exchange: the request.
        upstreams: who may be asked.
        plan: another one than its own, when that has failed.

    Returns:
        The body in the caller's dialect.

    Raises:
        MainspringError: nobody answered.
    """

    async def call(trial: Trial, provider: Provider) -> bytes:
        if exchange.operation is Operation.COUNT_TOKENS and Operation.COUNT_TOKENS not in provider.operations:
            return await _count_tokens(exchange, trial, provider)
        asked, spoken = prepare(exchange, trial.target, provider, upstreams.providers)
        reply = await provider.call(asked)
        try:
            trial.record.key = reply.key
            body = await reply.read()
        finally:
            reply.close()
        trial.seen = provider.read_usage(asked.operation, body)
        return body if spoken is None else spoken.response(body, requested=exchange.body)

    return await Attempts(exchange, upstreams, call, _forget, plan or _plan(exchange)).run()


async def call_stream(exchange: Exchange, upstreams: Upstreams, plan: Plan | None = None) -> AnswerStream:
    """Open a stream; arguments as for `call_whole`.

    Raises:
        MainspringError: nobody began to answer.
    """

    async def call(trial: Trial, provider: Provider) -> OpenStream:
        return await open_stream(exchange, trial, provider, upstreams.providers)

    return await Attempts(exchange, upstreams, call, OpenStream.abandon, plan or _plan(exchange)).run()


def _plan(exchange: Exchange) -> Plan:
    assert exchange.plan is not None, "plan comes first"
    return exchange.plan


def _forget(body: bytes) -> None:
    """A whole answer holds nothing that must be let go."""


async def _count_tokens(exchange: Exchange, trial: Trial, provider: Provider) -> bytes:
    """Answer a count for a provider that has no endpoint for it: by its tokeniser if it is in the box, else estimated."""
    if isinstance(provider, Tokenizes):
        spoken = translation(Operation.MESSAGES, Operation.CHAT)
        assert spoken is not None, "these two differ"
        model = trial.target.model
        chat = msgspec.json.decode(spoken.request(exchange.body, model))
        tokens = await provider.count(model, messages=chat["messages"], tools=chat.get("tools"))
    else:
        tokens = estimate_request(exchange.operation, exchange.body)
    trial.seen = Seen(usage=Usage(), finished=True, content=True)
    return b'{"input_tokens":%d}' % tokens
