"""A small HTTP/1.1 server on asyncio that can misbehave at the level of the socket, and remembers what it saw."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.provider import anthropic, openai
from tests.support.provider.answers import Event, think
from tests.support.provider.behaviour import CONTENT_BEFORE_FAILURE, Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a stream may fail, by the number of content events that have gone out.
_PLACES = {0: "start", CONTENT_BEFORE_FAILURE: "content"}
#: What a request that makes no sense raises while its answer is made up; a provider refuses it with 400.
_NONSENSE = (LookupError, TypeError, AttributeError, ValueError, RecursionError)
_GARBAGE = {
    "garbage": b'{"id": "chatcmpl-1", "choices": [{"index": 0, "mess',
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "empty": b"",
    "list": b"[1, 2, 3]",
}


@dataclass
class Received:
    """One request as it came in, and how it ended. Times are monotonic seconds.

    Attributes:
        path: the path with its query.
        headers: names in lower case, in the order of arrival.
        body: the exact bytes.
        connection: which connection it came on, counted from 1.
        at: when it had arrived whole.
        finished_at: when the last byte of the answer was handed to the socket.
        gone_at: when the other side closed the connection while the answer was still under way.
        events: stream events sent so far.
    """

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    at: float
    finished_at: float | None = None
    gone_at: float | None = None
    events: int = 0

    def header(self, name: str) -> str | None:
        """The first header of that name (lower case)."""
        return next((value for key, value in self.headers if key == name), None)

    def key(self) -> str:
        """The key that it carries; empty without one."""
        return (self.header("authorization") or "").removeprefix("Bearer ") or self.header("x-api-key") or ""

    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _Broken(Exception):
    """The connection ends here, because the script says so or the other side left."""


class Connection(asyncio.Protocol):
    """One connection: requests one after another, each answered by a task that dies with the connection."""

    def __init__(
        self,
        number: int,
        record: Callable[[Received], None],
        next_behaviour: Callable[[str, str], Behaviour],
    ) -> None:
        self._number = number
        self._record = record
        self._next_behaviour = next_behaviour
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: Received | None = None
        self._limits: dict[str, str] = {}
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._take()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def eof_received(self) -> bool:
        self._other_side_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._other_side_left()
        self._may_write.set()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Close from our side, when the server stops."""
        if self._transport is not None:
            self._transport.abort()

    def _other_side_left(self) -> None:
        current = self._current
        if current is not None and current.finished_at is None and current.gone_at is None:
            current.gone_at = time.monotonic()

    def _take(self) -> None:
        """Start on the next whole request in the buffer, if there is one."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        fields = dict(headers)
        rest = end + 4
        if "chunked" in fields.get("transfer-encoding", ""):
            whole = _dechunk(self._buffer, rest)
            if whole is None:
                return
            body, rest = whole
        else:
            length = int(fields.get("content-length", "0"))
            if len(self._buffer) < rest + length:
                return
            body, rest = bytes(self._buffer[rest : rest + length]), rest + length
        del self._buffer[:rest]
        received = Received(first.split(" ")[1], headers, body, self._number, time.monotonic())
        self._record(received)
        self._current = received
        self._task = asyncio.get_running_loop().create_task(self._answer(received))
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, _Broken):
                # A mistake in a test's script: fail at once, with the reason on stderr.
                self.close()
                raise error
        if self._transport is not None and not self._transport.is_closing() and self._buffer:
            self._take()

    async def _answer(self, received: Received) -> None:
        path = received.path.partition("?")[0].rstrip("/")
        if path.endswith("/models"):
            self._whole(200, _models(received))
            received.finished_at = time.monotonic()
            return
        spell = anthropic.error if "/messages" in path else openai.error
        document = _document(received.body)
        behaviour = self._next_behaviour(str(document.get("model", "")), received.key())
        self._limits = _limits(behaviour, received.path)
        if behaviour.pause:
            await asyncio.sleep(behaviour.pause)
        await self._fail_at("headers", behaviour)
        if behaviour.status >= 400:
            headers = {} if behaviour.retry_after < 0 else {"retry-after": str(behaviour.retry_after)}
            self._whole(behaviour.status, spell(behaviour.status, behaviour), headers)
        elif behaviour.body:
            kind = "text/html" if behaviour.body == "html" else "application/json"
            self._whole(200, _GARBAGE[behaviour.body], {"content-type": kind})
        else:
            streams = document.get("stream") and not path.endswith(("/embeddings", "/count_tokens"))
            try:
                answer = (
                    _events(path, document, behaviour) if streams else answer_bytes(path, document, behaviour)
                )
            except _NONSENSE:
                self._whole(400, spell(400, behaviour))
            else:
                await self._send_answer(received, answer, behaviour)
        received.finished_at = time.monotonic()

    async def _send_answer(
        self, received: Received, answer: list[Event] | bytes, behaviour: Behaviour
    ) -> None:
        if isinstance(answer, bytes):
            await self._whole_answer(received.path, answer, behaviour)
        else:
            await self._stream(received, answer, behaviour)

    async def _fail_at(self, place: str, behaviour: Behaviour) -> None:
        """Hang or break here, if the script says so."""
        assert self._transport is not None
        if behaviour.hang == place:
            await asyncio.Event().wait()
        if behaviour.cut == place:
            self._current = None
            self._transport.close()
            raise _Broken

    async def _whole_answer(self, path: str, body: bytes, behaviour: Behaviour) -> None:
        if behaviour.error:
            body = anthropic.error(500, behaviour) if "/messages" in path else openai.error(500, behaviour)
        if behaviour.eof:
            body = body[: len(body) // 2]
        broken = bool(behaviour.hang or behaviour.cut)
        if not broken and not behaviour.silence:
            self._whole(200, body)
            return
        await self._write(_head(200, {"content-type": "application/json", "content-length": str(len(body))}))
        await asyncio.sleep(behaviour.silence)
        await self._fail_at("body", behaviour)
        await self._write(body[: len(body) // 2] if broken else body)
        await self._fail_at("start", behaviour)
        await self._fail_at("content", behaviour)

    async def _stream(self, received: Received, events: list[Event], behaviour: Behaviour) -> None:
        assert self._transport is not None
        chunked = behaviour.framing != "close"
        framing = {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}
        await self._write(
            _head(200, {"content-type": "text/event-stream; charset=utf-8", **self._limits, **framing})
        )
        if behaviour.silence:
            await asyncio.sleep(behaviour.silence)
        pieces = _pieces(events, behaviour)
        sent_content = 0
        if await self._broken_off("body", behaviour):
            pieces = []
        for event in pieces:
            if event.content:
                place = _PLACES.get(sent_content)
                if place is not None and await self._broken_off(place, behaviour, event):
                    break
                sent_content += 1
            if received.events and behaviour.gap:
                await asyncio.sleep(behaviour.gap)
            await self._write(_chunk(event.data) if chunked else event.data)
            if behaviour.split:
                await asyncio.sleep(0)
            received.events += 1
        if chunked:
            await self._write(b"0\r\n\r\n")
        else:
            self._transport.close()

    async def _broken_off(self, place: str, behaviour: Behaviour, event: Event | None = None) -> bool:
        """Whether the stream ends here, cleanly as HTTP goes; breaks or hangs if the script says that."""
        if behaviour.error == place:
            current = self._current
            assert current is not None
            error = (
                anthropic.stream_error() if "/messages" in current.path else openai.stream_error(current.path)
            )
            await self._write(_chunk(error.data))
            return True
        await self._fail_at(place, behaviour)
        if behaviour.eof == place and behaviour.blank == "no" and event is not None:
            await self._write(_chunk(event.data.removesuffix(b"\n")))
        return behaviour.eof == place

    def _whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        assert self._transport is not None
        fields = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self._limits,
            **(headers or {}),
        }
        self._transport.write(_head(status, fields) + body)

    async def _write(self, data: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            raise _Broken
        self._transport.write(data)
        if not self._may_write.is_set():
            await self._may_write.wait()


def _limits(behaviour: Behaviour, path: str) -> dict[str, str]:
    """The headers that tell of the limits of a key, in the dialect."""
    if behaviour.left < 0:
        return {}
    if "/messages" in path:
        name, reset = "anthropic-ratelimit-requests", "2100-01-01T00:00:00Z"
        return {f"{name}-limit": "1000", f"{name}-remaining": str(behaviour.left), f"{name}-reset": reset}
    return {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": str(behaviour.left),
        "x-ratelimit-reset-requests": "1m0s",
    }


def _chunk(data: bytes) -> bytes:
    """One chunk of a body without a length."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _document(body: bytes) -> dict[str, Any]:
    """The request as JSON; an empty object when it is none."""
    try:
        document = json.loads(body)
    except _NONSENSE:
        return {}
    return document if isinstance(document, dict) else {}


