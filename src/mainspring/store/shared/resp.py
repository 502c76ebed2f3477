"""One connection to Redis or Valkey: the protocol (RESP 2) as far as a batch of ours needs it.

It does not know what is asked. The usual library costs 105 to 130 us of CPU for a round trip on the machine that the
documentation measures on, this 50, and a limit is asked for on every request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from mainspring.base.errors import ConfigError
from mainspring.base.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = 6379
_REMEDY = (
    "Write storage.shared as memory:// or redis://[:PASSWORD@]HOST[:PORT][/DATABASE]; rediss:// for TLS."
)


class RedisError(Exception):
    """The server answered with an error, or the connection broke; the text is for people."""


class Address(msgspec.Struct, frozen=True):
    """Where a server is, and how to be let in."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: bool

    @classmethod
    def read(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            ConfigError: it is none of ours, or says something that cannot be.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORT
        except ValueError:
            raise ConfigError(
                f"storage.shared: {without_password(url)!r} has no valid host and port.", remedy=_REMEDY
            ) from None
        database = parts.path.strip("/")
        if parts.scheme not in {"redis", "rediss"}:
            raise ConfigError(
                f"storage.shared: {without_password(url)!r} is not a shared state that Mainspring knows.",
                remedy=_REMEDY,
            )
        if not parts.hostname:
            raise ConfigError(f"storage.shared: {without_password(url)!r} names no host.", remedy=_REMEDY)
        if (database and not database.isdigit()) or parts.query or parts.fragment:
            raise ConfigError(
                f"storage.shared: what follows the host in {without_password(url)!r} is not the number of a database.",
                remedy=_REMEDY,
            )
        return cls(
            host=parts.hostname,
            port=port,
            database=int(database or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


class Link(asyncio.Protocol):
    """A connection that answers in the order of the questions.

    Args:
        lost: called once with the reason when the connection is no more, unless we closed it.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost: Callable[[str], None] | None = lost
        self._waiting: deque[Callable[[bytes | RedisError], None]] = deque()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, address: Address, lost: Callable[[str], None], seconds: float) -> Link:
        """Connect and be let in.

        Raises:
            RedisError: the server did not let us in.
            OSError: there is no server, or it does not answer in time.
        """
        loop = asyncio.get_running_loop()
        tls = ssl.create_default_context() if address.tls else None
        async with asyncio.timeout(seconds):
            _, link = await loop.create_connection(lambda: cls(lost), address.host, address.port, ssl=tls)
            try:
                if address.password is not None:
                    names = [address.username] if address.username else []
                    await link.ask(b"AUTH", *(text.encode() for text in [*names, address.password]))
                if address.database:
                    await link.ask(b"SELECT", b"%d" % address.database)
            except BaseException:  # whatever it was, nobody else will close this connection
                link.close()
                raise
        return link

    def send(self, parts: list[bytes], answered: Callable[[bytes | RedisError], None]) -> None:
        """Send a command; `answered` is called with the answer or the error, but not when the connection is lost."""
        assert self._transport is not None, "made by open"
        self._waiting.append(answered)
        pieces = [b"*%d\r\n" % len(parts)]
        pieces += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
        self._transport.write(b"".join(pieces))

    async def ask(self, *parts: bytes) -> bytes:
        """Send a command and wait for its answer.

        Raises:
            RedisError: the server says no, or the connection is lost.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(answer: bytes | RedisError) -> None:
            if future.done():
                return
            if isinstance(answer, RedisError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        before, self._lost = self._lost, lambda why: answered(RedisError(why))
        try:
            self.send(list(parts), answered)
            return await future
        finally:
            self._lost = before

    def close(self) -> None:
        """Let go of the connection; nobody is called any more."""
        self._lost = None
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment] # uvloop's are not of asyncio's classes

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio's protocol."""
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(f"broke the connection ({type(exc).__name__})" if exc else "closed the connection")

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol."""
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return
            kind, head = self._buffer[:1], self._buffer[1:end]
            rest = end + 2
            answer: bytes | RedisError = head
            if kind == b"$":
                size = int(head)
                if len(self._buffer) < rest + size + 2:
                    return
                answer = self._buffer[rest : rest + size]
                rest += size + 2
            elif kind == b"-":
                answer = RedisError(head.decode("utf-8", "replace"))
            elif kind not in b"+:" or not self._waiting:
                self._give_up("sent something that is no answer to what it was asked")
                return
            self._buffer = self._buffer[rest:]
            with suppress(IndexError):  # an error that answers nothing, as a server says before it closes
                self._waiting.popleft()(answer)

    def _give_up(self, why: str) -> None:
        lost = self._lost
        self.close()
        if lost is not None:
            lost(why)
