"""How answers go out: framing, slow and vanished callers, ends of connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import happens

from mainspring.base.errors import ClientGone

if TYPE_CHECKING:
    from tests.unit.web.http1.conftest import Place

    from mainspring.web.http1 import Request, Response

GET = b"GET /v1/x HTTP/1.1\r\nhost: h\r\n\r\n"


async def streamed(_: Request, response: Response) -> None:
    await response.start(200, [(b"content-type", b"text/event-stream")])
    await response.write(b"one")
    await response.write(b"")
    await response.write(b"two", last=True)


async def test_without_a_length_it_comes_in_chunks(place: Place) -> None:
    place.service.script = streamed
    async with place.caller() as caller:
        await caller.say(GET)
        said = await caller.hear(b"0\r\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in said
        assert said.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        await caller.say(GET)
        assert (await caller.answer())[2] == b"onetwo"


@pytest.mark.parametrize("keep", [b"", b"connection: keep-alive\r\n"])
async def test_http_10_gets_no_chunks_and_its_connection_ends(place: Place, keep: bytes) -> None:
    place.service.script = streamed
    async with place.caller() as caller:
        await caller.say(b"GET /v1/x HTTP/1.0\r\n%b\r\n" % keep)
        said = await caller.rest()
    assert b"transfer-encoding" not in said
    assert b"\r\nconnection: close\r\n" in said
    assert said.endswith(b"\r\n\r\nonetwo")


async def test_a_caller_may_ask_for_the_end(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(b"GET /v1/x HTTP/1.1\r\nconnection: close\r\n\r\n" + GET)
        said = await caller.rest()
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"\r\nconnection: close\r\n" in said


async def test_head_and_empty_answers_have_no_body(place: Place) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        status = 204 if scope["path"] == "/none" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"body" if status == 200 else b""})

    place.pages.script = page
    async with place.caller() as caller:
        await caller.say(b"HEAD / HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert b"transfer-encoding" not in await caller.hear(b"\r\n\r\n")
        said = await caller.hear(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert b"transfer-encoding" not in said
        assert (await caller.answer())[2] == b"body"


async def test_a_header_cannot_become_two(place: Place) -> None:
    async def script(_: Request, response: Response) -> None:
        evil = [(b"a", b"1\r\nset-cookie: x"), (b"b", b"2\n"), (b"c\r", b"3"), (b"d", b"4\0"), (b"e", b"5")]
        await response.start(299, [*evil, (b"content-length", b"2")])
        await response.write(b"ok", last=True)

    place.service.script = script
    with capture_logs() as log:
        async with place.caller() as caller:
            await caller.say(GET)
            said = await caller.hear(b"ok")
    assert said == b"HTTP/1.1 299 \r\ne: 5\r\ncontent-length: 2\r\n\r\nok"
    assert len([entry for entry in log if entry["event"] == "header_left_out"]) == 4


@pytest.mark.parametrize("body", [b"short", b"much too long"])
async def test_a_wrong_length_ends_the_connection(place: Place, body: bytes) -> None:
    async def script(_: Request, response: Response) -> None:
        await response.start(200, [(b"content-length", b"8")])
        await response.write(body, last=True)

    place.service.script = script
    async with place.caller() as caller:
        await caller.say(GET + GET)
        with contextlib.suppress(ConnectionError):
            assert (await caller.rest()).count(b"HTTP/1.1") <= 1
    await place.settled()
    assert len(place.service.seen) == 1


async def test_what_breaks_before_the_head_is_a_500_and_after_it_the_end(place: Place) -> None:
    async def script(request: Request, response: Response) -> None:
        if request.path == "/v1/late":
            await response.start(200, [])
            await response.write(b"half")
        if request.path == "/v1/silent":
            return
        raise ZeroDivisionError

    place.service.script = script
    with capture_logs():
        for path in (b"early", b"silent"):
            async with place.caller() as caller:
                await caller.say(b"GET /v1/%b HTTP/1.1\r\n\r\n" % path)
                assert (await caller.rest()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        async with place.caller() as caller:
            await caller.say(b"GET /v1/late HTTP/1.1\r\n\r\n")
            said = b""
            try:
                while data := await caller.reader.read(100):
                    said += data
            except ConnectionError:
                pass
            assert not said.endswith(b"0\r\n\r\n")


async def test_a_slow_reader_is_waited_for(place: Place) -> None:
    written = 0

    async def script(_: Request, response: Response) -> None:
        nonlocal written
        await response.start(200, [])
        for _n in range(200):
            await response.write(b"z" * 100_000)
            written += 1
        await response.write(b"", last=True)

    place.service.script = script
    async with place.caller() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined] - a WriteTransport in the stubs
        await caller.say(GET)
        await happens(lambda: written)
        await asyncio.sleep(0.3)
        assert 0 < written < 190
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined] - a WriteTransport in the stubs
        received, last = 0, b""
        async with asyncio.timeout(60):
            while not last.endswith(b"\r\n0\r\n\r\n"):
                data = await caller.reader.read(1 << 20)
                received += data.count(b"z")
                last = (last + data)[-7:]
        assert received == 20_000_000


@pytest.mark.parametrize("how", ["abort", "half"])
async def test_a_caller_who_leaves_is_noticed(place: Place, how: str) -> None:
    noticed = asyncio.Event()

    async def script(_: Request, response: Response) -> None:
        left = asyncio.Event()
        response.when_gone(left.set)
        await left.wait()
        with pytest.raises(ClientGone):
            await response.write(b"x")
        noticed.set()

    place.service.script = script
    async with place.caller() as caller:
        await caller.say(GET)
        if how == "half":
            caller.writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        else:
            caller.writer.transport.abort()
        async with asyncio.timeout(30):
            await noticed.wait()


async def test_one_who_leaves_while_it_should_read_is_noticed_too(place: Place) -> None:
    noticed = asyncio.Event()

    async def script(_: Request, response: Response) -> None:
        await response.start(200, [])
        for _n in range(100):
            try:
                await response.write(b"a" * 1_000_000)
            except ClientGone:
                noticed.set()

    place.service.script = script
    async with place.caller() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined] - a WriteTransport in the stubs
        await caller.say(GET)
        await asyncio.sleep(0.1)
        caller.writer.transport.abort()
        async with asyncio.timeout(30):
            await noticed.wait()


async def test_pages_learn_of_callers_who_leave_and_of_the_end(place: Place) -> None:
    seen: list[str] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        if scope["path"] == "/done":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"into nothing"})

    place.pages.script = page
    with capture_logs():
        for path in (b"done", b"left"):
            async with place.caller() as caller:
                await caller.say(b"GET /%b HTTP/1.1\r\n\r\n" % path)
            await place.settled()
    assert seen == ["http.request", "http.disconnect"] * 2


async def test_a_page_reads_a_large_body_piece_by_piece(place: Place) -> None:
    pieces: list[int] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await asyncio.sleep(0.01)
            message = await receive()
            pieces.append(len(message["body"]))
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % sum(pieces)})

    place.pages.script = page
    async with place.caller() as caller:
        await caller.say(b"POST /p HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n")
        await caller.say(b"a" * 5_000_000)
        assert (await caller.answer())[2] == b"5000000"
    assert max(pieces) < 1_000_000


async def test_a_page_that_does_not_read_the_body_leaves_the_connection_usable(place: Place) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"nothing here"})

    place.pages.script = page
    async with place.caller() as caller:
        await caller.say(b"POST /p HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n", b"a" * 1_000_000, GET)
        assert (await caller.answer())[0] == 404
        assert (await caller.answer())[2] == b"/v1/x "


async def test_a_broken_body_ends_the_page_that_reads_it(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(b"POST /p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", b"nonsense")
        assert (await caller.rest()).startswith(b"HTTP/1.1 400 ")
    await place.settled()


async def test_stopping_closes_the_idle_and_drains_the_others(place: Place) -> None:
    place.service.gate.clear()
    async with place.caller() as idle, place.caller() as busy, place.caller() as fresh:
        await fresh.say(b"")
        await busy.say(GET)
        place.service.gate.set()
        await busy.answer()
        await idle.say(GET)
        await idle.answer()
        place.service.gate.clear()
        await busy.say(GET)
        for connection in list(place.state.connections):
            connection.shutdown()
        assert await idle.rest() == b""
        assert await fresh.rest() == b""
        place.service.gate.set()
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await busy.rest() == b""
    await place.settled()


async def test_what_cannot_be_waited_for_is_told_so(place: Place) -> None:
    place.service.gate.clear()
    async with place.caller() as caller:
        await caller.say(GET)
        for task in list(place.state.tasks):
            task.cancel()
        assert (await caller.rest()).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    "said", [b"", b"GET /v1/x HT", b"POST /v1/x HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc"]
)
async def test_silent_connections_are_closed(
    place: Place, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.caller() as caller:
        await caller.say(said)
        await happens(lambda: place.state.connections)
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        for connection in list(place.state.connections):
            connection.close_silent(loop.time() - 600)
            assert not connection.transport.is_closing()
            connection.close_silent(loop.time())
        with contextlib.suppress(ConnectionError):
            assert await caller.rest() == b""
    await place.settled()


async def test_an_answer_under_way_is_not_silence(place: Place) -> None:
    place.service.gate.clear()
    async with place.caller() as caller:
        await caller.say(GET)
        await happens(lambda: place.service.asked)
        for connection in list(place.state.connections):
            connection.close_silent(asyncio.get_running_loop().time())
        place.service.gate.set()
        assert (await caller.answer())[0] == 200
