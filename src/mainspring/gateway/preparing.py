"""The call in the words of the provider: which of its operations, in which body, and how its answer is said back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import InvalidRequest
from mainspring.gateway.bounds import OUTPUT_LIMITS
from mainspring.gateway.rewrite import asking_for_usage, with_model, with_number
from mainspring.providers.translate import UPSTREAMS, asking_for_rest, translation, without_sealed
from mainspring.providers.translate.upstream_chat import takes_completion_limit
from mainspring.providers.types import Call, Operation

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.providers import Provider, Providers
    from mainspring.providers.translate import Translation
    from mainspring.routing.types import Target

#: For each thing that is asked, what a provider must serve so that it can be said there; the first is the best.
_SAID_AS: dict[Operation, tuple[Operation, ...]] = {
    Operation.CHAT: (Operation.CHAT, Operation.MESSAGES),
    Operation.COMPLETIONS: (Operation.COMPLETIONS, Operation.CHAT, Operation.MESSAGES),
    Operation.RESPONSES: (Operation.RESPONSES, Operation.CHAT, Operation.MESSAGES),
    Operation.EMBEDDINGS: (Operation.EMBEDDINGS,),
    Operation.MESSAGES: (Operation.MESSAGES, Operation.CHAT),
    Operation.COUNT_TOKENS: (Operation.COUNT_TOKENS,),
}
STREAMS_OF_CHAT = frozenset({Operation.CHAT, Operation.COMPLETIONS})


class _Options(msgspec.Struct):
    stream_options: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


_decode_options = msgspec.json.Decoder(_Options).decode


def prepare(
    exchange: Exchange,
    target: Target,
    provider: Provider,
    providers: Providers,
    *,
    among: frozenset[Operation] | None = None,
) -> tuple[Call, Translation | None]:
    """The call in the provider's own protocol, and how its answer is said in the caller's, if that is another.

    Args:
        exchange: what is asked.
        target: who is asked.
        provider: of the target.
        providers: all of them.
        among: the provider's operations that may be used; None is all.
    """
    operation, spoken = _say(exchange.operation, provider, among)
    asked = _limited(exchange, target, translated=spoken is not None)
    if spoken is None:
        body = without_sealed(operation, asked)
        if exchange.envelope.model != target.model:
            body = with_model(body, target.model)
    else:
        body = spoken.request(asked, target.model)
    if exchange.stream and operation in STREAMS_OF_CHAT and target.provider in providers.asks_usage:
        body = asking_for_usage(
            body, _usage_wanted(exchange, body) if spoken is None else _said_options(body)
        )
    call = Call(
        operation=operation,
        model=target.model,
        body=body,
        stream=exchange.stream,
        headers=exchange.pass_headers,
        connect_seconds=exchange.timeouts.connect if exchange.timeouts is not None else 5.0,
    )
    return call, spoken


def prepare_rest(  # noqa: PLR0917 - one caller, which has them all
    exchange: Exchange, target: Target, provider: Provider, providers: Providers, text: str, used: int
) -> Call:
    """The call for the rest of a stream that broke.

    Args:
        exchange: the request for the whole.
        target: who is asked for the rest.
        provider: of the target.
        providers: all of them.
        text: what the caller has.
        used: tokens that it took of the limit.
    """
    call, _ = prepare(exchange, target, provider, providers, among=UPSTREAMS)
    call.body = asking_for_rest(
        call.operation, call.body, text, provider=target.provider, model=target.model, used=used
    )
    return call


def _say(
    operation: Operation, provider: Provider, among: frozenset[Operation] | None
) -> tuple[Operation, Translation | None]:
    for candidate in _SAID_AS[operation]:
        if candidate in provider.operations and (among is None or candidate in among):
            return candidate, None if candidate is operation else translation(operation, candidate)
    raise InvalidRequest(
        f"The provider {provider.name!r} does not serve {operation.value}.",
        remedy="Choose a model of a provider that does.",
        param="model",
    )


def _limited(exchange: Exchange, target: Target, *, translated: bool) -> bytes:
    """The body, with a limit on the answer where a budget must have one."""
    limit = exchange.cover.limits.get(target) if exchange.cover is not None else None
    if limit is None:
        return exchange.body
    name = "max_tokens"
    if exchange.operation is Operation.RESPONSES:
        name = "max_output_tokens"
    elif exchange.operation is Operation.CHAT and (translated or takes_completion_limit(target.model)):
        name = "max_completion_tokens"
    return with_number(exchange.body, name, limit, in_place_of=OUTPUT_LIMITS[exchange.operation])


def _usage_wanted(exchange: Exchange, body: bytes) -> bool | None:
    """What the caller said of `stream_options.include_usage`; None when the body has no such object."""
    options = exchange.envelope.stream_options
    if options is None:
        return None if b'"stream_options"' not in body else _said_options(body)
    return bool(options.include_usage)


def _said_options(body: bytes) -> bool | None:
    document = _decode_options(body)
    if document.stream_options is msgspec.UNSET:
        return None
    return isinstance(document.stream_options, dict) and document.stream_options.get("include_usage") is True


def strips_usage(exchange: Exchange, spoken: Translation | None) -> bool:
    """Whether usage is taken out of the stream, because it was asked for on our own account."""
    if spoken is not None or exchange.operation not in STREAMS_OF_CHAT:
        return False
    options = exchange.envelope.stream_options
    return options is None or not options.include_usage
