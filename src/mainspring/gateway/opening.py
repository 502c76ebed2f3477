"""A stream from its head to its first content: until that is here, another target can still take over unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from mainspring.base.clock import now_us
from mainspring.base.errors import MainspringError, ProviderProtocolError, StreamCut
from mainspring.gateway.preparing import prepare, strips_usage
from mainspring.providers.sse import EventSplitter, parse_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.trial import Trial
    from mainspring.providers import Provider, Providers, Reply, StreamScanner
    from mainspring.providers.translate import StreamTranslation
    from mainspring.providers.types import Operation


class AnswerStream(Protocol):
    """What is relayed to a caller: pieces in the caller's dialect, and what closes them."""

    #: The pieces that are here already.
    held: list[bytes]

    async def next(self) -> bytes | None:
        """The next bytes: whole events, maybe none; None at the end."""
        ...

    def end(self) -> bytes:
        """What closes the stream, once it is complete."""
        ...

    def close(self, error: MainspringError | None = None) -> None:
        """Let go of the upstream; `error` is what broke it. More than once is fine."""
        ...

    def abandon(self) -> None:
        """Let go of it because nobody wants it any more."""
        ...


class OpenStream:
    """A stream of a target; see `AnswerStream`.

    Args:
        trial: the call that it answers.
        reply: the answer on its way.
        scanner: reads it.
        translated: says it in the caller's words; None where it passes through.
    """

    __slots__ = ("_chunks", "_reply", "_scanner", "_splitter", "held", "translated", "trial")

    def __init__(
        self, trial: Trial, reply: Reply, scanner: StreamScanner, translated: StreamTranslation | None
    ) -> None:
        self.trial = trial
        self._reply = reply
        self._scanner = scanner
        self.held: list[bytes] = []
        self._chunks: AsyncIterator[bytes] = reply.chunks()
        self._splitter = EventSplitter()
        self.translated = translated

    async def hold(self) -> None:
        """Read up to the first content, or to the end of an answer that has none; raises as `next` does."""
        record = self.trial.record
        seen = self._scanner.seen
        while not seen.content:
            piece = await self.next()
            if piece is None:
                return
            if piece:
                self.held.append(piece)
            record.first_byte_us = record.first_byte_us or now_us()
        if seen.error is not None:
            raise seen.error  # it came with the first content, which nobody has got: another target may still answer

    async def next(self) -> bytes | None:
        """The next bytes for the caller, in the caller's dialect: whole events, maybe none; None at the end.

        Raises:
            StreamCut: the connection broke, or the stream ended without saying that it was complete.
            ProviderRefused: the provider reported an error inside its stream.
            ProviderProtocolError: it sent something that is no event of its protocol.
        """
        seen = self._scanner.seen
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

    def end(self) -> bytes:
        """What closes the stream in the caller's dialect."""
        if self.translated is None:
            return self._scanner.terminal()
        return self.translated.end(self._scanner.seen.usage)

    def close(self, error: MainspringError | None = None) -> None:
        """Let go, and tell health how it ended."""
        self._reply.close(ended=self._scanner.seen.ended)
        if error is None:
            self.trial.succeeded()
        else:
            self.trial.failed(error)

    def abandon(self) -> None:
        """Let go, and tell health that this says nothing."""
        self._reply.close()
        self.trial.let_go()

    def _read_rest(self, rest: bytes) -> bytes:
        if not rest.strip():
            return b""
        last = rest.rstrip(b"\r\n") + b"\n\n"  # some servers forget the last blank line
        for event in parse_events(last):
            if event.data != b"[DONE]" and not _is_json(event.data):
                raise StreamCut("The provider's stream ended in the middle of an event.")
        return self._read(last)

    def _read(self, events: bytes) -> bytes:
        out = self._scanner.feed(events)
        error = self._scanner.seen.error
        if error is not None and not out:
            raise error  # else after what came before it has gone out
        if self.translated is None or not out:
            return out
        feed = self.translated.feed
        return b"".join([feed(event) for event in parse_events(out)])


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


async def open_stream(
    exchange: Exchange, trial: Trial, provider: Provider, providers: Providers
) -> OpenStream:
    """Call a target and hold its stream up to the first content.

    Raises:
        MainspringError: it did not come to that.
    """
    call, spoken = prepare(exchange, trial.target, provider, providers)
    reply = await provider.call(call)
    try:
        trial.record.key = reply.key
        await must_be_stream(reply, trial, provider, call.operation)
        scanner = provider.scanner(call.operation, strip_usage=strips_usage(exchange, spoken))
        translated = None if spoken is None else spoken.stream(requested=exchange.body)
        stream = OpenStream(trial, reply, scanner, translated)
        trial.seen = scanner.seen
        await stream.hold()
    except BaseException:  # whatever it was, a cancellation too, the upstream must not go on
        reply.close()
        raise
    trial.answered()
    return stream


async def must_be_stream(reply: Reply, trial: Trial, provider: Provider, operation: Operation) -> None:
    """Check that an answer is a stream. What a whole one has used is noted all the same.

    Raises:
        ProviderError: it is not; as what it says of itself, where it says that.
    """
    kind = reply.headers.get("content-type", "")
    if kind.lower().startswith("text/event-stream"):
        return
    # It may hold an error, which then says more than that it is no stream.
    trial.seen = provider.read_usage(operation, await reply.read())
    raise ProviderProtocolError(f"{provider.name} answered with {kind or 'no type'} in place of a stream.")
