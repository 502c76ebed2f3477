"""One connection of a caller: its requests are answered one at a time and in their order.

While one is answered, what follows it waits unread; while the caller does not read, whoever answers waits. When the
caller leaves, whoever wants to know is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from mainspring.base.logging import get_logger
from mainspring.web.http1.pages import serve_page
from mainspring.web.http1.reader import Reader, Unreadable
from mainspring.web.http1.response import Response, plain

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mainspring.web.http1.listener import Listener
    from mainspring.web.http1.request import Request

_log = get_logger(__name__)
#: Of a body that is read piece by piece, how much may lie here unread.
_UNREAD_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """See the module.

    Args:
        listener: what it shares with the others.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._reader = Reader(self)
        self._waiters: list[asyncio.Future[None]] = []
        self._answering: Response | None = None
        self._queue: deque[Request] = deque()
        self._paused = False
        #: The status of what could not be read; nothing is read after it.
        self._refused = 0
        #: When the caller last did what the server waits for.
        self._since = 0.0
        self.transport: asyncio.Transport
        #: The caller has not read what was sent: wait for `drained` before sending more.
        self.blocked = False
        self.closed = False
        #: The process stops: the answer under way is the last one.
        self.draining = False

    # What an answer needs.

    async def drained(self) -> None:
        """Wait until the caller has read enough, or has left."""
        while self.blocked and not self.closed:
            await self._wait()

    async def over(self, response: Response) -> None:
        """Return when the caller has left, or the answer is complete."""
        while not (self.closed or response.complete):
            await self._wait()

    async def arrived(self, request: Request) -> None:
        """Wait for more of a body, or for its end, or for the caller to leave."""
        self._tell_to_go_on(request)
        self._read_on()
        while not (request.parts or request.complete or self.closed):
            await self._wait()

    def finished(self, response: Response, *, broken: bool) -> None:
        """The last byte of an answer was written: on to the next request.

        Args:
            response: the answer.
            broken: it has another length than was announced.
        """
        self._answering = None
        response.request.take()
        self._since = self._loop.time()
        if self._waiters:
            self._wake()
        if broken:
            self.transport.abort()
        elif not response.keep_alive or self.draining:
            self.transport.close()
        elif self._queue:
            self._answer(self._queue.popleft())
        elif self._refused:
            self._end(self._refused)
        else:
            if self._reader.incoming is not None:
                self._tell_to_go_on(self._reader.incoming)
            self._read_on()

    # What the server does.

    def shutdown(self) -> None:
        """Answer what is being answered, then close."""
        self.draining = True
        if self._answering is None:
            self.transport.close()

    def close_silent(self, latest: float) -> None:
        """Close if it is the caller's turn and nothing has come since `latest`."""
        if self._since >= latest:
            return
        if self.transport.is_closing() or (self._answering is None and self._reader.in_head):
            self.transport.abort()
        elif self._answering is None or self._answering.request is self._reader.incoming:
            self.transport.close()

    # What the event loop does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast("asyncio.Transport", transport)
        self._since = self._loop.time()
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """The connection is closed."""
        self.closed = True
        if self._answering is not None:
            self._answering.gone()
        self._listener.connections.discard(self)
        self._queue.clear()
        self._reader.close()
        self._wake()

    def pause_writing(self) -> None:
        """The caller reads more slowly than we write."""
        self.blocked = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.blocked = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._refused or self.closed:
            return
        if not self._reader.in_head:  # a head must come in one time, however it trickles
            self._since = self._loop.time()
        try:
            self._reader.feed(data)
        except Unreadable as error:
            self._refuse(error.status)

    # What the reader finds.

    def head_read(self, request: Request) -> None:
        """A page starts with the head; a surface needs the body, and does not begin one that is too large."""
        self._since = self._loop.time()
        if not request.surface:
            self._take(request)
        elif int(request.fields.get(b"content-length", b"0")) > self._listener.service.max_body_bytes:
            request.too_large = True
            self._take(request)
        else:
            self._tell_to_go_on(request)

    def body_read(self, request: Request, data: bytes) -> None:
        """Keep it, unless the answer is out already."""
        if request.too_large:
            return
        if request.surface:
            request.parts.append(data)
            request.size += len(data)
            if request.size > self._listener.service.max_body_bytes:
                request.too_large = True
                request.take()
                self._take(request)
        elif request in self._queue or (self._answering is not None and self._answering.request is request):
            request.parts.append(data)
            request.size += len(data)
            if request.size > _UNREAD_BYTES:
                self._pause()
            self._wake()

    def request_read(self, request: Request) -> None:
        """The whole request is here."""
        if not request.surface:
            self._wake()
        elif not request.too_large:
            self._take(request)

    def _take(self, request: Request) -> None:
        if self._answering is None:
            self._answer(request)
        else:
            self._queue.append(request)
            self._pause()

    def _answer(self, request: Request) -> None:
        response = self._answering = Response(self, request)
        listener = self._listener
        if request.surface:
            work = listener.service.answer(request, response)
        else:
            work = serve_page(listener.pages, self, response, listener.app_state)
        response.task = task = self._loop.create_task(self._run(work, response))
        listener.tasks.add(task)

    async def _run(self, work: Awaitable[None], response: Response) -> None:
        status = 500
        try:
            await work
        except asyncio.CancelledError:
            status = 503  # the process stops and could not wait for it
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, half an answer must not look whole
            _log.error("answer_failed", error=type(error).__name__, exc_info=error)
        finally:
            self._listener.tasks.discard(response.task)
            if not (response.complete or self.closed):
                self._end(0 if response.started else status)

    def _tell_to_go_on(self, request: Request) -> None:
        answering = self._answering
        if request.waits and (answering is None or answering.request is request):
            request.waits = False
            if not (request.size or request.complete):
                self.transport.write(_CONTINUE)

    def _refuse(self, status: int) -> None:
        """Nothing can be read any more; what was read before is answered."""
        self._refused = status
        if self._answering is None or self._answering.request is self._reader.incoming:
            self._end(0 if self._answering is not None and self._answering.started else status)

    def _end(self, status: int) -> None:
        """Close, with a word about why if nothing was said yet."""
        self.closed = True
        if status:
            self.transport.write(plain(status))
            self.transport.close()
        else:
            self.transport.abort()
        self._wake()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    async def _wait(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
