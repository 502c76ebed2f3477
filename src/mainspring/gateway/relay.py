"""Fourth step: the answer goes to the caller, and its last byte waits until the row is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import MainspringError
from mainspring.base.money import format_usd
from mainspring.gateway.exchange import Interruptible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.opening import AnswerStream

    #: Goes on with a stream that broke, or says that this cannot be.
    Resume = Callable[[Exchange, AnswerStream, MainspringError], Awaitable[AnswerStream | None]]

#: An answer that is not kept is remembered to here, for our own count should the provider's be missing.
_COUNTED_BYTES = 4 << 20
#: A stream that is kept, to here: a model that never stops must not fill the memory.
_KEPT_BYTES = 64 << 20


async def relay_whole(exchange: Exchange, body: bytes, record: Callable[[Exchange], Awaitable[None]]) -> None:
    """Record a whole answer, then send it."""
    exchange.answer.append(body)
    exchange.response_bytes = len(body)
    exchange.first_byte_us = now_us() if exchange.attempt is None else exchange.attempt.ended_us
    await record(exchange)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *exchange.id_headers(),
        *exchange.limit_headers(),
        *exchange.answer_headers(),
        (b"x-mainspring-cache", b"off"),
    ]
    if exchange.cost_nusd is not None:
        headers.append((b"x-mainspring-cost-usd", format_usd(exchange.cost_nusd).encode()))
    exchange.head_sent = True
    await exchange.sink.start(200, headers)
    await exchange.sink.write(body, last=True)


async def relay_stream(
    exchange: Exchange,
    stream: AnswerStream,
    record: Callable[[Exchange], Awaitable[None]],
    resume: Resume,
) -> None:
    """Pass a stream on as it arrives; record it; then send what ends it.

    Args:
        exchange: the request.
        stream: its answer.
        record: makes the row durable.
        resume: goes on elsewhere with a stream that broke; None from it is that this cannot be.

    Raises:
        MainspringError: the upstream broke; the caller of this function says so in the caller's dialect.
    """
    while True:
        try:
            with Interruptible(exchange):
                await _relay_content(exchange, stream)
        except MainspringError as error:
            stream.close(error)
            rest = await resume(exchange, stream, error)
            if rest is None:
                raise
            stream = rest
        except BaseException:  # a cancellation from outside, a bug of ours: the upstream must not go on
            stream.abandon()
            raise
        else:
            break
    stream.close()
    end = stream.end()
    exchange.answer.append(end)
    exchange.response_bytes += len(end)
    await record(exchange)
    exchange.closing = True
    await exchange.sink.write(end, last=True)


async def _relay_content(exchange: Exchange, stream: AnswerStream) -> None:
    timeouts, sink = exchange.timeouts, exchange.sink
    assert timeouts is not None
    total = exchange.received + timeouts.total
    idle = timeouts.idle
    try:
        if not exchange.head_sent:
            exchange.head_sent = True
            await sink.start(200, exchange.stream_head(answered=True))
        piece: bytes | None = b"".join(stream.held)
        if exchange.first_byte_us is None:
            exchange.first_byte_us = now_us()
        exchange.content_sent = True
        while piece is not None:
            if piece:
                _keep(exchange, piece)
                exchange.writing = True
                await sink.write(piece)
                exchange.writing = False
                exchange.last_write = monotonic()
            exchange.deadline = min(total, monotonic() + idle)
            piece = await stream.next()
    finally:
        exchange.writing = False


def _keep(exchange: Exchange, piece: bytes) -> None:
    exchange.response_bytes += len(piece)
    if exchange.response_bytes < (_KEPT_BYTES if exchange.store_payloads else _COUNTED_BYTES):
        exchange.answer.append(piece)
