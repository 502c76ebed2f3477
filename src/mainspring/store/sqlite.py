"""SQLite behind the database port: WAL, one writer thread, readers on snapshots of their own.

Several processes may share the file. A committed row survives a kill of the process; with `sync="full"` a power cut too.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mainspring.base.errors import ConfigError, Conflict, StoreError, StoreUnavailable
from mainspring.base.private import private_file, private_folder
from mainspring.store.checkpoint import Checkpointer
from mainspring.store.line import Line, Trouble
from mainspring.store.migrate import PROOF, is_current, migrate
from mainspring.store.pool import Pool
from mainspring.store.reasons import reason
from mainspring.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.store.types import Connection, Dialect, Item, Recorder, Row, Sheet

T = TypeVar("T")

#: What must be free before a disk that was full counts as well again.
_ROOM_BYTES = 16 << 20
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_PROTOCOL}
_LOST = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class SqliteDatabase:
    """A SQLite file, opened."""

    dialect: Dialect = "sqlite"

    def __init__(self, file: _File, *, queue_rows: int, wait_seconds: float) -> None:
        self.url = f"sqlite:///{file.path}"
        self._folder = file.path.parent
        self._checkpointer = file.checkpointer
        self._writer = Writer(file, queue_rows=queue_rows, wait_seconds=wait_seconds)
        self._readers = Pool(file, write=False, threads=3, wait_seconds=wait_seconds)

    @classmethod
    async def open(
        cls, url: str, *, sync: Literal["normal", "full"], queue_rows: int, wait_seconds: float
    ) -> SqliteDatabase:
        """Open or make the file and bring its schema up to date. Raises as `open_database` does."""
        file = _File(_path(url), sync)

        def on_line(work: Callable[[sqlite3.Connection, Dialect], T], *, write: bool) -> T:
            line = Line(file, write=write)
            try:
                return line.call(lambda connection: work(_raw(connection), "sqlite"), seconds=wait_seconds)
            finally:
                line.close()

        def prepare() -> None:
            file.create()
            if not on_line(
                is_current, write=False
            ):  # else the lock, which another process may hold, is not needed
                on_line(migrate, write=True)

        await asyncio.to_thread(prepare)
        return cls(file, queue_rows=queue_rows, wait_seconds=wait_seconds)

    def __repr__(self) -> str:
        return f"SqliteDatabase({self.url!r})"

    @property
    def depth(self) -> int:
        """Items that were appended and are not committed yet."""
        return self._writer.depth

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """See `Database.read`."""
        return await self._readers.run(work)

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """See `Database.write`. It takes its turn on the writer's thread."""
        return await self._writer.run(work)

    def append(self, recorder: Recorder[Item], item: Item, /) -> asyncio.Future[None]:
        """See `Database.append`."""
        return self._writer.append(recorder, item)

    def post(self, recorder: Recorder[Item], item: Item, /) -> None:
        """See `Database.post`."""
        self._writer.post(recorder, item)

    async def room(self) -> None:
        """See `Database.room`."""
        await self._writer.room()

    async def ping(self) -> None:
        """See `Database.ping`; also fails while the writer cannot write."""
        if not await self._writer.recovered(self._prove):
            raise StoreUnavailable(
                f"The database cannot be written ({self._writer.trouble}).",
                remedy="Check that its disk has room and that nothing else holds its lock.",
            )
        await self._readers.run(lambda connection: connection.one("SELECT 1"), seconds=1)

    def _prove(self, connection: Connection) -> None:
        """Write; on a disk that is nearly full a page may still have room, but no group of answers."""
        if shutil.disk_usage(self._folder).free < _ROOM_BYTES:
            raise StoreUnavailable("The disk of the database is full.", remedy="Make room on it.")
        connection.run(PROOF)

    async def close(self, within: float = 10) -> None:
        """See `Database.close`."""
        await self._writer.close(within)
        await asyncio.to_thread(self._checkpointer.close)
        await self._readers.close()


