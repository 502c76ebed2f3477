"""Small servers on the loopback interface whose every byte a test decides: an HTTP upstream, and two proxies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One connection that somebody made: what was asked on it, and how to answer."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next whole request, head and body; empty when the other side has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        """Write and wait until the system has taken it."""
        self.writer.write(data)
        await self.writer.drain()


class Loopback:
    """A server that plays a script on every connection.

    Attributes:
        visits: the connections so far.
        gone: set when a connection was closed by the other side while its script was waiting for that.
    """

    def __init__(self, script: Script) -> None:
        self.visits: list[Visit] = []
        self.gone = asyncio.Event()
        self.port = 0
        self._script = script
        self._playing: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play the script on one connection."""
        visit = Visit(len(self.visits) + 1, reader, writer)
        self.visits.append(visit)
        self._playing.append(asyncio.create_task(self._play(visit)))

    async def close(self) -> None:
        """End every connection and every script."""
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def _play(self, visit: Visit) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(visit)
            visit.writer.close()
            with suppress(ConnectionError):
                await visit.writer.wait_closed()
        finally:
            visit.writer.transport.abort()

    async def until_gone(self, visit: Visit) -> None:
        """For scripts: say nothing more until the other side has closed."""
        with suppress(ConnectionError):
            while await visit.reader.read(65536):
                pass
        self.gone.set()


@asynccontextmanager
async def loopback(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """A server on a free port that plays `script` on every connection."""
    server = Loopback(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.close()
        await asyncio.sleep(0)  # what was aborted is closed in the next turn


def response(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A response with a content-length."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"content-length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    """A response in chunks."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def connect_proxy(visit: Visit) -> None:
    """A script: an HTTP proxy that knows CONNECT and nothing else."""
    head = await visit.request()
    host, _, port = head.split(b" ")[1].decode().rpartition(":")
    await _tunnel(visit, host, int(port), b"HTTP/1.1 200 OK\r\n\r\n")


async def socks_proxy(visit: Visit) -> None:
    """A script: a SOCKS5 proxy without authentication, for names and IPv4 addresses."""
    _, methods = await visit.reader.readexactly(2)
    await visit.reader.readexactly(methods)
    await visit.send(b"\x05\x00")
    kind = (await visit.reader.readexactly(4))[3]
    if kind == 1:
        host = ".".join(map(str, await visit.reader.readexactly(4)))
    else:
        host = (await visit.reader.readexactly((await visit.reader.readexactly(1))[0])).decode()
    port = int.from_bytes(await visit.reader.readexactly(2), "big")
    await _tunnel(visit, host, port, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")


async def _tunnel(visit: Visit, host: str, port: int, done: bytes) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    await visit.send(done)
    there = asyncio.create_task(_pump(visit.reader, writer))
    back = asyncio.create_task(_pump(reader, visit.writer))
    try:
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        there.cancel()
        back.cancel()
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
