"""Writes SQLite's log back into its file, beside the writer in place of during one of its commits.

What a thread of its own cannot finish, because the writer goes on appending, is little; the writer itself finishes it
between two transactions, and begins the log anew. A checkpoint is never needed for a row to be safe: it bounds the log.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Rows changed between two checkpoints: some 15 MB of log at the usual sizes. Where rows are larger, SQLite's own
#: limit (`wal_autocheckpoint`) acts first.
_EVERY_CHANGES = 4000
#: Pages of the log that may be left to the writer: a few milliseconds.
_LITTLE = 200
#: Passes before what is left goes to the writer however much it is.
_PASSES = 3
_PASSIVE = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpointer:
    """Works for one writer, on whose thread `before` is called.

    Args:
        connect: opens a connection to the file.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._changes = 0
        self._due = threading.Event()
        self._finish = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def before(self, raw: sqlite3.Connection) -> None:
        """The writer is about to begin a transaction: see whether a checkpoint is due, or to be finished."""
        if self._finish.is_set():
            self._finish.clear()
            _checkpoint(raw)
        changes = raw.total_changes
        if not 0 <= changes - self._changes < _EVERY_CHANGES:  # below zero: the connection is another
            self._changes = changes
            self._due.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mainspring-checkpoint", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread. The last connection to a file empties its log."""
        self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        raw: sqlite3.Connection | None = None
        while True:
            self._due.wait()
            self._due.clear()
            if self._closing:
                break
            try:
                raw = raw or self._connect()
            except sqlite3.Error:
                continue  # the writer has the same trouble, and tells of it
            for _ in range(_PASSES):
                left = _checkpoint(raw)
                if left is None or left < _LITTLE:
                    break
            self._finish.set()
        if raw is not None:
            raw.close()


def _checkpoint(raw: sqlite3.Connection) -> int | None:
    """Write back what can be; how many pages are left, or None where another process is at it or the disk is full."""
    try:
        busy, pages, done = raw.execute(_PASSIVE).fetchone()
    except sqlite3.Error:
        return None  # the log stays as it is, and the next transaction finds out whether it can be written
    return None if busy else pages - done
