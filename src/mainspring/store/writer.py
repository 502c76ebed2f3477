"""The group-committing writer: one thread, one connection, one transaction for everything that waits.

There is no commit window: what comes in one turn of the loop goes to the thread together, and while a transaction
commits, the next items gather, so that groups grow with load and a single item goes out at once. The queue is bounded
by `room`, which slows callers; nothing is ever dropped. The writer does not know what it writes: each item comes with
the recorder that turns it into rows.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from mainspring.base.errors import StoreError, StoreUnavailable
from mainspring.store.line import FIRST_DELAY, LAST_DELAY, Line, Trouble, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.store.line import Backend, Session
    from mainspring.store.types import Connection, Recorder

T = TypeVar("T")
Item = TypeVar("Item")

#: Most items in one transaction: large enough to amortise a commit, small enough to keep the lock for milliseconds.
GROUP = 512
#: Others' turns at a lock take milliseconds; who has not had one for so long tells of it.
_TURN_SECONDS = 0.5
#: How long it may take to find out whether the database takes writes again.
_PROOF_SECONDS = 1.0
#: How long the thread may still take once nothing is waited for any more.
_LAST_SECONDS = 1.0

log = logging.getLogger(__name__)


class _Entry:
    """An item on its way. Without a recorder, the item is a function to run in a transaction of its own."""

    __slots__ = ("deadline", "error", "future", "item", "recorder", "result")

    def __init__(
        self, recorder: Recorder[Any] | None, item: Any, future: asyncio.Future[Any] | None, deadline: float
    ) -> None:
        self.recorder = recorder
        self.item = item
        self.future = future
        self.deadline = deadline
        self.result: Any = None
        self.error: Exception | None = None


class Writer:
    """Writes for one event loop. All methods but the thread's own are called on that loop."""

    def __init__(self, backend: Backend, *, queue_rows: int, wait_seconds: float) -> None:
        self.depth = 0
        #: The class of what keeps the database from being written, and from when on that is news; see `trouble`.
        self._trouble: tuple[str, float] | None = None
        self._backend = backend
        self._line = Line(backend, write=True)
        self._limit = queue_rows
        self._wait = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[list[_Entry] | None] = SimpleQueue()
        #: What has come in this turn of the loop: to wake the thread for each item would make groups small.
        self._gathered: list[_Entry] = []
        self._pending: deque[_Entry] = deque()
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        #: Done when the thread has ended and everything that it reported was heard.
        self._ended: asyncio.Future[None] = self._loop.create_future()
        #: Items that nobody waits for and that are not written yet.
        self._posted = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mainspring-writer", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """The class of what keeps the database from being written, if anything does.

        Processes that share a file wait for each other's commits all the time: that is none before it has lasted.
        """
        found = self._trouble
        return found[0] if found is not None and time.monotonic() >= found[1] else None

    async def recovered(self, prove: Callable[[Connection], object]) -> bool:
        """Whether there is no trouble any more, also where nobody has written since: then something is, here.

        Args:
            prove: what only a database that takes writes lets pass.
        """
        if self.trouble is None:
            return True
        if self.depth:
            return False  # what waits is being tried
        try:
            await asyncio.wait_for(self.run(prove), _PROOF_SECONDS)
        except (StoreError, TimeoutError):
            return False
        return True

    def append(self, recorder: Recorder[Item], item: Item) -> asyncio.Future[None]:
        """Queue an item; the future resolves at its commit."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._put(_Entry(recorder, item, future, time.monotonic() + self._wait))
        return future

    def post(self, recorder: Recorder[Item], item: Item) -> None:
        """Queue an item that nobody waits for."""
        self._posted += 1
        self._put(_Entry(recorder, item, None, math.inf))

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run a function on the writer's thread in a transaction of its own."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Entry(None, work, future, time.monotonic() + self._wait))
        return await future

    async def room(self) -> None:
        """Wait until fewer than `queue_rows` items are queued."""
        if self.depth < self._limit:
            return
        deadline = time.monotonic() + self._wait
        while self.depth >= self._limit:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting_for_room.append(waiter)
            try:
                await asyncio.wait_for(waiter, max(0, deadline - time.monotonic()))
            except TimeoutError:
                raise StoreUnavailable(
                    "The queue of the database stays full.",
                    remedy="The database is slower than the traffic or away; see /readyz.",
                ) from None

    async def close(self, within: float) -> None:
        """Write what is queued, for so many seconds, then end the thread."""
        if not self._closed:
            self._closed = True
            self._line.ends = time.monotonic() + within
            self._hand_over()
            self._queue.put(None)
        await asyncio.wait(
            [self._ended], timeout=max(0.0, self._line.ends - time.monotonic()) + _LAST_SECONDS
        )
        if not self._ended.done():  # it hangs in the driver
            self._line.abort()
            await asyncio.wait([self._ended], timeout=_LAST_SECONDS)
        if self._posted:
            log.error(
                "%d answers have no row, perhaps: the database is away or hangs, and has not confirmed them before the stop.",
                self._posted,
            )
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _put(self, entry: _Entry) -> None:
        if self._closed:
            raise StoreUnavailable("The database is closed.", remedy="The server is stopping; ask again.")
        self.depth += 1
        if entry.future is not None:
            self._pending.append(entry)
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(entry)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(1, self._sweep)

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _sweep(self) -> None:
        """Fail items whose time is up though the thread is stuck in the driver (a server that hangs)."""
        self._sweeper = None
        late = time.monotonic() - 1
        for entry in self._pending:
            if entry.deadline > late:
                break  # deadlines are in order
            if entry.future is not None and not entry.future.done():
                entry.future.set_exception(unavailable(TimeoutError()))
        if self._pending:
            self._sweeper = self._loop.call_later(1, self._sweep)

    def _settle(self, entries: Sequence[_Entry]) -> None:
        """On the loop: tell the callers how it went."""
        self.depth -= len(entries)
        for entry in entries:
            future = entry.future
            if future is None:
                self._settle_posted(entry)
            elif not future.done():
                if entry.error is None:
                    future.set_result(entry.result)
                else:
                    future.set_exception(entry.error)
        self._let_go()

    def _settle_posted(self, entry: _Entry) -> None:
        if isinstance(entry.error, StoreUnavailable):
            return  # the process ends, and counts what is left
        self._posted -= 1
        if entry.error is not None:
            log.error("A row was lost: %s", entry.error)

    def _let_go(self) -> None:
        """Forget who was told, and let in who waits for room."""
        # The thread takes entries in order: what is settled is at the front, or will be.
        pending = self._pending
        while pending and (pending[0].future is None or pending[0].future.done()):
            pending.popleft()
        if self._waiting_for_room and self.depth < self._limit:
            waiting, self._waiting_for_room = self._waiting_for_room, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    # What follows runs on the thread.

    def _run(self) -> None:
        last = False
        while not last:
            gathered = self._queue.get()
            entries: list[_Entry] = []
            while gathered is not None:
                entries += gathered
                if len(entries) >= GROUP or self._queue.empty():
                    break
                gathered = self._queue.get()
            last = gathered is None
            self._work(entries)
        self._line.close()
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """On the loop: the thread is gone."""
        if not self._ended.done():
            self._ended.set_result(None)

    def _work(self, entries: list[_Entry]) -> None:
        """Write entries in their order: rows in groups, each function in a transaction of its own."""
        group: list[_Entry] = []
        for entry in entries:
            if entry.recorder is not None:
                group.append(entry)
            if entry.recorder is None or len(group) == GROUP:
                self._commit(group)
                group = []
            if entry.recorder is None:
                self._call(entry)
        self._commit(group)

    def _call(self, entry: _Entry) -> None:
        left = entry.deadline - time.monotonic()
        if left < 0:  # its caller has been told that it did not happen, or is told so now
            self._fail([entry], unavailable(TimeoutError()))
            return
        try:
            entry.result = self._line.call(entry.item, seconds=left)
        except Exception as error:  # noqa: BLE001 - whatever the function raises belongs to whoever passed it
            entry.error = error
        else:
            self._trouble = None
        self._tell([entry])

    def _commit(self, entries: list[_Entry]) -> None:
        """Write and commit a group, for as long as its items can wait."""
        delay = FIRST_DELAY
        apart = doubt = False
        while entries:
            committing = False
            try:
                session = self._line.session()
                session.begin()
                if apart:
                    self._write_apart(session, entries, doubt=doubt)
                else:
                    _write(session, entries, doubt=doubt)
                committing = True
                session.commit()
            except Exception as error:  # noqa: BLE001 - judged below; the thread must outlive every error
                trouble = self._line.undo(error)
                # An answer to the commit that never came: it may have happened.
                doubt = doubt or (committing and trouble is Trouble.LOST)
                if trouble is Trouble.REFUSED:
                    if apart:
                        entries = self._fail(entries, _refused(error))
                    apart = True
                    continue
                self._note(error, trouble)
                entries = self._expire(entries, error)
                time.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)
            else:
                self._trouble = None
                self._tell(entries)
                return

    def _note(self, error: Exception, trouble: Trouble) -> None:
        news = time.monotonic() + (_TURN_SECONDS if trouble is Trouble.BUSY else 0)
        if self._trouble is not None:
            news = min(news, self._trouble[1])
        self._trouble = type(error).__name__, news

    def _write_apart(self, session: Session, entries: list[_Entry], *, doubt: bool) -> None:
        """Write item by item, so that the one that the database refuses fails alone."""
        for entry in entries:
            entry.error = None
            session.run("SAVEPOINT item")
            try:
                _write(session, [entry], doubt=doubt)
                session.run("RELEASE SAVEPOINT item")
            except Exception as error:  # the backend says what it is; only a refused row stays here
                if self._backend.judge(error) is not Trouble.REFUSED:
                    raise
                session.run("ROLLBACK TO SAVEPOINT item")
                session.run("RELEASE SAVEPOINT item")
                entry.error = _refused(error)

    def _expire(self, entries: list[_Entry], error: Exception) -> list[_Entry]:
        """Fail those that cannot wait any longer; at shutdown nobody waits for longer than that may take."""
        now, ends = time.monotonic(), self._line.ends
        kept = [entry for entry in entries if min(entry.deadline, ends) > now]
        self._fail([entry for entry in entries if min(entry.deadline, ends) <= now], unavailable(error))
        return kept

    def _fail(self, entries: list[_Entry], error: Exception) -> list[_Entry]:
        for entry in entries:
            entry.error = error
        self._tell(entries)
        return []

    def _tell(self, entries: list[_Entry]) -> None:
        if not entries:
            return
        try:
            self._loop.call_soon_threadsafe(self._settle, entries)
        except RuntimeError:
            return  # the loop is closed: nobody is there to be told


def _write(session: Session, entries: list[_Entry], *, doubt: bool) -> None:
    groups: dict[Recorder[Any], list[Any]] = {}
    for entry in entries:
        if entry.recorder is not None:
            groups.setdefault(entry.recorder, []).append(entry.item)
    for recorder, items in groups.items():
        if doubt:
            there = recorder.present(session, items)
            items = [item for item, present in zip(items, there, strict=True) if not present]  # noqa: PLW2901 - the rest
        if items:
            recorder.write(session, items)


def _refused(error: Exception) -> StoreError:
    return StoreError(
        f"The database refused the row ({type(error).__name__}).",
        remedy="This is a defect of Mainspring or a damaged schema; the other rows were written.",
    )
