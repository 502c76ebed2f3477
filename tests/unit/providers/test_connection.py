"""One connection to an upstream, byte by byte: its parser, its buffer, and what it says of its own state."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.loopback import chunked, response

from mainspring.providers.connection import Broken, Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """The other end of a connection, held in the hand: what a socket would do, without one."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def connected() -> tuple[Connection, Wire]:
    connection, wire = Connection(asyncio.get_running_loop()), Wire()
    connection.connection_made(wire)
    return connection, wire


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


async def exchange(
    pieces: list[bytes], *, streamed: bool, closes: bool = False
) -> tuple[int, bytes, Connection]:
    connection, _ = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)

    async def arrive() -> None:
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        if closes:
            connection.connection_lost(None)

    arriving = asyncio.create_task(arrive())
    await sent
    parts = []
    if streamed:
        while part := await connection.read_some():
            parts.append(part)
    else:
        parts.append(await connection.read_all())
    await arriving
    return connection.status, b"".join(parts), connection


BODY = b'data: {"a":1}\n\n' * 7
WHOLE = {
    "length": (response(BODY, "content-type: text/plain"), False),
    "chunks": (chunked(BODY[:1], BODY[1:50], BODY[50:]), False),
    "until close": (response(BODY, length=False), True),
    "gzip": (response(gzip.compress(BODY), "Content-Encoding: GZIP"), False),
    "gzip in parts": (
        response(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]) + b"\0\0", "content-encoding: gzip"),
        False,
    ),
    "deflate": (response(zlib.compress(BODY), "content-encoding: deflate"), False),
    "gzip until close": (response(gzip.compress(BODY), "content-encoding: gzip", length=False), True),
    "after 1xx": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + response(BODY),
        False,
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
@settings(deadline=None)
@given(places=st.lists(st.integers(0, 500), max_size=12), streamed=st.booleans())
def test_a_response_cut_anywhere_is_the_same(kind: str, places: list[int], streamed: bool) -> None:
    data, closes = WHOLE[kind]
    status, body, connection = asyncio.run(exchange(cut(data, places), streamed=streamed, closes=closes))
    assert (status, body) == (200, BODY)
    assert connection.complete
    assert connection.reusable is not closes
    assert "link" not in connection.headers


@settings(deadline=None)
@given(
    kind=st.sampled_from(["length", "chunks", "gzip", "gzip until close", "after 1xx"]),
    missing=st.integers(1, 400),
    places=st.lists(st.integers(0, 500), max_size=5),
    streamed=st.booleans(),
)
def test_a_response_that_breaks_off_is_never_whole(
    kind: str, missing: int, places: list[int], streamed: bool
) -> None:
    data = WHOLE[kind][0]
    short = data[: max(0, len(data) - missing)]
    with pytest.raises(Broken):
        asyncio.run(exchange(cut(short, places), streamed=streamed, closes=True))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 abc\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        response(b"no gzip", "content-encoding: gzip"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_garbage_is_broken_and_closes(garbage: bytes, streamed: bool) -> None:
    with pytest.raises(Broken) as error:
        await exchange([garbage], streamed=streamed)
    assert error.value.answered


async def test_a_compression_that_nobody_asked_for_is_named() -> None:
    connection, _ = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(b"\x0b\x02\x80", "content-encoding: br"))
    with pytest.raises(Broken, match="compressed with 'br'"):
        await sent
    assert connection.closed


async def test_a_second_answer_is_never_kept_for_the_next_request() -> None:
    own, foreign = response(b"mine"), response(b"somebody else's")
    _, body, connection = await exchange([own + foreign], streamed=False)
    assert body == b"mine"
    assert connection.closed
    _, body, connection = await exchange([own + foreign[:20]], streamed=True)
    assert body == b"mine"
    assert connection.closed
    _, body, connection = await exchange([own, foreign], streamed=True)
    assert body == b"mine"
    assert connection.closed


async def test_an_empty_line_after_an_answer_is_no_second_one() -> None:
    _, body, connection = await exchange([response(b"mine") + b"\r\n"], streamed=False)
    assert (body, connection.closed, connection.reusable) == (b"mine", False, True)


async def test_a_sender_that_is_too_fast_is_paused_until_it_was_read() -> None:
    connection, wire = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(b"", "content-length: 4000000", length=False))
    await sent
    received = 0
    while not wire.paused:
        connection.data_received(bytes(65536))
        received += 65536
    assert received < 600_000
    assert len(await connection.read_some()) == received
    assert not wire.paused


async def test_reading_the_whole_body_late_lets_a_paused_sender_go_on() -> None:
    connection, wire = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(b"", "content-length: 700000", length=False) + bytes(600_000))
    await sent
    paused = wire.paused
    reading = asyncio.create_task(connection.read_all())
    await asyncio.sleep(0)
    assert (paused, wire.paused) == (True, False)
    connection.data_received(bytes(100_000))
    assert len(await reading) == 700_000


async def test_a_complete_answer_that_nobody_read_leaves_the_connection_listening() -> None:
    connection, wire = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(bytes(600_000)))
    await sent
    assert connection.complete
    assert not wire.paused


async def test_an_idle_connection_holds_no_answer() -> None:
    _, _, connection = await exchange([response(b"long")], streamed=False)
    assert connection._parts == []


async def test_what_was_read_before_a_break_is_not_lost() -> None:
    connection, _ = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(b"abc", "content-length: 9", length=False))
    connection.connection_lost(None)
    await sent
    assert await connection.read_some() == b"abc"
    with pytest.raises(Broken):
        await connection.read_some()


async def test_our_own_closing_is_no_end_of_the_body() -> None:
    connection, _ = connected()
    sent = asyncio.create_task(connection.send(REQUEST))
    await asyncio.sleep(0)
    connection.data_received(response(b"half of", length=False))
    await sent
    connection.abort()
    connection.connection_lost(None)
    assert await connection.read_some() == b"half of"
    with pytest.raises(Broken):
        await connection.read_some()


@pytest.mark.parametrize(
    ("head", "reusable"), [("HTTP/1.1 200 OK\r\nconnection: close", False), ("HTTP/1.0 200 OK", False)]
)
async def test_a_connection_that_will_close_is_not_used_again(head: str, reusable: bool) -> None:
    _, _, connection = await exchange([f"{head}\r\ncontent-length: 2\r\n\r\nok".encode()], streamed=False)
    assert connection.reusable is reusable


async def test_a_closed_connection_says_that_nothing_was_answered() -> None:
    connection, _ = connected()
    connection.connection_lost(None)
    with pytest.raises(Broken) as error:
        await connection.send(REQUEST)
    assert not error.value.answered
