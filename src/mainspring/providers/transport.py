"""HTTP to an upstream: one pool of kept-alive connections per provider.

The only file that knows how bytes get to a provider: directly, over TLS, or through a proxy that the environment
names. It sends bytes as they are, hands chunks on as they arrive and says what went wrong in our own error classes. It
knows nothing of any provider's protocol.
"""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import urllib.request
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mainspring import __version__
from mainspring.base.clock import now_us
from mainspring.base.errors import (
    ProviderProtocolError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from mainspring.providers.connection import Broken, Connection
from mainspring.providers.refusals import detail_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

#: Idle connections are dropped before the usual 60 s and more of load balancers in front of providers.
_IDLE_SECONDS = 25
#: How long a connection is kept for the end of a body whose contents have ended.
_LAST_BYTES_SECONDS = 0.25
#: An answer with a status from here on is an error; below it, from 300 on, it leads elsewhere.
_FIRST_ERROR, _FIRST_REDIRECT = 400, 300
_BAD_REQUEST, _WRONG_KEY = 400, 401
#: Anthropic says so with a 400 of the type `invalid_request_error`.
_NO_CREDIT = "credit balance is too low"
_PORTS = {"http": 80, "https": 443}


class HttpReply:
    """An answer over HTTP; see `providers.types.Reply`."""

    __slots__ = ("_connection", "_pool", "headers", "key", "status")

    def __init__(self, connection: Connection, pool: HttpTransport) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.key: str | None = None

    async def read(self) -> bytes:
        """The whole body."""
        assert self._connection is not None, "read comes before close"
        try:
            return await self._connection.read_all()
        except Broken as error:
            raise StreamCut(
                f"{self._pool.name} broke the connection in the middle of its answer.",
                arrived=self._connection.take(),
            ) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        connection = self._connection
        assert connection is not None, "chunks comes before close"
        try:
            while chunk := await connection.read_some():
                yield chunk
        except Broken as error:
            raise StreamCut(f"{self._pool.name} broke the connection in the middle of its stream.") from error

    def close(self, *, ended: bool = False) -> None:
        """Give a finished answer's connection back to the pool; close the connection of an unfinished one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection, ended=ended)


class HttpTransport:
    """The pool of one provider.

    Args:
        name: the provider's name, for error messages.
        base_url: what paths are appended to, without a slash at its end.
        headers: sent with every call.
        connections: most connections at once; 0 is no limit.
    """

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str], connections: int = 0) -> None:
        self.name = name
        parts = urlsplit(base_url)
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._path = parts.path
        authority = parts.netloc.rpartition("@")[2]
        own = {"host": authority, "accept-encoding": "identity", "user-agent": f"mainspring/{__version__}"}
        lines = {**own, **headers}
        self._head = "".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode("latin-1")
        self._proxy = proxy_for(base_url)
        self._tls = _tls() if parts.scheme == "https" else None
        self._places = asyncio.Semaphore(connections) if connections else None
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Make ready on the running loop (no connection is made yet)."""
        self._loop = asyncio.get_running_loop()

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        connect_seconds: float,
        credentials: bytes = b"",
    ) -> HttpReply:
        """Send a JSON body; return when the head of the answer is there.

        `credentials` is the header line of a key, with its line break: connections are shared by all keys.

        Raises:
            ProviderUnreachable: no connection, or it broke before the head.
            ProviderTimeout: no connection within `connect_seconds`.
            ProviderRefused: status 400 or more; the body was read and the connection given back.
        """
        extra = (
            "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
            if headers
            else b""
        )
        head = b"POST %b HTTP/1.1\r\n%b%b%bcontent-length: %d\r\n\r\n" % (
            (self._path + path).encode(),
            self._head,
            credentials,
            extra,
            len(body),
        )
        return await self._exchange(head + body, connect_seconds)

    async def get(self, path: str, connect_seconds: float, credentials: bytes = b"") -> HttpReply:
        """Fetch a path; errors as for `post`."""
        return await self._exchange(
            b"GET %b HTTP/1.1\r\n%b%b\r\n" % ((self._path + path).encode(), self._head, credentials),
            connect_seconds,
        )

    def release(self, connection: Connection, *, ended: bool = False) -> None:
        """Take a connection back, for the next call if its answer is complete, else to close it.

        Args:
            connection: whose answer nobody reads any more.
            ended: the answer said that it is complete; the end of its body has a moment to arrive.
        """
        if ended and not connection.complete and not connection.closed and self._loop is not None:
            self._loop.call_later(_LAST_BYTES_SECONDS, self.release, connection)
            return
        self._busy.discard(connection)
        if connection.complete and connection.reusable and not connection.closed and self._loop is not None:
            connection.idle_since = now = self._loop.time()
            self._idle.append(connection)
            oldest = self._idle[
                0
            ]  # calls take the newest, so that after a burst the oldest would lie here for ever
            if oldest.closed or oldest.idle_since <= now - _IDLE_SECONDS:
                self._idle.pop(0).abort()
        else:
            connection.abort()
        if self._places is not None:
            self._places.release()

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._busy:
            connection.abort()
        self._drop_idle()

    async def _exchange(self, request: bytes, connect_seconds: float) -> HttpReply:
        if self._places is not None:
            await self._places.acquire()
        try:
            connection = self._take() or await self._connect(connect_seconds)
        except BaseException:  # a cancellation too: the place must not be lost
            if self._places is not None:
                self._places.release()
            raise
        self._busy.add(connection)
        try:
            await connection.send(request)
        except Broken as error:
            self.release(connection)
            if not error.answered:
                self._drop_idle()  # they have been idle for longer than this one, and are gone as well
            raise ProviderUnreachable(
                f"{self.name} broke the connection before it answered: {error}.", dropped=not error.answered
            ) from error
        except BaseException:  # the caller left or ran out of time
            self.release(connection)
            raise
        reply = HttpReply(connection, self)
        if reply.status >= _FIRST_REDIRECT:
            raise await self._refusal(reply)
        return reply

    def _drop_idle(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _take(self) -> Connection | None:
        """The idle connection used last, if one is still good."""
        assert self._loop is not None, "start comes first"
        oldest = self._loop.time() - _IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, seconds: float) -> Connection:
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(seconds):
                return await self._open()
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{self.name} did not accept a connection at {where} within {seconds:g} s.",
                remedy="Check the provider's status and the network.",
            ) from error
        except ssl.SSLError as error:
            raise ProviderUnreachable(
                f"{self.name} cannot be reached securely at {where}: {error.reason or error}.",
                remedy="Check base_url, and the certificates of this machine (SSL_CERT_FILE).",
            ) from error
        except (
            OSError,
            UnicodeError,
        ) as error:  # a name that cannot be one is found out when it is looked up
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise ProviderUnreachable(
                f"{self.name} cannot be reached at {where}: {reason}.",
                remedy="Check base_url, the network and the provider's status.",
            ) from error

    async def _open(self) -> Connection:
        loop = self._loop
        assert loop is not None, "start comes first"
        server_name = self._host if self._tls is not None else None
        if self._proxy is None:
            _, connection = await loop.create_connection(
                lambda: Connection(loop), self._host, self._port, ssl=self._tls, server_hostname=server_name
            )
            return connection
        from python_socks import ProxyError  # noqa: PLC0415 - only behind a proxy
        from python_socks.async_.asyncio import Proxy  # noqa: PLC0415 - only behind a proxy

        try:
            sock = await Proxy.from_url(self._proxy).connect(self._host, self._port)
        except ProxyError as error:
            raise OSError(f"the proxy said: {error}") from error
        except ValueError as error:
            raise OSError(
                "the proxy in the environment is no http://host:port or socks5://host:port"
            ) from error
        _, connection = await loop.create_connection(
            lambda: Connection(loop), sock=sock, ssl=self._tls, server_hostname=server_name
        )
        return connection

    async def _refusal(self, reply: HttpReply) -> ProviderRefused | ProviderProtocolError:
        try:
            body = await reply.read()
        except StreamCut:
            body = b""
        finally:
            reply.close()
        if reply.status < _FIRST_ERROR:
            return ProviderProtocolError(
                f"{self.name} answered {reply.status} and points elsewhere.", remedy="Correct its base_url."
            )
        message, kind = _explanation(body)
        if reply.status == _BAD_REQUEST and message is not None and _NO_CREDIT in message:
            kind = "credit_balance_too_low"
        remedy = ""
        if reply.status == _WRONG_KEY:  # its own words may quote the key
            message = "it did not accept the key that Mainspring holds for it."
            remedy = f"Correct the key of [providers.{self.name}]; `mainspring check` looks at those that there are."
        return ProviderRefused(
            f"{self.name} answered {reply.status}: {message or 'no explanation'}",
            remedy=remedy,
            upstream_status=reply.status,
            upstream_body=body,
            upstream_type=kind,
            upstream_headers=reply.headers,
            retry_after=retry_after(reply.headers),
        )


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all providers: reading the certificates of a machine takes 0.1 s and 1 MB."""
    return ssl.create_default_context()


def _explanation(body: bytes) -> tuple[str | None, str | None]:
    """Message and type of an error body, as far as it gives them."""
    detail = detail_of(body)
    kind = next((name for name in (detail.get("code"), detail.get("type")) if isinstance(name, str)), None)
    message = detail.get("message")
    return message if isinstance(message, str) else None, kind


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Whole seconds from `retry-after-ms` or `Retry-After` (seconds or a date), rounded up; None if absent."""
    seconds = exact_retry_after(headers)
    return None if seconds is None else math.ceil(seconds)


def exact_retry_after(headers: Mapping[str, str]) -> float | None:
    """The same, not rounded."""
    milliseconds, wait = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            seconds = float(milliseconds) / 1000
        elif wait and wait.endswith("GMT"):
            seconds = parsedate_to_datetime(wait).timestamp() - now_us() / 1_000_000
        elif wait:
            seconds = float(wait)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), if any.

    HTTP proxies are asked for a tunnel (CONNECT) whatever the scheme. `socks5h` means that the proxy resolves names,
    which is what is done for `socks5` too.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy.replace("socks5h://", "socks5://", 1)
    return proxy if "://" in proxy else f"http://{proxy}"
