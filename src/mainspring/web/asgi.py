"""What a request says outside its body, and the gateway's answer as ASGI where a page of ours asks it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Self

from mainspring.base.errors import ClientGone
from mainspring.gateway import Attribution

if TYPE_CHECKING:
    from mainspring.gateway import Envelope

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = dict[bytes, bytes]

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
#: Headers of the caller that a provider should see. The version of Anthropic's protocol is not among them: it is the one
#: that is read here, and the provider sends it itself.
_PASSED_ON = (
    b"anthropic-beta",
    b"idempotency-key",
    b"openai-beta",
    b"traceparent",
    b"tracestate",
)
_NAME_CHARS = 256
_MOST_TAGS = 32


class AsgiSink:
    """A `gateway.types.Sink` on an ASGI server. While it is open as a context, it listens for the caller's leaving."""

    __slots__ = ("_gone", "_listener", "_receive", "_send", "_tell_gone")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone = False
        self._tell_gone: Callable[[], None] | None = None
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None, "entered before"
        self._listener.cancel()
        await asyncio.wait([self._listener])

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        except OSError as error:
            raise ClientGone("The caller hung up.") from error

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body."""
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        except OSError as error:
            raise ClientGone("The caller hung up.") from error

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the caller has hung up."""
        self._tell_gone = tell
        if self._gone and tell is not None:
            tell()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._tell_gone is not None:
            self._tell_gone()


def secret_of(headers: RawHeaders) -> str | None:
    """The key of a request, from either header that the known clients use."""
    value = headers.get(b"authorization")
    if value is not None and value[:7].lower() == b"bearer ":
        return value[7:].strip().decode("latin-1")
    value = headers.get(b"x-api-key")
    return value.strip().decode("latin-1") if value is not None else None


def passed_on(headers: RawHeaders) -> dict[str, str]:
    """The headers that go to the provider as they came."""
    return {name.decode(): headers[name].decode("latin-1") for name in _PASSED_ON if name in headers}


def attribution(headers: RawHeaders, envelope: Envelope) -> Attribution:
    """To whom an answer is put down: our headers first, then what the body says in the words of its protocol."""
    get = headers.get
    metadata = envelope.metadata or {}
    found = Attribution(
        user=_name(get(b"x-mainspring-user"))
        or envelope.safety_identifier
        or envelope.user
        or _text(metadata, "user_id"),
        feature=_name(get(b"x-mainspring-feature")) or _text(metadata, "feature"),
        session=_name(get(b"x-mainspring-session")) or _text(metadata, "session_id"),
    )
    if found.user is not None:
        found.user = found.user[:_NAME_CHARS]
    tags = {}
    if metadata:
        tags = {
            key[:_NAME_CHARS]: value[:_NAME_CHARS]
            for key, value in metadata.items()
            if isinstance(value, str) and key not in _NOT_TAGS
        }
    given = get(b"x-mainspring-tags")
    if given is not None:
        pairs = (pair.partition("=") for pair in given.decode("utf-8", "replace").split(","))
        tags.update(
            {key.strip(): value.strip()[:_NAME_CHARS] for key, sign, value in pairs if sign and key.strip()}
        )
    if tags:
        found.tags = dict(list(tags.items())[:_MOST_TAGS])
    trace = get(b"traceparent")
    if trace is not None and (match := _TRACEPARENT.fullmatch(trace)) is not None:
        found.trace_id, found.parent_span_id = match[1].decode(), match[2].decode()
    return found


#: Members of `metadata` that have a column of their own.
_NOT_TAGS = frozenset({"user_id", "feature", "session_id"})


def _name(value: bytes | None) -> str | None:
    return value.decode("utf-8", "replace")[:_NAME_CHARS] or None if value is not None else None


def _text(metadata: dict[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    return value[:_NAME_CHARS] if isinstance(value, str) and value else None
