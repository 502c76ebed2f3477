"""One connection to Redis or Valkey: the protocol (RESP 2) as far as a batch of ours needs it.

It does not know what is asked. The usual library costs 105 to 130 us of CPU for a round trip on the machine that the
documentation measures on, this 50, and a limit is asked for on every request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from mainspring.base.errors import ConfigError
from mainspring.base.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = 6379
_REMEDY = "Write storage.shared as memory:// or redis://[:PASSWORD@]HOST[:PORT][/DATABASE]; rediss:// for TLS, with ?ssl_ca_certs=FILE for an authority of your own."


class RedisError(Exception):
    """The server answered with an error; the text is its own."""


class Lost(ConnectionError):
    """The connection is no more; the text goes on after the address of the server."""


class Address(msgspec.Struct, frozen=True):
    """Where a server is, and how to be let in."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: bool
    #: A file with the authorities to trust in place of those of the machine.
    authorities: str | None = None

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
        host = parts.hostname
        if host is None or not _is_host(host):
            raise ConfigError(f"storage.shared: {without_password(url)!r} names no host.", remedy=_REMEDY)
        query = parse_qs(parts.query)
        authorities = query.pop("ssl_ca_certs", [None])[-1]
        if (database and not database.isdigit()) or query or parts.fragment:
            raise ConfigError(
                f"storage.shared: what follows the host in {without_password(url)!r} is neither the number of a database nor ssl_ca_certs.",
                remedy=_REMEDY,
            )
        if authorities is not None:
            _check(authorities)
        return cls(
            host=host,
            port=port,
            database=int(database or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
            authorities=authorities,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


def _check(authorities: str) -> None:
    try:
        ssl.create_default_context(cafile=authorities)
    except OSError as error:  # what is wrong with the contents is one too
        why = (None if isinstance(error, ssl.SSLError) else error.strerror) or "there is no certificate in it"
        raise ConfigError(
            f"storage.shared: the file {authorities!r} of ssl_ca_certs cannot be used: {why}.",
            remedy="Name a file with the certificates of the authorities to trust, as PEM.",
        ) from None


def _is_host(name: str) -> bool:
    """Whether a name can be looked up at all."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:  # a label that is empty or too long
        return False


class Link(asyncio.Protocol):
    """A connection that answers in the order of the questions.

    Args:
        lost: called once when the connection is no more, unless we closed it.
    """

    def __init__(self, lost: Callable[[Lost | RedisError], None]) -> None:
        self._lost: Callable[[Lost | RedisError], None] | None = lost
        self._waiting: deque[Callable[[bytes | RedisError], None]] = deque()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(
        cls,
        address: Address,
        lost: Callable[[Lost | RedisError], None],
        seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> Link:
        """Connect and be let in.

        Raises:
            RedisError: the server did not let us in.
            OSError: there is no server, it does not answer in time, or its certificate is not trusted.
        """
        loop = asyncio.get_running_loop()
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
            RedisError: the server says no.
            Lost: the connection is no more.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(answer: bytes | RedisError | Lost) -> None:
            if future.done():
                return
            if isinstance(answer, bytes):
                future.set_result(answer)
            else:
                future.set_exception(answer)

        before, self._lost = self._lost, answered
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
            lost(Lost(f"broke the connection ({type(exc).__name__})" if exc else "closed the connection"))

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
                self._give_up(Lost("sent something that is no answer to what it was asked"))
                return
            self._buffer = self._buffer[rest:]
            if self._waiting:
                self._waiting.popleft()(answer)
            elif isinstance(answer, RedisError):  # it answers nothing: so a server says why it closes
                self._give_up(answer)
                return

    def _give_up(self, why: Lost | RedisError) -> None:
        lost = self._lost
        self.close()
        if lost is not None:
            lost(why)
