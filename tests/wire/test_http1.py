"""The server's own HTTP/1.1, in bytes on a socket: what client libraries never send, and what proxies depend on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.conversations import user
from tests.support.sockets import request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT = "/v1/chat/completions"


def chat(key: str, text: str, model: str = "openai/test", **more: Any) -> bytes:
    """One question as it goes over the wire."""
    body = json.dumps({"model": model, "messages": user(text), **more}).encode()
    return request_bytes(CHAT, key, body)


class Wire:
    """A socket, read answer by answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self.socket.makefile("rb")

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self._file.readline().split(b" ")[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        if "content-length" in headers:
            return status, headers, self._file.read(int(headers["content-length"]))
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size + 2)[:-2]
        self._file.readline()
        return status, headers, body

    def rest(self) -> bytes:
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def wire(server: RunningServer) -> Iterator[Wire]:
    opened = Wire(server.port)
    try:
        yield opened
    finally:
        opened.close()


def test_pipelined_questions_streams_and_pages_on_one_connection(
    server: RunningServer, member_key: str
) -> None:
    page = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n"
    with wire(server) as caller:
        caller.say(
            chat(member_key, "one")
            + page
            + chat(member_key, "two", stream=True)
            + chat("ms-wrong", "three")
            + chat(member_key, "four")
        )
        assert b"You said: one" in caller.answer()[2]
        assert caller.answer()[2] == b'{"status":"ok"}'
        streamed = caller.answer()[2]
        assert b"two" in streamed
        assert streamed.endswith(b"data: [DONE]\n\n")
        assert caller.answer()[0] == 401
        assert b"You said: four" in caller.answer()[2]


def test_a_body_in_chunks_after_100_continue(server: RunningServer, member_key: str) -> None:
    whole = chat(member_key, "chunked")
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    with wire(server) as caller:
        caller.say(b"\r\n".join([*lines, b"transfer-encoding: chunked", b"expect: 100-continue", b"", b""]))
        assert caller.head()[0] == 100
        for byte in body:
            caller.say(b"1\r\n%c\r\n" % byte)
        caller.say(b"0\r\n\r\n")
        assert b"You said: chunked" in caller.answer()[2]


def test_http_10_gets_a_stream_that_ends_with_the_connection(server: RunningServer, member_key: str) -> None:
    with wire(server) as caller:
        caller.say(chat(member_key, "old", stream=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        status, headers = caller.head()
        assert (status, headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in headers
        assert caller.rest().endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"transfer-encoding: chunked", 400),
        (b"content-length: 5", 400),
        (b"x: " + b"a" * 70_000, 431),
    ],
)
def test_what_two_programs_could_read_in_two_ways_reaches_no_provider(
    server: RunningServer, member_key: str, provider: ProviderServer, header: bytes, status: int
) -> None:
    mark = f"smuggled {header[:20]!r}"
    with wire(server) as caller:
        whole = chat(member_key, mark)
        caller.say(whole.replace(b"\r\n", b"\r\n" + header + b"\r\n", 1) + whole)
        assert caller.head()[0] == status
        assert b"HTTP/1.1" not in caller.rest()
    assert not provider.requests(mark)


def test_too_large_bodies_are_refused_in_the_dialect_before_they_are_sent(
    server: RunningServer, member_key: str
) -> None:
    head = chat(member_key, "x").partition(b"content-length")[0] + b"content-length: 33554433\r\n\r\n"
    with wire(server) as caller:
        caller.say(head)
        status, headers, body = caller.answer()
        assert (status, headers["content-type"]) == (413, "application/json")
        assert "32 MB" in json.loads(body)["error"]["message"]
        for _ in range(32):
            caller.say(b" " * (1 << 20))
        caller.say(b" " + chat(member_key, "after"))
        assert b"You said: after" in caller.answer()[2]


def test_who_reads_slowly_gets_everything(server: RunningServer, member_key: str) -> None:
    with wire(server) as caller:
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        caller.say(chat(member_key, "slow", "openai/t+words=3000", stream=True))
        time.sleep(1)
        status, _, body = caller.answer()
        assert status == 200
        assert b"w2999" in body
        assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_who_closes_its_sending_side_has_left(
    server: RunningServer, member_key: str, provider: ProviderServer, *, stream: bool
) -> None:
    mark = f"half closed {stream}"
    model = "openai/t+words=600+gap=0.1" if stream else "openai/t+silence=60"
    with wire(server) as caller:
        caller.say(chat(member_key, mark, model, stream=stream))
        provider.wait(mark, lambda _: True)
        time.sleep(0.1)
        caller.socket.shutdown(socket.SHUT_WR)
        caller.rest()
    provider.wait(mark, lambda received: received.gone_at is not None, seconds=20)


def test_pages_get_uploads_and_say_who_asked(server: RunningServer) -> None:
    answer = httpx2.post(
        f"{server.url}/api/v1/keys",
        headers={"authorization": f"Bearer {server.admin_key}", "content-type": "application/json"},
        content=(piece for piece in (b'{"name": "chunked",', b' "tenant": "acme"}')),
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    with wire(server) as caller:
        caller.say(b"HEAD /healthz HTTP/1.1\r\nhost: h\r\n\r\n" * 2)
        assert [caller.head()[0] for _ in range(2)] == [200, 200]
