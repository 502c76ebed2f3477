"""From bytes to requests, with httptools as the parser.

The parser is strict: what two programs could read in two ways is refused. A reader does not know whether, when or by
whom requests are answered.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from mainspring.web.http1.request import Request

#: The target and the headers of a request, together.
_HEAD_BYTES = 64 * 1024
_VERSIONS = frozenset({"1.0", "1.1"})


class Unreadable(Exception):
    """What came is no request that can be answered. `status` says why; nothing after it can be read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}")
        self.status = status


class Owner(Protocol):
    """Who is told of requests."""

    def head_read(self, request: Request) -> None:
        """A head is there."""
        ...

    def body_read(self, request: Request, data: bytes) -> None:
        """A piece of its body is there."""
        ...

    def request_read(self, request: Request) -> None:
        """All of it is there."""
        ...


class Reader:
    """Reads one connection.

    Args:
        owner: is told of what was read, from within `feed`.
    """

    __slots__ = (
        "_began_with",
        "_fed",
        "_head_bytes",
        "_headers",
        "_owner",
        "_parser",
        "_status",
        "_target",
        "in_head",
        "incoming",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fed = 0
        #: Bytes of the piece in which the head began, and of those after it.
        self._began_with = self._head_bytes = 0
        self._status = 400
        #: A head has begun to arrive.
        self.in_head = False
        #: The request whose body arrives.
        self.incoming: Request | None = None

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            Unreadable: this cannot be read.
        """
        self._fed = size = len(data)
        if self.in_head:
            self._head_bytes += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_as_it_is(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            raise Unreadable(self._status) from None
        if self.in_head and self._head_bytes > _HEAD_BYTES:
            raise Unreadable(431)

    def close(self) -> None:
        """Let go of the parser, which points back here."""
        del self._parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers = b"", []
        self.in_head, self._head_bytes, self._began_with = True, 0, self._fed

    def on_url(self, target: bytes) -> None:
        """A piece of the target was read."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was read."""
        if self.in_head:  # those after a body are nobody's
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete. An error ends the parser's work, and `feed` says with which status."""
        self.in_head = False
        parser, headers = self._parser, self._headers
        # No more than what came of it after the piece in which it began, and all of that piece; most heads are far from it.
        if self._began_with + self._head_bytes > _HEAD_BYTES and _size(self._target, headers) > _HEAD_BYTES:
            self._status = 431
            raise Unreadable(431)
        if parser.should_upgrade():
            return  # its body comes, if at all, with `_read_as_it_is`
        version = parser.get_http_version()
        if version not in _VERSIONS:
            self._status = 505
            raise Unreadable(505)
        self.incoming = request = Request(
            parser.get_method(),
            self._target,
            headers,
            http10=version == "1.0",
            keep_alive=parser.should_keep_alive(),
        )
        self._owner.head_read(request)

    def on_body(self, body: bytes) -> None:
        """A piece of the body was read."""
        assert self.incoming is not None, "a body comes after its head"
        self._owner.body_read(self.incoming, body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        request, self.incoming = self.incoming, None
        if request is not None:
            request.complete = True
            self._owner.request_read(request)

    def _read_as_it_is(self, rest: bytes) -> None:
        """Read a request that offers to go on in another protocol as if it did not, which is how one declines.

        The parser has stopped behind the head; clients that try HTTP/2 first send a body there.
        """
        parser = self._parser
        method = parser.get_method()
        if method == b"CONNECT":
            raise Unreadable(400)
        lines = [b"%b %b HTTP/%b\r\n" % (method, self._target, parser.get_http_version().encode())]
        for name, value in self._headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"  # noqa: PLW2901 - without `upgrade`
            if name != b"upgrade":
                lines.append(b"%b: %b\r\n" % (name, value))
        self._parser = httptools.HttpRequestParser(self)
        self.feed(b"".join([*lines, b"\r\n", rest]))


def _size(target: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(target) + sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
