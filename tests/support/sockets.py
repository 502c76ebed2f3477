"""A raw HTTP client: one request on one connection, read as it comes, left at any moment."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from typing import Any, Self
from urllib.parse import urlsplit


def request_bytes(path: str, key: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A POST as it goes over the wire."""
    fields = {
        "host": "test",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


class Caller:
    """One caller who may hang up; does so at the end of a `with` at the latest.

    Args:
        url: the root of the server.
        key: the caller's key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port
        self._key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def send(self, path: str, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Connect and send one request."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(request_bytes(path, self._key, json.dumps(document).encode(), headers))
        await self._writer.drain()

    async def read_for(self, seconds: float) -> bytes:
        """Everything that arrived until the time is over (or the other side closed)."""
        assert self._reader is not None
        try:
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(65536):
                    self._received += data
        except TimeoutError:
            pass
        return bytes(self._received)

    async def read_until(self, mark: bytes, seconds: float = 10) -> bytes:
        """Read until a mark has arrived.

        Raises:
            TimeoutError: it does not arrive.
            AssertionError: the other side closed before.
        """
        assert self._reader is not None
        async with asyncio.timeout(seconds):
            while mark not in self._received:
                data = await self._reader.read(65536)
                assert data, f"closed before {mark!r}: {bytes(self._received)!r}"
                self._received += data
        return bytes(self._received)

    def hang_up(self, *, reset: bool = False) -> float:
        """Close the connection, politely or with a reset; returns the monotonic time of it."""
        assert self._writer is not None
        transport = self._writer.transport
        if reset:
            # Zero linger: the kernel sends RST in place of FIN.
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        at = time.monotonic()
        transport.abort()
        return at
