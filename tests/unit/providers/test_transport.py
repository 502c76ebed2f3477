"""The pool of one provider against real servers on the loopback interface."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from tests.support.loopback import chunked, response
from tests.support.pools import OK, always, pool, upstream, whole
from tests.support.ports import own_port
from tests.support.waiting import happens

from mainspring.base.errors import (
    ProviderProtocolError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from mainspring.providers.transport import retry_after

if TYPE_CHECKING:
    from tests.support.loopback import Visit


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_what_is_sent() -> None:
    requests = []

    async def script(visit: Visit) -> None:
        requests.append(await visit.request())
        await visit.send(OK)

    async with upstream(script) as (server, made):
        reply = await made.post("/chat", b'{"a":1}', {"traceparent": "t"}, 5)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert await reply.read() == b'{"ok":true}'
        reply.close()
        reply.close()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat HTTP/1.1"
    assert body == b'{"a":1}'
    assert {f"host: 127.0.0.1:{server.port}", "authorization: Bearer sk-1", "traceparent: t"} <= set(lines)
    assert "accept-encoding: identity" in lines
    assert "content-length: 7" in lines
    assert any(line.startswith("user-agent: mainspring/") for line in lines)
    assert len({line.partition(":")[0] for line in lines}) == len(lines)


async def test_a_connection_is_used_again() -> None:
    async with upstream(always(OK)) as (server, made):
        for _ in range(3):
            assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 1


@pytest.mark.parametrize("kind", ["chunked", "length", "until close", "gzip"])
async def test_a_stream_arrives_as_it_is_sent(kind: str) -> None:
    pieces = [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]
    read_on = asyncio.Event()
    data = {
        "chunked": [chunked(pieces[0])[:-5], chunked(*pieces[1:]).partition(b"\r\n\r\n")[2]],
        "length": [response(b"".join(pieces))[: -len(b"".join(pieces[1:]))], b"".join(pieces[1:])],
        "until close": [response(pieces[0], length=False), b"".join(pieces[1:])],
        "gzip": [],
    }[kind]
    if kind == "gzip":
        packed = gzip.compress(b"".join(pieces))
        data = [response(b"", "content-encoding: gzip", length=False) + packed[:9], packed[9:]]

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(data[0])
        await read_on.wait()
        await visit.send(data[1])

    async with upstream(script) as (_, made):
        reply = await made.post("/chat", b"{}", {}, 5)
        chunks = reply.chunks()
        got = b"" if kind == "gzip" else await anext(chunks)
        assert got == (b"" if kind == "gzip" else pieces[0])
        read_on.set()
        got += b"".join([chunk async for chunk in chunks])
        assert got == b"".join(pieces)
        reply.close()


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(OK)

    async with upstream(script) as (server, made):
        assert await whole(made) == b'{"ok":true}'
        await happens(lambda: made._idle[0].closed)
        assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 2


async def test_a_connection_closed_just_before_its_reuse_is_told_from_a_refused_answer() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(OK)
        if visit.number <= 2:
            await visit.request()  # and no answer to it: the connection is closed
        else:
            await visit.request()
            await visit.send(OK)

    async with upstream(script) as (server, made):
        replies = await asyncio.gather(*(made.post("/chat", b"{}", {}, 5) for _ in range(2)))
        for reply in replies:
            await reply.read()
            reply.close()
        with pytest.raises(ProviderUnreachable) as error:
            await whole(made)
        assert error.value.dropped
        # The other one was idle for longer: it is not tried any more.
        assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 3


async def test_a_server_that_says_goodbye_in_words_is_not_believed_to_answer() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(OK)
        await happens(lambda: made._idle)
        await visit.send(response(b"timeout", status="408 Request Timeout"))

    async with upstream(script) as (server, made):
        assert await whole(made) == b'{"ok":true}'
        await happens(lambda: made._idle[0].closed)
        assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 2


async def test_a_burst_leaves_no_old_connections_behind() -> None:
    async with upstream(always(OK)) as (_, made):
        replies = await asyncio.gather(*(made.post("/chat", b"{}", {}, 5) for _ in range(8)))
        for reply in replies:
            await reply.read()
            reply.close()
        assert len(made._idle) == 8
        for connection in made._idle[:-1]:
            connection.idle_since -= 60
        for _ in range(7):
            await whole(made)
        assert len(made._idle) == 1


@pytest.mark.parametrize("when", ["before the head", "after the head"])
async def test_cancelling_closes_the_connection_at_once(when: str) -> None:
    asked = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        asked.set()
        if when == "after the head":
            await visit.send(response(b"", "content-length: 99", length=False))
        await server.until_gone(visit)

    async with upstream(script) as (server, made):
        task = asyncio.create_task(whole(made))
        await happens(asked.is_set)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait_for(server.gone.wait(), 20)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not made._idle
        assert not made._busy


async def test_closing_a_reply_in_the_middle_closes_the_connection() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(chunked(b"data: 1\n\n")[:-5])
        await server.until_gone(visit)

    async with upstream(script) as (server, made):
        reply = await made.post("/chat", b"{}", {}, 5)
        assert await anext(reply.chunks()) == b"data: 1\n\n"
        reply.close()
        await asyncio.wait_for(server.gone.wait(), 20)


async def test_a_fast_sender_waits_for_a_slow_reader() -> None:
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        await visit.send(response(b"", "content-length: 64000000", length=False))
        for _ in range(1000):
            await visit.send(bytes(64000))
            sent += 64000

    async with upstream(script) as (_, made):
        reply = await made.post("/chat", b"{}", {}, 5)
        chunks = reply.chunks()
        received = len(await anext(chunks))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 40_000_000  # what the systems between hold, not what the sender has
        (connection,) = made._busy
        assert connection._size < 1_000_000
        async for chunk in chunks:
            received += len(chunk)
        assert received == 64_000_000
        reply.close()


async def test_a_large_answer_that_is_read_late_comes_whole() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(response(bytes(5_000_000)))

    async with upstream(script) as (_, made):
        reply = await made.post("/chat", b"{}", {}, 5)
        await asyncio.sleep(0.3)
        assert len(await asyncio.wait_for(reply.read(), 60)) == 5_000_000
        reply.close()


async def test_connections_are_limited_and_come_back_whatever_happens() -> None:
    open_now = most = 0

    async def script(visit: Visit) -> None:
        nonlocal open_now, most
        while request := await visit.request():
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.01)
            open_now -= 1
            if b"break" in request:
                return
            await visit.send(response(b"", status="500 Oops") if b"fail" in request else OK)

    async with upstream(script, connections=2) as (_, made):
        bodies = [b"{}", b"break", b"fail", b"{}", b"break", b"fail", b"{}", b"{}"]
        results = await asyncio.gather(*(whole(made, body) for body in bodies), return_exceptions=True)
        assert [type(r).__name__ for r in results].count("bytes") == 4
        assert most == 2
        server_at_work = asyncio.gather(whole(made), whole(made))
        waiting = asyncio.create_task(whole(made))
        await asyncio.sleep(0)
        waiting.cancel()
        await server_at_work
        assert await whole(made) == b'{"ok":true}'


async def test_refused_and_unknown_hosts() -> None:
    for url in (
        f"http://127.0.0.1:{own_port()}",
        "http://no-such-host.invalid",
        f"http://{'x' * 64}.example",
    ):
        async with pool(url) as made:
            with pytest.raises(ProviderUnreachable, match="up cannot be reached at") as error:
                await whole(made)
            assert not error.value.dropped
            assert error.value.remedy


async def test_connecting_is_bounded() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        # Nobody accepts: once the queue is full, a further connection hangs.
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with pool(f"http://127.0.0.1:{port}") as made:
            with pytest.raises(
                ProviderTimeout, match=r"did not accept a connection at 127.0.0.1:\d+ within 0.2 s"
            ):
                await made.post("/chat", b"{}", {}, 0.2)
        for filler in fillers:
            filler.close()


async def test_breaks() -> None:
    async def script(visit: Visit) -> None:
        request = await visit.request()
        if b"garbage" in request:
            await visit.send(b"SSH-2.0-OpenSSH\r\n")
        elif b"half" in request:
            await visit.send(chunked(b"data: 1\n\n")[:-9])

    async with upstream(script) as (_, made):
        with pytest.raises(ProviderUnreachable, match="before it answered") as error:
            await whole(made, b"garbage")
        assert not error.value.dropped
        with pytest.raises(ProviderUnreachable) as error:
            await whole(made, b"nothing")
        assert error.value.dropped
        with pytest.raises(StreamCut, match="in the middle of its answer") as cut:
            await whole(made, b"half")
        assert cut.value.arrived == b"data: 1"
        reply = await made.post("/chat", b"half", {}, 5)
        with pytest.raises(StreamCut, match="in the middle of its stream"):
            [chunk async for chunk in reply.chunks()]
        reply.close()


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (b'{"error":{"message":"no","type":"t","code":"c"}}', "up answered 429: no", "c"),
        (b'{"error":{"message":"no","type":"t","code":7}}', "up answered 429: no", "t"),
        (
            b'{"type":"error","error":{"type":"rate_limit_error","message":"no"}}',
            "up answered 429: no",
            "rate_limit_error",
        ),
        (b'[{"error":{"code":429,"message":"no","status":"X"}}]', "up answered 429: no", None),
        (b'{"error":"no"}', "up answered 429: no", None),
        (b'{"detail":"no"}', "up answered 429: no", None),
        (b'{"object":"error","message":"no","type":"t"}', "up answered 429: no", "t"),
        (b"<html>", "up answered 429: no explanation", None),
        (b"", "up answered 429: no explanation", None),
        (b"[]", "up answered 429: no explanation", None),
        (b'{"error":{"message":["x"]}}', "up answered 429: no explanation", None),
        (b"[" * 100_000, "up answered 429: no explanation", None),
        (b'{"error":{"message":"\xff"}}', "up answered 429: no explanation", None),
    ],
)
async def test_error_bodies(body: bytes, message: str, kind: str | None) -> None:
    async with upstream(always(response(body, "Retry-After: 7", status="429 Slow"))) as (server, made):
        for _ in range(2):
            with pytest.raises(ProviderRefused) as error:
                await whole(made)
        assert str(error.value) == message
        assert (error.value.upstream_status, error.value.upstream_type) == (429, kind)
        assert error.value.upstream_body == body
        assert error.value.retry_after == 7
        assert len(server.visits) == 1  # the connection is given back


@pytest.mark.parametrize(
    ("status", "body", "http_status", "spent"),
    [
        # As Anthropic says it.
        (
            400,
            b'{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to ..."}}',
            502,
            True,
        ),
        (402, b'{"error":{"message":"Insufficient Balance","type":"unknown_error"}}', 502, True),
        (429, b'{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}', 429, True),
        (400, b'{"error":{"message":"no","type":"invalid_request_error"}}', 400, False),
    ],
)
async def test_an_account_without_money(status: int, body: bytes, http_status: int, spent: bool) -> None:
    async with upstream(always(response(body, status=f"{status} No"))) as (_, made):
        with pytest.raises(ProviderRefused) as error:
            await whole(made)
        assert (error.value.http_status, error.value.is_spent) == (http_status, spent)


async def test_our_own_key_is_not_repeated_when_it_is_refused() -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-1","code":"invalid_api_key"}}'
    async with upstream(always(response(body, status="401 No"))) as (_, made):
        with pytest.raises(ProviderRefused) as error:
            await whole(made)
        assert "sk-1" not in str(error.value)


async def test_a_redirect_is_an_error() -> None:
    data = response(b"", "location: https://elsewhere", status="307 Elsewhere")
    async with upstream(always(data)) as (_, made):
        with pytest.raises(ProviderProtocolError, match="answered 307"):
            await whole(made)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.2"}, 1),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "1500"}, 2),
        ({"retry-after-ms": "0.5", "retry-after": "9"}, 1),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: int | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_a_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (retry_after({"retry-after": then}) or 0) <= 90


async def test_get_and_close() -> None:
    async with upstream(always(response(json.dumps({"data": []}).encode()))) as (server, made):
        reply = await made.get("/models", 5)
        assert await reply.read() == b'{"data": []}'
        reply.close()
        pending = asyncio.create_task(made.post("/chat", b"{}", {}, 5))
        await asyncio.sleep(0.05)
        reply = await pending
        await made.close()
        reply.close()
        assert not made._idle
        assert server.visits
