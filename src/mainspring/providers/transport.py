"""HTTP to an upstream: one pooled client per provider, on aiohttp.

The only file that knows which HTTP client is used. It keeps connections open, sends bytes as they are, hands chunks
on as they arrive and says what went wrong in our own error classes. It knows nothing of any provider's protocol.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from mainspring.base.errors import ProviderRefused, ProviderTimeout, ProviderUnreachable, StreamCut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

#: Idle upstream connections are dropped before the usual 60 s and more of load balancers in front of providers.
_KEEPALIVE_SECONDS = 25
#: Error bodies are read to here; what follows is not an explanation.
_ERROR_BYTES = 256 * 1024
_FIRST_ERROR_STATUS = 400


class HttpReply:
    """An answer over HTTP; see `providers.types.Reply`."""

    __slots__ = ("_name", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, name: str) -> None:
        self._response = response
        self._name = name
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The whole body."""
        try:
            return await self._response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderUnreachable(
                f"{self._name} broke the connection in the middle of its answer."
            ) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        read = self._response.content.readany
        try:
            while chunk := await read():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise StreamCut(f"{self._name} broke the connection in the middle of its stream.") from error

    def close(self) -> None:
        """Release a finished answer's connection to the pool; close the connection of an unfinished one."""
        self._response.close()


class HttpTransport:
    """The pool of one provider.

    Args:
        name: the provider's name, for error messages.
        base_url: what paths are appended to, without a slash at its end.
        headers: sent with every call, credentials among them.
        connections: most connections at once; 0 is no limit.
    """

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str], connections: int = 0) -> None:
        self._name = name
        self._base_url = base_url
        self._headers = CIMultiDict(headers)
        self._headers["accept-encoding"] = "identity"
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def start(self) -> None:
        """Open the pool (no connection is made yet)."""
        proxy = proxy_for(self._base_url)
        if proxy is not None and proxy.startswith("socks"):
            from aiohttp_socks import ProxyConnector  # noqa: PLC0415 - only behind a SOCKS proxy

            connector: aiohttp.BaseConnector = ProxyConnector.from_url(
                proxy.replace("socks5h://", "socks5://", 1),
                rdns=proxy.startswith("socks5h"),
                limit=self._connections,
                keepalive_timeout=_KEEPALIVE_SECONDS,
            )
        else:
            self._proxy = proxy
            connector = aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=60
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            read_bufsize=1 << 18,
        )

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], connect_seconds: float
    ) -> HttpReply:
        """Send a JSON body; return when the head of the answer is there.

        Raises:
            ProviderUnreachable: no connection, or it broke before the head.
            ProviderTimeout: no connection within `connect_seconds`.
            ProviderRefused: status 400 or more; the body was read and the connection given back.
        """
        return await self._request("POST", path, body, headers, connect_seconds)

    async def get(self, path: str, connect_seconds: float) -> HttpReply:
        """Fetch a path; errors as for `post`."""
        return await self._request("GET", path, None, {}, connect_seconds)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], connect_seconds: float
    ) -> HttpReply:
        assert self._session is not None, "start() comes first"
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base_url + path)
        timeout = self._timeouts.get(connect_seconds)
        if timeout is None:
            timeout = self._timeouts[connect_seconds] = aiohttp.ClientTimeout(
                total=None, sock_connect=connect_seconds
            )
        if headers:
            merged = self._headers.copy()
            merged.update(headers)
        else:
            merged = self._headers
        try:
            response = await self._session.request(
                method,
                url,
                data=body,
                headers=merged,
                timeout=timeout,
                proxy=self._proxy,
                allow_redirects=False,
            )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
            raise ProviderTimeout(
                f"{self._name} did not accept a connection within {connect_seconds:g} s.",
                remedy="Check the provider's status and the network.",
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ProviderUnreachable(
                f"{self._name} cannot be reached at {url.host}:{url.port}: {error.os_error.strerror or error.os_error}.",
                remedy="Check base_url, the network and the provider's status.",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderUnreachable(
                f"{self._name} broke the connection before it answered ({type(error).__name__}).",
                dropped=True,
            ) from error
        if response.status >= _FIRST_ERROR_STATUS:
            raise await self._refusal(response)
        return HttpReply(response, self._name)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderRefused:
        try:
            body = await response.content.read(_ERROR_BYTES)
        except (aiohttp.ClientError, OSError):
            body = b""
        finally:
            response.close()
        message, kind = _explanation(body)
        return ProviderRefused(
            f"{self._name} answered {response.status}: {message or response.reason or 'no explanation'}",
            upstream_status=response.status,
            upstream_body=body,
            upstream_type=kind,
            retry_after=retry_after(response.headers),
        )


class _Detail(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: _Detail | str | None = None
    message: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


def _explanation(body: bytes) -> tuple[str | None, str | None]:
    """Message and type of an error body; every known provider uses one of two shapes."""
    try:
        document = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None
    if isinstance(document.error, _Detail):
        code = document.error.code
        return document.error.message, code if isinstance(code, str) else document.error.type
    return document.error or document.message, None


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Whole seconds from `retry-after-ms` or `Retry-After` (the form in seconds), rounded up; None if absent."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0, -(-int(float(milliseconds)) // 1000))
        if seconds := headers.get("retry-after"):
            return max(0, -(-int(float(seconds) * 1000) // 1000))
    except (ValueError, OverflowError):
        return None
    return None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), if any."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
