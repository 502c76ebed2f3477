"""Fourth step: the answer goes to the caller, and its last byte waits until the row is committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import MainspringError
from mainspring.base.money import format_usd
from mainspring.gateway.call import fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.gateway.call import OpenStream
    from mainspring.gateway.exchange import Exchange

#: An answer that is not kept is remembered to here, for our own count should the provider's be missing.
_COUNTED_BYTES = 4 << 20
#: A stream that is kept, to here: a model that never stops must not fill the memory.
_KEPT_BYTES = 64 << 20


async def relay_whole(exchange: Exchange, body: bytes, record: Callable[[Exchange], Awaitable[None]]) -> None:
    """Record a whole answer, then send it."""
    exchange.answer.append(body)
    exchange.response_bytes = len(body)
    exchange.first_byte_us = exchange.attempts[-1].ended_us
    await record(exchange)
    assert exchange.target is not None
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *exchange.id_headers(),
        *exchange.limit_headers(),
        *exchange.target.headers,
        (b"x-mainspring-attempts", b"%d" % len(exchange.attempts)),
        (b"x-mainspring-cache", b"off"),
    ]
    if exchange.cost_nusd is not None:
        headers.append((b"x-mainspring-cost-usd", format_usd(exchange.cost_nusd).encode()))
    exchange.head_sent = True
    await exchange.sink.start(200, headers)
    await exchange.sink.write(body, last=True)


async def relay_stream(
    exchange: Exchange, stream: OpenStream, record: Callable[[Exchange], Awaitable[None]]
) -> None:
    """Pass a stream on as it arrives; record it; then send what ends it.

    Raises:
        MainspringError: the upstream broke; the caller of this function says so in the caller's dialect.
    """
    try:
        await _relay_content(exchange, stream)
    finally:
        stream.reply.close(ended=stream.scanner.seen.ended)
    seen = exchange.seen
    assert seen is not None
    end = stream.end(seen.usage)
    exchange.answer.append(end)
    exchange.response_bytes += len(end)
    await record(exchange)
    exchange.closing = True
    await exchange.sink.write(end, last=True)


async def _relay_content(exchange: Exchange, stream: OpenStream) -> None:
    attempt, timeouts, sink = exchange.attempts[-1], exchange.timeouts, exchange.sink
    assert timeouts is not None
    total = exchange.received + timeouts.total
    idle = timeouts.idle
    exchange.interruptible = True
    try:
        if not exchange.head_sent:
            exchange.head_sent = True
            await sink.start(200, exchange.stream_head(answered=True))
        piece: bytes | None = b"".join(stream.held)
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
    except asyncio.CancelledError:
        reason = exchange.interruption()
        if reason is None:
            attempt.outcome = "cancelled"
            raise
        fail(attempt, reason)
        raise reason from None
    except MainspringError as error:
        fail(attempt, error)
        raise
    finally:
        exchange.interruptible = False
        exchange.writing = False
        attempt.ended_us = now_us()


def _keep(exchange: Exchange, piece: bytes) -> None:
    exchange.response_bytes += len(piece)
    if exchange.response_bytes < (_KEPT_BYTES if exchange.store_payloads else _COUNTED_BYTES):
        exchange.answer.append(piece)
