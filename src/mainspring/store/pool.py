"""A few threads, each with its own connection, for queries that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from mainspring.base.errors import StoreUnavailable
from mainspring.store.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from mainspring.store.line import Backend
    from mainspring.store.types import Connection

T = TypeVar("T")

#: How long a function may still run when the pool is closed.
_LAST_SECONDS = 3.0


class Pool:
    """Runs functions in transactions on threads of its own. Threads and connections are made on demand."""

    def __init__(self, backend: Backend, *, write: bool, threads: int, wait_seconds: float) -> None:
        self._backend = backend
        self._write = write
        self._wait = wait_seconds
        self._local = threading.local()
        self._lines: list[Line] = []
        name = "mainspring-write" if write else "mainspring-read"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        #: What the threads are at, or will be. Who asked for it may have given up: a thread goes on all the same.
        self._running: set[Future[Any]] = set()
        self._closed = False

    async def run(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """Run a function in a transaction; see `Line.call`. `seconds` defaults to the pool's patience."""
        if self._closed:
            raise StoreUnavailable("The database is closed.", remedy="The server is stopping; ask again.")
        # From now on, not from when a thread is free: else those who wait behind each other wait in turn.
        deadline = time.monotonic() + (self._wait if seconds is None else seconds)
        running = self._threads.submit(self._call, work, deadline)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(running)

    async def close(self) -> None:
        """Let running functions end, and break off those that hang; then close every connection."""
        self._closed = True
        for line in self._lines:
            line.ends = 0.0  # a database that is away now is not waited for
        self._threads.shutdown(wait=False, cancel_futures=True)
        ended = await self._ended()
        if not ended:
            for line in self._lines:
                line.abort()
            ended = await self._ended()
        if ended:  # else a thread uses its own still
            for line in self._lines:
                line.close()

    async def _ended(self) -> bool:
        """Wait for the threads to be done, for a while; whether they are."""
        running = list(self._running)
        return not running or not (await asyncio.to_thread(wait, running, _LAST_SECONDS)).not_done

    def _call(self, work: Callable[[Connection], T], deadline: float) -> T:
        line: Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = Line(self._backend, write=self._write)
            self._lines.append(line)
        return line.call(work, seconds=deadline - time.monotonic())