class _File:
    """The file, as a backend of lines and writer."""

    def __init__(self, path: Path, sync: Literal["normal", "full"]) -> None:
        self.path = path
        self._sync = sync
        self.checkpointer = Checkpointer(self._connect_beside)

    def create(self) -> None:
        """Make the folder and the file, for this user alone: answers are in there. SQLite gives its logs the file's mode."""
        if self.path.is_dir():
            raise StoreUnavailable(
                f"{self.path} is a folder.",
                remedy="Name a file in [storage] database, such as sqlite:///x.db.",
            )
        try:
            private_folder(self.path.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"The folder {self.path.parent} of the database cannot be made: {error.strerror}.",
                remedy="Name a writable place in [storage] database.",
            ) from error
        with suppress(OSError):  # the first connection finds the same, and says it as every one does
            private_file(self.path)

    def connect(self, *, write: bool) -> SqliteSession:
        """Open a session. Writers do not wait inside SQLite, whose waiting is coarse: lines wait for them."""
        raw = sqlite3.connect(
            self.path,
            timeout=0 if write else 5,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            if write:
                raw.execute("PRAGMA journal_mode = WAL")
                raw.execute(f"PRAGMA synchronous = {self._sync}")
                raw.execute("PRAGMA cache_size = -8000")
                # A checkpoint within a commit makes its answers wait; this one is for when that beside lags (64 MB).
                raw.execute("PRAGMA wal_autocheckpoint = 16000")
                raw.execute("PRAGMA journal_size_limit = 67108864")
            else:
                raw.execute("PRAGMA query_only = 1")
        except sqlite3.Error:
            raw.close()
            raise
        return SqliteSession(raw, self.checkpointer if write else None)

    def _connect_beside(self) -> sqlite3.Connection:
        raw = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        raw.execute(f"PRAGMA synchronous = {self._sync}")
        return raw

    def judge(self, error: Exception) -> Trouble:
        """See `Backend.judge`."""
        code = getattr(error, "sqlite_errorcode", None)
        if not isinstance(error, sqlite3.Error) or code is None:
            return Trouble.REFUSED
        primary = code & 0xFF
        if primary in _BUSY:
            return Trouble.BUSY
        return Trouble.LOST if primary in _LOST else Trouble.REFUSED

    def translate(self, error: Exception) -> Exception:
        """See `Backend.translate`."""
        if not isinstance(error, sqlite3.Error):
            return error
        code = getattr(error, "sqlite_errorcode", None)
        if code in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}:
            return Conflict("It is there already.")
        if (known := reason(error)) is not None:
            return StoreUnavailable(f"The database cannot be used: {known[0]}.", remedy=known[1])
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return StoreError(f"SQLite refused a statement ({name}).", remedy="This is a defect of Mainspring.")


class SqliteSession:
    """A connection to the file; see `Session` and `Connection`."""

    dialect: Dialect = "sqlite"

    def __init__(self, raw: sqlite3.Connection, checkpointer: Checkpointer | None) -> None:
        self.raw = raw
        self._checkpointer = checkpointer
        self._begin = "BEGIN" if checkpointer is None else "BEGIN IMMEDIATE"

    def begin(self) -> None:
        """Start a transaction; a writer takes the file's one write lock."""
        if self._checkpointer is not None:
            self._checkpointer.before(self.raw)
        self.raw.execute(self._begin)

    def identify(self) -> None:
        """See `Session.identify`. There is nothing to ask."""

    def identity(self) -> str | None:
        """See `Session.identity`. The file is here: a commit that failed did not happen."""
        return None

    def committed(self, identity: str) -> bool:
        """See `Session.committed`. Never asked."""
        raise AssertionError(identity)

    def commit(self) -> None:
        """Commit."""
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back, unless SQLite has done so itself."""
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()

    def abort(self) -> None:
        """Interrupt the statement that runs."""
        self.raw.interrupt()

    def rows(self, sql: str, /, **parameters: Any) -> list[Row]:
        """See `Connection.rows`."""
        return self.raw.execute(sql, parameters).fetchall()

    def one(self, sql: str, /, **parameters: Any) -> Row | None:
        """See `Connection.one`."""
        cursor = self.raw.execute(sql, parameters)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def run(self, sql: str, /, **parameters: Any) -> int:
        """See `Connection.run`."""
        return self.raw.execute(sql, parameters).rowcount

    def insert(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection.insert`."""
        self.raw.executemany(_insert(sheet), rows)

    def add(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection.add`."""
        self.raw.executemany(_add(sheet), rows)


@lru_cache
def _insert(sheet: Sheet) -> str:
    columns = ", ".join(f'"{name}"' for name, _ in sheet.columns)
    return f'INSERT INTO "{sheet.name}" ({columns}) VALUES ({", ".join("?" * len(sheet.columns))})'  # noqa: S608 - names from our own sheets


@lru_cache
def _add(sheet: Sheet) -> str:
    keys = ", ".join(f'"{name}"' for name, _ in sheet.columns[: sheet.keys])
    sums = ", ".join(f'"{name}" = "{name}" + excluded."{name}"' for name, _ in sheet.columns[sheet.keys :])
    return f"{_insert(sheet)} ON CONFLICT ({keys}) DO UPDATE SET {sums}"


def _raw(connection: Connection) -> sqlite3.Connection:
    assert isinstance(connection, SqliteSession)
    return connection.raw


def _path(url: str) -> Path:
    """The file of a URL: `sqlite:///relative.db`, `sqlite:////absolute.db`."""
    path = url.removeprefix("sqlite://").partition("?")[0].removeprefix("/")
    if not path or path == ":memory:":
        raise ConfigError(
            f"{url!r} names no file.",
            remedy="Write sqlite:///relative/path.db or sqlite:////absolute/path.db.",
        )
    return Path(path)
