"""A few threads, each with its own connection, for queries that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mainspring.base.errors import StoreUnavailable
from mainspring.store.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.store.line import Backend
    from mainspring.store.types import Connection

T = TypeVar("T")


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
        self._closed = False

    async def run(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """Run a function in a transaction; see `Line.call`. `seconds` defaults to the pool's patience."""
        if self._closed:
            raise StoreUnavailable("The database is closed.", remedy="The server is stopping; ask again.")
        wait = self._wait if seconds is None else seconds
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, work, wait)

    async def close(self) -> None:
        """Let running functions end, then close every connection."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for line in self._lines:
            line.close()

    def _call(self, work: Callable[[Connection], T], seconds: float) -> T:
        line: Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = Line(self._backend, write=self._write)
            self._lines.append(line)
        return line.call(work, seconds=seconds)
