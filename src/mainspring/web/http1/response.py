"""One answer on its way out: the head, the framing of the body, and a caller who reads slowly or has left."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from mainspring.base.errors import ClientGone
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mainspring.web.http1.connection import Connection
    from mainspring.web.http1.request import Request

_log = get_logger(__name__)
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
#: Answers that have no body, whatever is written.
_NO_BODY = frozenset({204, 304})
#: Framing is decided here, not by whoever answers.
_OURS = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"upgrade"})
#: What would end a line before its end, or a program in C before that.
_BREAKS = re.compile(rb"[\r\n\0]")
#: From here on, head and body are handed over apart: copying them together costs more than a longer list.
_APART_BYTES = 64 * 1024


class Response:
    """A `gateway.types.Sink` on a connection.

    The head waits for the first piece of the body, so that a whole answer is one write.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_head",
        "_left",
        "_mute",
        "_tell_gone",
        "complete",
        "keep_alive",
        "request",
        "started",
        "task",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self.request = request
        #: Whether another request may follow. Not after a body that was held back for a word that never came: nobody
        #: could tell whether what comes next is that body.
        self.keep_alive = request.keep_alive and not request.http10
        #: The one that answers.
        self.task: asyncio.Task[None] | None = None
        #: The head has been given; some of it may be on the wire.
        self.started = False
        #: The last byte has been written.
        self.complete = False
        self._head = b""
        self._chunked = False
        #: Of a body whose length was announced, what is still to come.
        self._left: int | None = None
        #: Nothing of the body is sent: it was asked with HEAD, or the status has none.
        self._mute = False
        self._tell_gone: Callable[[], None] | None = None

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Give the head. It goes out with the first `write`."""
        self.started = True
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        sent = 2  # lines: the first and the blank one
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            elif name in _OURS:
                if name == b"connection" and b"close" in value.lower():
                    self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
            sent += 1
        self._mute = self.request.method == b"HEAD" or status in _NO_BODY
        lines += self._framing()
        lines.append(b"\r\n")
        self._head = head = b"".join(lines)
        sent += self._chunked + (not self.keep_alive)
        if head.count(b"\n") != sent or head.count(b"\r") != sent or b"\0" in head:
            await self.start(status, _unbroken(headers))

    def _framing(self) -> list[bytes]:
        if self._connection.draining or self.request.waits:
            self.keep_alive = False
        self._chunked = False
        if self._left is None and not self._mute:
            if self.request.http10:
                self.keep_alive = False
            else:
                self._chunked = True
        lines = [b"transfer-encoding: chunked\r\n"] if self._chunked else []
        return lines if self.keep_alive else [*lines, b"connection: close\r\n"]

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body; waits before that while the caller has not read what was sent.

        Raises:
            ClientGone: the caller hung up.
        """
        connection = self._connection
        if connection.blocked:
            await connection.drained()
        if connection.closed:
            raise ClientGone("The caller hung up.")
        assert not self.complete, "nothing comes after the last piece"
        if self._mute:
            data = b""
        elif self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if last:
                data += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(data)
        head, self._head = self._head, b""
        if len(data) < _APART_BYTES:
            connection.transport.write(head + data)
        else:
            connection.transport.writelines([head, data])
        if last:
            self.complete = True
            # A body of another length than was announced: the caller must not take the next answer for its rest.
            connection.finished(self, broken=bool(self._left) and not self._mute)

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the caller has hung up."""
        self._tell_gone = tell
        if self._connection.closed:
            self.gone()

    def gone(self) -> None:
        """The caller has hung up."""
        if self._tell_gone is not None:
            self._tell_gone()


def plain(status: int) -> bytes:
    """A whole answer to what cannot be answered otherwise; the connection ends with it."""
    line = _STATUS_LINES[status]
    reason = line.split(b" ", 2)[2].replace(b"\r\n", b".\n")
    head = b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (line, len(reason)) + reason


def _unbroken(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without those that would be read as more than one; a defect of ours, which costs no answer."""
    kept = []
    for name, value in headers:
        if _BREAKS.search(name) or _BREAKS.search(value):
            _log.error("header_left_out", name=name.decode("latin-1"))
        else:
            kept.append((name, value))
    return kept
