"""A listener on loopback with a service and pages that follow a script, and callers who speak in bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from mainspring.base.errors import ClientGone, PayloadTooLarge
from mainspring.web.http1 import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mainspring.web.http1 import Request, Response

LIMIT = 100_000


class Service:
    """Answers with what it was asked, after `gate` opens; or as `script` does."""

    max_body_bytes = LIMIT

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, str, bytes]] = []
        self.seen: list[Request] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = 0
        self.script: Callable[[Request, Response], Awaitable[None]] | None = None

    async def answer(self, request: Request, response: Response) -> None:
        self.seen.append(request)
        if self.script is not None:
            await self.script(request, response)
            return
        try:
            body = request.body(LIMIT)
        except PayloadTooLarge:
            await response.start(413, [(b"content-length", b"0")])
            await response.write(b"", last=True)
            return
        self.asked.append((request.method, request.path, body))
        await self.gate.wait()
        said = b"%b %b" % (request.path.encode(), body)
        try:
            await response.start(200, [(b"content-length", b"%d" % len(said))])
            await response.write(said, last=True)
        except ClientGone:
            self.gone += 1


class Pages:
    """An ASGI app: says back what it was sent, or does what its script says."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.script: Callable[[Any, Any, Any], Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if self.script is not None:
            await self.script(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Page", b"1")]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})


class Caller:
    """One connection in raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *pieces: bytes, pause: float = 0.005) -> None:
        """Send each piece by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def hear(self, mark: bytes) -> bytes:
        """Everything up to a mark."""
        async with asyncio.timeout(30):
            return await self.reader.readuntil(mark)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One answer with a length, or in chunks."""
        head = (await self.hear(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = b""
        if "content-length" in headers:
            async with asyncio.timeout(30):
                body = await self.reader.readexactly(int(headers["content-length"]))
        elif "transfer-encoding" in headers:
            while size := int(await self.hear(b"\r\n"), 16):
                async with asyncio.timeout(30):
                    body += (await self.reader.readexactly(size + 2))[:-2]
            await self.hear(b"\r\n")
        return int(head[0].split(" ")[1]), headers, body

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(30):
            return await self.reader.read()


class Place:
    """A listener that listens."""

    def __init__(self, port: int, state: ServerState, service: Service, pages: Pages) -> None:
        self.port = port
        self.state = state
        self.service = service
        self.pages = pages

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield Caller(reader, writer)
        finally:
            writer.transport.abort()

    async def settled(self) -> None:
        """Wait until nobody is connected and nothing is under way."""
        async with asyncio.timeout(30):
            while self.state.connections or self.state.tasks:  # noqa: ASYNC110 - uvicorn's sets have no event
                await asyncio.sleep(0.005)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    service, pages, state = Service(), Pages(), ServerState()
    config = uvicorn.Config(
        pages, lifespan="off", log_config=None, timeout_keep_alive=75, proxy_headers=False
    )
    config.load()
    listener = Listener(lambda: service)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: listener(config, state, {}), "127.0.0.1", 0)
    place = Place(server.sockets[0].getsockname()[1], state, service, pages)
    yield place
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    for task in list(state.tasks):
        task.cancel()
    await place.settled()
