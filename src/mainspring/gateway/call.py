"""Third step: the attempts. Each target of the plan is called in turn until one answers.

A whole answer is read to its end here, and of a stream everything up to its first piece of content is held, so that
until then a failure of one target is mended by the next and the caller sees nothing of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import (
    ClientGone,
    ContextLengthExceeded,
    InvalidRequest,
    LocalModelError,
    MainspringError,
    Overloaded,
    ProviderError,
    ProviderProtocolError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
    drop_frames,
)
from mainspring.gateway.rewrite import asking_for_usage, with_model
from mainspring.ledger.types import Attempt, Outcome, Usage
from mainspring.providers.estimate import estimate_request
from mainspring.providers.sse import EventSplitter, parse_events
from mainspring.providers.translate import translation
from mainspring.providers.types import Call, Operation, Seen, Tokenizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mainspring.gateway.exchange import Exchange
    from mainspring.routing import Target
    from mainspring.providers import Provider, Providers, Reply, StreamScanner
    from mainspring.providers.translate import StreamTranslation, Translation

#: For each thing that is asked, what a provider must serve so that it can be said there; the first is the best.
_SAID_AS: dict[Operation, tuple[Operation, ...]] = {
    Operation.CHAT: (Operation.CHAT, Operation.MESSAGES),
    Operation.COMPLETIONS: (Operation.COMPLETIONS, Operation.CHAT, Operation.MESSAGES),
    Operation.RESPONSES: (Operation.RESPONSES, Operation.CHAT, Operation.MESSAGES),
    Operation.EMBEDDINGS: (Operation.EMBEDDINGS,),
    Operation.MESSAGES: (Operation.MESSAGES, Operation.CHAT),
    Operation.COUNT_TOKENS: (Operation.COUNT_TOKENS,),
}
_STREAMS_OF_CHAT = frozenset({Operation.CHAT, Operation.COMPLETIONS})
#: An answer with one of these says that the request itself is wrong: another target would say the same.
_CALLERS_FAULT = frozenset({400, 405, 413, 414, 415, 422, 431})

_OUTCOMES: tuple[tuple[type[MainspringError], Outcome], ...] = (
    (ProviderRefused, "refused"),
    (ProviderUnreachable, "unreachable"),
    (ProviderTimeout, "timeout"),
    (ProviderProtocolError, "protocol"),
    (StreamCut, "cut"),
    (ClientGone, "cancelled"),
)


_Answer = TypeVar("_Answer")


class _Options(msgspec.Struct):
    stream_options: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


_decode_options = msgspec.json.Decoder(_Options).decode


class OpenStream:
    """A stream whose first content is here and held, ready to be relayed."""

    __slots__ = ("_chunks", "_splitter", "_translated", "held", "reply", "scanner")

    def __init__(self, reply: Reply, scanner: StreamScanner, translated: StreamTranslation | None) -> None:
        self.reply = reply
        self.scanner = scanner
        self.held: list[bytes] = []
        self._chunks: AsyncIterator[bytes] = reply.chunks()
        self._splitter = EventSplitter()
        self._translated = translated

    async def hold(self, attempt: Attempt) -> None:
        """Read up to the first content, or to the end of an answer that has none; raises as `next` does."""
        seen = self.scanner.seen
        while not seen.content:
            piece = await self.next()
            if piece is None:
                return
            if piece:
                self.held.append(piece)
            attempt.first_byte_us = attempt.first_byte_us or now_us()
        if seen.error is not None:
            raise seen.error  # it came with the first content, which nobody has got: another target may still answer

    async def next(self) -> bytes | None:
        """The next bytes for the caller, in the caller's dialect: whole events, maybe none; None at the end.

        Raises:
            StreamCut: the connection broke, or the stream ended without saying that it was complete.
            ProviderRefused: the provider reported an error inside its stream.
            ProviderProtocolError: it sent something that is no event of its protocol.
        """
        seen = self.scanner.seen
        if seen.error is not None:
            raise seen.error
        if seen.ended:
            return None
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            events = self._splitter.feed(chunk)
            return self._read(events) if events else b""
        rest, self._splitter = self._splitter.rest(), EventSplitter()
        if out := self._read_rest(rest):
            return out
        if not seen.finished:
            raise StreamCut("The provider's stream ended before the answer was complete.")
        return None

    def end(self, usage: Usage | None) -> bytes:
        """What closes the stream in the caller's dialect."""
        return self.scanner.terminal() if self._translated is None else self._translated.end(usage)

    def _read_rest(self, rest: bytes) -> bytes:
        if not rest.strip():
            return b""
        last = rest.rstrip(b"\r\n") + b"\n\n"  # some servers forget the last blank line
        for event in parse_events(last):
            if event.data != b"[DONE]" and not _is_json(event.data):
                raise StreamCut("The provider's stream ended in the middle of an event.")
        return self._read(last)

    def _read(self, events: bytes) -> bytes:
        out = self.scanner.feed(events)
        error = self.scanner.seen.error
        if error is not None and not out:
            raise error  # else after what came before it has gone out
        if self._translated is None or not out:
            return out
        feed = self._translated.feed
        return b"".join([feed(event) for event in parse_events(out)])


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


async def call_whole(exchange: Exchange, providers: Providers) -> bytes:
    """Get a whole answer from the first target that gives one.

    Returns:
        The body in the caller's dialect.

    Raises:
        MainspringError: what the last attempt failed with.
    """

    async def attempt(target: Target, provider: Provider) -> bytes:
        if exchange.operation is Operation.COUNT_TOKENS and Operation.COUNT_TOKENS not in provider.operations:
            return await _count_tokens(exchange, target, provider)
        call, spoken = _prepare(exchange, target, provider, providers)
        reply = await provider.call(call)
        try:
            body = await reply.read()
        finally:
            reply.close()
        exchange.seen = provider.read_usage(call.operation, body)
        return body if spoken is None else spoken.response(body, requested=exchange.body)

    return await _first_that_answers(exchange, providers, attempt)


