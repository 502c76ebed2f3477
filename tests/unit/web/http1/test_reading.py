"""What callers may send, in how many pieces, and what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import happens

if TYPE_CHECKING:
    from tests.unit.web.http1.conftest import Place

POST = b"POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = b"POST /v1/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_one_connection_many_requests(place: Place) -> None:
    async with place.caller() as caller:
        for _ in range(3):
            await caller.say(POST)
            status, headers, body = await caller.answer()
            assert (status, body) == (200, b"/v1/x abc")
            assert "connection" not in headers


async def test_a_request_may_come_byte_by_byte(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(*[bytes([byte]) for byte in POST], pause=0)
        assert (await caller.answer())[2] == b"/v1/x abc"


async def test_chunked_bodies_with_extensions_and_trailers(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(CHUNKED, b"2;a=b\r\nab\r\n1\r\n", b"c\r\n0\r\nauthorization: Bearer x\r\n\r\n", POST)
        assert (await caller.answer())[2] == b"/v1/x abc"
        assert (await caller.answer())[2] == b"/v1/x abc"
    assert b"authorization" not in place.service.seen[0].fields
    assert [name for name, _ in place.service.seen[0].headers] == [b"host", b"transfer-encoding"]


async def test_pipelined_requests_are_answered_one_at_a_time_and_in_order(place: Place) -> None:
    place.service.gate.clear()
    requests = [b"POST /v1/%d HTTP/1.1\r\ncontent-length: 1\r\n\r\n%d" % (n, n) for n in range(5)]
    async with place.caller() as caller:
        await caller.say(b"".join(requests[:4]) + requests[4][:30], requests[4][30:])
        await happens(lambda: place.service.asked)
        await asyncio.sleep(0.05)
        assert place.service.asked == [(b"POST", "/v1/0", b"0")]
        place.service.gate.set()
        for n in range(5):
            assert (await caller.answer())[2] == b"/v1/%d %d" % (n, n)


async def test_pages_and_surfaces_on_one_connection(place: Place) -> None:
    page = b"POST /page?a=1 HTTP/1.1\r\nX-Case: V\r\ncontent-length: 4\r\n\r\npage"
    async with place.caller() as caller:
        await caller.say(POST + page + POST + page)
        for _ in range(2):
            assert (await caller.answer())[2] == b"/v1/x abc"
            assert (await caller.answer())[2] == b"page!"
    scope = place.pages.scopes[0]
    assert (scope["path"], scope["query_string"], scope["method"]) == ("/page", b"a=1", "POST")
    assert (b"x-case", b"V") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/x?beta=true", "/v1/x"),
        (b"/v1/a%20b", "/v1/a b"),
        (b"http://host:80/v1/x?a", "/v1/x"),
        (b"/v1/x#fragment", "/v1/x#fragment"),
    ],
)
async def test_targets(place: Place, target: bytes, path: str) -> None:
    async with place.caller() as caller:
        await caller.say(b"GET %b HTTP/1.1\r\nhost: h\r\n\r\n" % target)
        assert (await caller.answer())[0] == 200
    assert place.service.asked == [(b"GET", path, b"")]


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /v1/x HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        b"POST /v1/x HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST /v1/x HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
        b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\nabc",
        b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost : h\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n",
        b"POST /v1/x HTTP/1.1\nhost: h\n\n",
        b"POST /v1/x HTTP/1.1\r\nx: a\rb\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"CONNECT host:1 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        CHUNKED + b"xyz\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(place: Place, request_: bytes) -> None:
    async with place.caller() as caller:
        await caller.say(request_ + POST)
        said = await caller.rest()
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in said
    assert said.count(b"HTTP/1.1") == 1
    assert place.service.asked == []


async def test_another_version_is_refused(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(b"GET /v1/x HTTP/2.0\r\n\r\n")
        assert (await caller.rest()).startswith(b"HTTP/1.1 505 ")


async def test_what_came_before_nonsense_is_answered(place: Place) -> None:
    place.service.gate.clear()
    async with place.caller() as caller:
        await caller.say(POST + POST + b"nonsense\r\n\r\n")
        await asyncio.sleep(0.02)
        place.service.gate.set()
        assert (await caller.answer())[2] == b"/v1/x abc"
        assert (await caller.answer())[2] == b"/v1/x abc"
        assert (await caller.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("pieces", [1, 20])
async def test_heads_have_a_limit(place: Place, pieces: int) -> None:
    fits = b"GET /v1/x HTTP/1.1\r\nx: %b\r\n\r\n" % (b"a" * 60_000)
    large = b"GET /v1/x HTTP/1.1\r\nx: %b\r\n\r\n" % (b"a" * 70_000)
    for request, status in ((fits, 200), (large, 431)):
        size = len(request) // pieces + 1
        async with place.caller() as caller:
            await caller.say(*[request[at : at + size] for at in range(0, len(request), size)])
            assert (await caller.answer())[0] == status


@pytest.mark.parametrize("first", [100, 35_000, 65_000, 69_990])
async def test_heads_have_a_limit_wherever_they_are_cut(place: Place, first: int) -> None:
    large = b"GET /v1/x HTTP/1.1\r\nx: %b\r\n\r\n" % (b"a" * 70_000)
    async with place.caller() as caller:
        await caller.say(large[:first], large[first:])
        assert (await caller.answer())[0] == 431


async def test_a_head_that_never_ends_is_cut_off(place: Place) -> None:
    async with place.caller() as caller:
        await caller.say(b"GET /v1/x HTTP/1.1\r\nx: ", *[b"a" * 30_000] * 4)
        assert (await caller.answer())[0] == 431


async def test_a_small_head_behind_a_large_body_is_no_large_head(place: Place) -> None:
    body = b"a" * 90_000
    request = b"POST /v1/x HTTP/1.1\r\ncontent-length: 90000\r\n\r\n" + body
    async with place.caller() as caller:
        await caller.say(request + POST[:20], POST[20:])
        assert (await caller.answer())[2] == b"/v1/x " + body
        assert (await caller.answer())[2] == b"/v1/x abc"


async def test_a_body_that_is_too_large_is_refused_and_the_connection_goes_on(place: Place) -> None:
    announced = b"POST /v1/x HTTP/1.1\r\ncontent-length: 200000\r\n\r\n"
    async with place.caller() as caller:
        await caller.say(announced)
        assert (await caller.answer())[0] == 413, "before the body was sent"
        await caller.say(b"a" * 200_000 + POST)
        assert (await caller.answer())[2] == b"/v1/x abc"
        await caller.say(CHUNKED, b"%x\r\n%b\r\n" % (99_999, b"a" * 99_999), b"2\r\nab\r\n")
        assert (await caller.answer())[0] == 413, "before its end"
        await caller.say(b"0\r\n\r\n" + POST)
        assert (await caller.answer())[2] == b"/v1/x abc"


async def test_expect_continue(place: Place) -> None:
    head = b"POST %b HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: %d\r\n\r\n"
    for path, answer in ((b"/v1/x", b"/v1/x abc"), (b"/page", b"abc!")):
        async with place.caller() as caller:
            await caller.say(head % (path, 3))
            assert await caller.hear(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await caller.say(b"abc")
            status, headers, body = await caller.answer()
            assert (status, body) == (200, answer)
            assert "connection" not in headers
    async with place.caller() as caller:
        await caller.say(head % (b"/v1/x", 3) + b"abc")  # it did not wait: it needs no word
        assert (await caller.hear(b"\r\n")).startswith((b"HTTP/1.1 200", b"HTTP/1.1 100"))


async def test_a_body_that_was_held_back_and_is_not_wanted_ends_the_connection(place: Place) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    place.pages.script = refuse
    head = b"POST %b HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    for request, status in ((head % (b"/v1/x", 200_000), b"413"), (head % (b"/page", 3), b"401")):
        async with place.caller() as caller:
            await caller.say(request)
            said = await caller.rest()
        assert said.startswith(b"HTTP/1.1 " + status)
        assert b"\r\nconnection: close\r\n" in said


async def test_the_word_to_go_on_waits_for_its_turn(place: Place) -> None:
    place.service.gate.clear()
    async with place.caller() as caller:
        await caller.say(POST + b"POST /v1/y HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        await asyncio.sleep(0.02)
        place.service.gate.set()
        assert (await caller.answer())[2] == b"/v1/x abc"
        assert await caller.hear(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.say(b"z")
        assert (await caller.answer())[2] == b"/v1/y z"


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_an_offer_of_another_protocol_is_declined_without_losing_the_body(
    place: Place, body: bytes
) -> None:
    offer = b"POST /v1/x HTTP/1.1\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n%b"
    async with place.caller() as caller:
        await caller.say(offer % (len(body), body))
        assert (await caller.answer())[2] == b"/v1/x " + body
        await caller.say((offer % (len(body), body))[:-1], (offer % (len(body), body))[-1:], POST)
        assert (await caller.answer())[2] == b"/v1/x " + body
        assert (await caller.answer())[2] == b"/v1/x abc"
