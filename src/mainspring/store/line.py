"""One connection of one thread: made when it is needed, and made again after it broke."""

from __future__ import annotations

import math
import time
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

from mainspring.base.errors import StoreUnavailable
from mainspring.store.reasons import reason
from mainspring.store.types import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Seconds between attempts at a database that is away or locked: doubled from the first to the last.
FIRST_DELAY, LAST_DELAY = 0.0005, 0.25


class Trouble(Enum):
    """What an exception from a driver means for the transaction it broke."""

    #: Somebody else holds a lock, or a conflict was resolved against us: the same again may work.
    BUSY = "busy"
    #: The connection or the database is gone or cannot write: the same again on a new connection may work.
    LOST = "lost"
    #: The database will not have what it was given, now or later.
    REFUSED = "refused"


class Session(Connection, Protocol):
    """A connection with its transaction in the hands of whoever holds it."""

    def begin(self) -> None:
        """Start a transaction (one that may write, if this session may)."""
        ...

    def identify(self) -> None:
        """Right after `begin`: ask by what the database tells this transaction from all others, without waiting for it."""
        ...

    def identity(self) -> str | None:
        """What was asked for; None where a commit is never in doubt."""
        ...

    def committed(self, identity: str) -> bool:
        """Whether a transaction of a session that broke was committed. Outside of a transaction.

        Raises what is judged as `BUSY` while the database is still at it.
        """
        ...

    def commit(self) -> None:
        """End it, keeping what was written."""
        ...

    def rollback(self) -> None:
        """End it, if there is one, undoing what was written."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...

    def abort(self) -> None:
        """Break off what runs on another thread, so that it fails there at once."""
        ...


class Backend(Protocol):
    """What a database must offer to be driven by lines and by the writer."""

    def connect(self, *, write: bool) -> Session:
        """Open a session."""
        ...

    def judge(self, error: Exception) -> Trouble:
        """Say what an exception means."""
        ...

    def translate(self, error: Exception) -> Exception:
        """Turn a driver's error into one of ours (without contents); any other is returned as it is."""
        ...


class Line:
    """A session that survives its connection. Used by one thread at a time; only `ends` and `abort` are for others.

    Attributes:
        ends: by the monotonic clock, when nothing is waited for any more, because the process ends.
    """

    def __init__(self, backend: Backend, *, write: bool) -> None:
        self._backend = backend
        self._write = write
        self._session: Session | None = None
        self.ends = math.inf

    def session(self) -> Session:
        """The session, connected now if it was not."""
        if self._session is None:
            self._session = self._backend.connect(write=self._write)
        return self._session

    def undo(self, error: Exception) -> Trouble:
        """Leave the transaction that an exception broke, and the connection too if that is what broke."""
        trouble = self._backend.judge(error)
        if self._session is not None:
            try:
                self._session.rollback()
            except Exception:  # noqa: BLE001 - a session that cannot roll back is given up, for whatever reason
                self.close()
        if trouble is Trouble.LOST:
            self.close()
        return trouble

    def call(self, work: Callable[[Connection], T], *, seconds: float) -> T:
        """Run a function in a transaction and commit; again while the database is busy or away.

        What it writes is there once: where a connection breaks during the commit, the database is asked first.

        Raises:
            StoreUnavailable: it was still so after `seconds`.
            Exception: what the function raised; a driver's error as one of ours.
        """
        deadline = time.monotonic() + seconds
        delay = FIRST_DELAY
        #: The transaction of which nobody knows whether it was committed, and what came of it if so.
        doubtful: tuple[str, T] | None = None
        while True:
            try:
                session = self.session()
                if doubtful is not None:
                    if session.committed(doubtful[0]):
                        return doubtful[1]
                    doubtful = None
                session.begin()
                session.identify()
                result = work(session)
                identity = session.identity()
                doubtful = None if identity is None else (identity, result)
                session.commit()
            except Exception as error:  # the backend says what it is and what to do about it
                if self.undo(error) is Trouble.REFUSED:
                    ours = self._backend.translate(error)
                    if ours is error:
                        raise
                    raise ours from error
                if time.monotonic() + delay > min(deadline, self.ends):
                    raise unavailable(error) from error
                time.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)
            else:
                return result

    def abort(self) -> None:
        """Let whatever hangs in the driver fail now."""
        session = self._session
        if session is not None:
            session.abort()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except Exception:  # noqa: BLE001 - it is being thrown away; how it complains does not matter
                return


def unavailable(error: Exception) -> StoreUnavailable:
    """The error that callers see. Only the driver's class is named: its text may quote contents or a password."""
    known = reason(error)
    if known is not None:
        return StoreUnavailable(f"The database cannot be used: {known[0]}.", remedy=known[1])
    return StoreUnavailable(
        f"The database cannot be reached, is locked or is full ({type(error).__name__}).",
        remedy="Check [storage] database, that its server runs, and the free space on its disk.",
    )
