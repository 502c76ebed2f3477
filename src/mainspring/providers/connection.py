"""One HTTP/1.1 connection to an upstream, as an asyncio protocol with httptools as its parser.

A connection carries one request at a time. It buffers what arrives until somebody reads, stops the sender when too
much is waiting, and says whether it can be used again. It knows nothing of pools, retries or what the bytes mean.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import cast

import httptools

#: Unread bytes at which the sender is told to wait, until they are read.
_HIGH_WATER = 512 * 1024
#: Unread bytes at which an answer that is read whole is given up: no model says so much, but a broken server may.
_MOST_BYTES = 256 * 1024 * 1024
_FIRST_FINAL_STATUS = 200
#: Servers that compress although they are asked not to.
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_WINDOW = 47  # zlib's sign for either framing, gzip's or its own


class Broken(ConnectionError):
    """The connection broke, or what came over it is not HTTP. `answered`: bytes of an answer had come."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Connection(asyncio.Protocol):
    """See the module. Attributes are of the answer under way; times are of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = False
        self._paused = False
        self._failure: Broken | None = None
        self._inflate: zlib._Decompress | None = None
        self._touched = False
        self.status = 0
        self.headers: dict[str, str] = {}
        #: The answer has come to its end.
        self.complete = True
        #: Nothing can be sent any more.
        self.closed = False
        self.reusable = True
        self.idle_since = 0.0

    # What a request does.

    async def send(self, data: bytes) -> None:
        """Write a request and wait for the head of its answer: `status` and `headers`.

        Raises:
            Broken: before a head came.
        """
        assert self._transport is not None, "connection_made comes first"
        self._parts, self._size, self._failure, self._inflate = [], 0, None, None
        self._whole = self._touched = self.complete = False
        self.headers = {}
        if self.closed:
            raise Broken("the connection was closed", answered=False)
        self._head = self._loop.create_future()
        self._transport.write(data)
        await self._head

    async def read_all(self) -> bytes:
        """The whole body.

        Raises:
            Broken: before its end.
        """
        self._whole = True
        if not self.complete:
            self._go_on()
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """What has arrived and was not read yet, also after a break. It is gone then: an idle connection holds no answer."""
        body, self._parts = b"".join(self._parts), []
        return body

    async def read_some(self) -> bytes:
        """What has arrived and was not read yet; waits for something; empty at the end of the body.

        Raises:
            Broken: before the end of the body, after everything that came was read.
        """
        while not self._parts:
            if self.complete:
                return b""
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0
        self._go_on()
        return data

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # What the event loop does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.complete:
            # Nobody asked: a server that says goodbye in words (408) before it closes, or one that is not sane.
            self.abort()
            return
        self._touched = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__  # what a callback below raised
            self._fail(str(cause) if isinstance(cause, Broken) else "it sent something that is not HTTP")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        aborted, self.closed = self.closed, True
        if self.complete or self._failure is not None:
            return
        until_close = "content-length" not in self.headers and "transfer-encoding" not in self.headers
        answering = self._head is not None and self._head.done() and self._inflated()
        if exc is None and not aborted and until_close and answering:
            self.on_message_complete()
        else:
            self._fail(str(exc) if exc is not None else "it closed the connection")

    # What the parser does.

    def on_message_begin(self) -> None:
        """An answer begins. One that follows another without a request must never be taken for the next caller's."""
        if self.complete:
            raise Broken("it sent more than one answer", answered=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was read."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            self.headers = {}
            return
        self.status = status
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in _INFLATED:
            self._inflate = zlib.decompressobj(_ANY_WINDOW)
        elif encoding not in {"", "identity"}:
            raise Broken(
                f"its answer is compressed with {encoding!r}, which it was not asked for", answered=True
            )
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """A piece of the body was read."""
        if self._inflate is not None:
            body = self._inflated_from(body)
            if not body:
                return  # nothing can be told from it yet; an empty piece would look like the end
        self._parts.append(body)
        self._size += len(body)
        if self._size > _MOST_BYTES:
            raise Broken(f"its answer is larger than {_MOST_BYTES >> 20} MB", answered=True)
        if not self._whole:
            self._wake()
            if self._size > _HIGH_WATER and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def _inflated_from(self, body: bytes) -> bytes:
        """What a piece of a compressed body says; a body may be several, one after another."""
        assert self._inflate is not None, "only a compressed body is inflated"
        out = b""
        while body:
            out += self._inflate.decompress(body)
            if not self._inflate.eof:
                break
            body = self._inflate.unused_data.lstrip(b"\0")  # some pad it
            if body:
                self._inflate = zlib.decompressobj(_ANY_WINDOW)
        return out

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._parser.get_status_code() < _FIRST_FINAL_STATUS:
            return
        if not self._inflated():
            raise Broken("its compressed body is cut short", answered=True)
        self.complete = True
        self.reusable = not self.closed and bool(self._parser.should_keep_alive())
        self._go_on()  # what was not read yet is here; an idle connection must hear that the other side closes
        self._wake()

    def _inflated(self) -> bool:
        """Whether a compressed body is there to its own end; true for one that is not compressed."""
        return self._inflate is None or self._inflate.eof

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _go_on(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            if not self.closed:
                self._transport.resume_reading()

    def _fail(self, reason: str) -> None:
        self._failure = failure = Broken(reason, answered=self._touched)
        for future in (self._head, self._waiter):
            if future is not None and not future.done():
                future.set_exception(failure)
                # The waiter may have been cancelled in the same turn; nobody else would look at the exception.
                future.exception()