async def open_stream(exchange: Exchange, providers: Providers) -> OpenStream:
    """Open a stream at the first target that begins to answer.

    Raises:
        MainspringError: what the last attempt failed with.
    """

    async def attempt(target: Target, provider: Provider) -> OpenStream:
        call, spoken = _prepare(exchange, target, provider, providers)
        reply = await provider.call(call)
        try:
            await _must_be_stream(reply, provider, call.operation)
            scanner = provider.scanner(call.operation, strip_usage=_strips_usage(exchange, spoken))
            translated = None if spoken is None else spoken.stream(requested=exchange.body)
            stream = OpenStream(reply, scanner, translated)
            exchange.seen = scanner.seen
            await stream.hold(exchange.attempts[-1])
        except BaseException:  # whatever it was, a cancellation too, the upstream must not go on
            reply.close()
            raise
        return stream

    return await _first_that_answers(exchange, providers, attempt)


async def _must_be_stream(reply: Reply, provider: Provider, operation: Operation) -> None:
    kind = reply.headers.get("content-type", "")
    if kind.lower().startswith("text/event-stream"):
        return
    # It may hold an error, which then says more than that it is no stream.
    provider.read_usage(operation, await reply.read())
    raise ProviderProtocolError(f"{provider.name} answered with {kind or 'no type'} in place of a stream.")


async def _first_that_answers(
    exchange: Exchange, providers: Providers, attempt: Callable[[Target, Provider], Awaitable[_Answer]]
) -> _Answer:
    plan, timeouts = exchange.plan, exchange.timeouts
    assert plan is not None
    assert timeouts is not None
    total = exchange.received + timeouts.total
    targets = list(plan.targets)
    while True:
        target = exchange.target = targets.pop(0)
        record = Attempt(provider=target.provider, model=target.model, started_us=now_us())
        exchange.attempts.append(record)
        exchange.seen = None
        exchange.deadline = min(total, monotonic() + timeouts.first_token) if exchange.stream else total
        exchange.interruptible = True
        try:
            answer = await attempt(target, providers.get(target.provider))
        except asyncio.CancelledError:
            reason = exchange.interruption()
            if reason is None:
                record.outcome = "cancelled"
                raise
            error = reason
        except MainspringError as failure:
            error = failure
        else:
            return answer
        finally:
            exchange.interruptible = False
            record.ended_us = now_us()
        fail(record, error)
        if isinstance(error, ProviderUnreachable) and error.dropped and not _tried_before(exchange):
            # A pooled connection may have been closed by the other side just as the call was written to it.
            targets.insert(0, target)
        if not targets or not _another_may_cure(error) or monotonic() >= total:
            raise error
        drop_frames(error)


def fail(record: Attempt, error: MainspringError) -> None:
    """Write down how an attempt ended."""
    record.outcome = next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "failed")
    record.error = error.code
    record.status = error.upstream_status if isinstance(error, ProviderRefused) else None


def _tried_before(exchange: Exchange) -> bool:
    last = exchange.attempts[-1]
    return any(a.provider == last.provider and a.model == last.model for a in exchange.attempts[:-1])


def _another_may_cure(error: MainspringError) -> bool:
    if isinstance(error, ProviderRefused):
        return error.upstream_status not in _CALLERS_FAULT
    if isinstance(error, ContextLengthExceeded):
        return False
    # What cannot be said in one provider's protocol may be said in that of another.
    return isinstance(error, ProviderError | LocalModelError | Overloaded | InvalidRequest)


def _prepare(
    exchange: Exchange, target: Target, provider: Provider, providers: Providers
) -> tuple[Call, Translation | None]:
    """The call in the provider's own protocol, and how its answer is said in the caller's, if that is another."""
    operation, spoken = _say(exchange.operation, provider)
    if spoken is None:
        body = exchange.body
        if exchange.envelope.model != target.model:
            body = with_model(body, target.model)
    else:
        body = spoken.request(exchange.body, target.model)
    if exchange.stream and operation in _STREAMS_OF_CHAT and target.provider in providers.asks_usage:
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


def _say(operation: Operation, provider: Provider) -> tuple[Operation, Translation | None]:
    for candidate in _SAID_AS[operation]:
        if candidate in provider.operations:
            return candidate, None if candidate is operation else translation(operation, candidate)
    raise InvalidRequest(
        f"The provider {provider.name!r} does not serve {operation.value}.",
        remedy="Choose a model of a provider that does.",
        param="model",
    )


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


def _strips_usage(exchange: Exchange, spoken: Translation | None) -> bool:
    if spoken is not None or exchange.operation not in _STREAMS_OF_CHAT:
        return False
    options = exchange.envelope.stream_options
    return options is None or not options.include_usage


async def _count_tokens(exchange: Exchange, target: Target, provider: Provider) -> bytes:
    """Answer a count for a provider that has no endpoint for it: by its tokeniser if it is in the box, else estimated."""
    if isinstance(provider, Tokenizes):
        spoken = translation(Operation.MESSAGES, Operation.CHAT)
        assert spoken is not None, "these two differ"
        chat = msgspec.json.decode(spoken.request(exchange.body, target.model))
        tokens = await provider.count(target.model, messages=chat["messages"], tools=chat.get("tools"))
    else:
        tokens = estimate_request(exchange.operation, exchange.body)
    exchange.seen = Seen(usage=Usage(), finished=True, content=True)
    return b'{"input_tokens":%d}' % tokens