def _head(status: int, headers: dict[str, str]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Test\r\n{fields}x-request-id: req_upstream\r\nrequest-id: req_upstream\r\n\r\n".encode()


def _models(received: Received) -> bytes:
    names = ["test-small", "test-large"]
    return anthropic.models(names) if received.header("anthropic-version") else openai.models(names)


def answer_bytes(path: str, document: dict[str, Any], behaviour: Behaviour) -> bytes:
    """The body of the whole answer to a request as this server sends it."""
    answer = think(path, document, behaviour)
    if path.endswith("/count_tokens"):
        return anthropic.count(answer)
    if path.endswith("/messages"):
        return anthropic.whole(answer, behaviour)
    return openai.whole(path, answer, document, behaviour)


def stream_bytes(path: str, document: dict[str, Any], behaviour: Behaviour) -> bytes:
    """The body of the streamed answer to a request as this server sends it, if nothing breaks."""
    return b"".join(event.data for event in _events(path, document, behaviour))


def _events(path: str, document: dict[str, Any], behaviour: Behaviour) -> list[Event]:
    answer = think(path, document, behaviour)
    if path.endswith("/messages"):
        return anthropic.events(answer, behaviour)
    return openai.events(path, answer, document, behaviour)


def _pieces(events: list[Event], behaviour: Behaviour) -> list[Event]:
    """The same events in other packets, with other line ends."""
    if behaviour.blank == "no":
        events = [*events[:-1], Event(events[-1].data.removesuffix(b"\n"), events[-1].content)]
    if behaviour.crlf:
        events = [Event(event.data.replace(b"\n", b"\r\n"), event.content) for event in events]
    if not behaviour.split and not behaviour.burst:
        return events
    data = b"".join(event.data for event in events)
    size = behaviour.split or len(data)
    return [Event(data[start : start + size]) for start in range(0, len(data), size)]


def _dechunk(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """A chunked body and where it ends, or None while it is not whole."""
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", start)
        if line < 0:
            return None
        size = int(bytes(buffer[start:line]).split(b";")[0], 16)
        end = line + 2 + size
        if len(buffer) < end + 2:
            return None
        if size == 0:
            return b"".join(parts), end + 2
        parts.append(bytes(buffer[line + 2 : end]))
        start = end + 2
