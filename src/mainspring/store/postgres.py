"""Postgres behind the database port, on psycopg 3: one writing connection per process, readers and writers in pools.

A group of rows travels as one JSON document per table in one pipelined round trip: encoding a row takes microseconds
here, and the server takes it apart.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import psycopg
from psycopg import errors

from mainspring.base.errors import Conflict, StoreError, StoreUnavailable
from mainspring.base.logging import get_logger
from mainspring.base.settings import without_password
from mainspring.store.line import Line, Trouble
from mainspring.store.migrate import PROOF, is_current, migrate
from mainspring.store.pool import Pool
from mainspring.store.reasons import reason
from mainspring.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from mainspring.store.types import Connection, Dialect, Item, Kind, Recorder, Row, Sheet

T = TypeVar("T")

_log = get_logger(__name__)

#: Keeps two processes from migrating at once; a number of our own among the server's advisory locks.
_MIGRATION_LOCK = 0x6D61_696E_7370
#: A server that the network has lost without a word is given up after 25 s, not after hours; the URL may say otherwise.
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
#: Bytes of JSON in one statement; more rows go in several.
_DOCUMENT = 8 << 20
#: A replica has none to give, and says at the next statement in better words that it may only be read.
_IDENTITY = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_xact_id()::text END"
_BUSY = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
)
#: States of what is too large for the server: psycopg counts them as operational, but the same again never works.
_TOO_LARGE = "54"
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)


class _Undecided(Exception):
    """The server is still at a commit whose connection broke."""


class PostgresDatabase:
    """A Postgres database, connected."""

    dialect: Dialect = "postgresql"

    def __init__(self, server: _Server, *, queue_rows: int, wait_seconds: float) -> None:
        self.url = server.url
        self._writer = Writer(server, queue_rows=queue_rows, wait_seconds=wait_seconds)
        self._readers = Pool(server, write=False, threads=4, wait_seconds=wait_seconds)
        self._writers = Pool(server, write=True, threads=2, wait_seconds=wait_seconds)

    @classmethod
    async def open(cls, url: str, *, queue_rows: int, wait_seconds: float) -> PostgresDatabase:
        """Connect and bring the schema up to date. Raises as `open_database` does."""
        server = _Server(url, wait_seconds)

        def prepare() -> None:
            line = Line(server, write=True)
            try:
                line.call(_migrate, seconds=wait_seconds)
            finally:
                line.close()

        await asyncio.to_thread(prepare)
        return cls(server, queue_rows=queue_rows, wait_seconds=wait_seconds)

    def __repr__(self) -> str:
        return f"PostgresDatabase({without_password(self.url)!r})"

    @property
    def depth(self) -> int:
        """Items that were appended and are not committed yet."""
        return self._writer.depth

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """See `Database.read`."""
        return await self._readers.run(work)

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """See `Database.write`. It does not wait for the queue of appended items."""
        return await self._writers.run(work)

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
        if not await self._writer.recovered(lambda connection: connection.run(PROOF)):
            raise StoreUnavailable(
                f"The database cannot be written ({self._writer.trouble}).",
                remedy="Check that the server runs, takes connections and has room.",
            )
        await self._readers.run(lambda connection: connection.one("SELECT 1"), seconds=1)

    async def close(self, within: float = 10) -> None:
        """See `Database.close`."""
        await asyncio.gather(self._writer.close(within), self._writers.close(), self._readers.close())


class _Server:
    """The server, as a backend of lines and writer."""

    def __init__(self, url: str, wait_seconds: float) -> None:
        # Other programs write the name of a driver behind the scheme.
        self.url = f"postgresql://{url.partition('://')[2]}"
        self._wait_ms = max(1, round(wait_seconds * 1000))
        named = psycopg.conninfo.conninfo_to_dict(self.url)
        self._keepalives: dict[str, Any] = {
            name: value for name, value in _KEEPALIVES.items() if name not in named
        }

    def connect(self, *, write: bool) -> PostgresSession:
        """Open a session. A statement of a writer is given up after the time that callers wait."""
        raw = psycopg.connect(
            self.url,
            autocommit=True,  # transactions are ours to begin
            connect_timeout=5,
            application_name="mainspring",
            **self._keepalives,
            # Prepared statements settle on one plan for all values; a reader's values deserve a look each time.
            prepare_threshold=5 if write else None,
        )
        seconds = self._wait_ms if write else 30_000
        raw.execute(f"SET statement_timeout = {seconds}; SET client_min_messages = warning")
        return PostgresSession(raw, write=write)

    def judge(self, error: Exception) -> Trouble:
        """See `Backend.judge`."""
        if isinstance(error, (*_BUSY, _Undecided)):
            return Trouble.BUSY
        if (getattr(error, "sqlstate", None) or "").startswith(_TOO_LARGE):
            return Trouble.REFUSED
        return Trouble.LOST if isinstance(error, _LOST) else Trouble.REFUSED

    def translate(self, error: Exception) -> Exception:
        """See `Backend.translate`."""
        if isinstance(error, errors.UniqueViolation):
            return Conflict("It is there already.")
        if isinstance(error, psycopg.Error):
            if (known := reason(error)) is not None:
                return StoreUnavailable(f"The database cannot be used: {known[0]}.", remedy=known[1])
            name = f"{type(error).__name__}, {error.sqlstate}"
            return StoreError(
                f"Postgres refused a statement ({name}).", remedy="This is a defect of Mainspring."
            )
        return error


class PostgresSession:
    """A connection to the server; see `Session` and `Connection`.

    A writer's transaction begins in pipeline mode: statements are sent without waiting for answers until one of them
    returns something. What went wrong until then is raised there, or at the commit.
    """

    dialect: Dialect = "postgresql"

    def __init__(self, raw: psycopg.Connection, *, write: bool) -> None:
        self.raw = raw
        self._write = write
        self._pipeline: AbstractContextManager[psycopg.Pipeline] | None = None
        self._identity: psycopg.Cursor[Any] | None = None

    def begin(self) -> None:
        """Start a transaction; a reader sees one snapshot of the database."""
        if self._write:
            self._pipeline = self.raw.pipeline()
            self._pipeline.__enter__()
            self.raw.execute("BEGIN")
        else:
            self.raw.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def identify(self) -> None:
        """See `Session.identify`; the answer comes with the next one."""
        self._identity = self.raw.execute(_IDENTITY) if self._write else None

    def identity(self) -> str | None:
        """See `Session.identity`."""
        row = None if self._identity is None else self._identity.fetchone()
        return None if row is None else str(row[0])

    def committed(self, identity: str) -> bool:
        """See `Session.committed`."""
        row = self.raw.execute("SELECT pg_xact_status(%s::text::xid8)", (identity,)).fetchone()
        status = None if row is None else row[0]
        if status == "in progress":
            raise _Undecided
        return bool(status == "committed")

    def commit(self) -> None:
        """Commit."""
        self.raw.execute("COMMIT")
        self._settle()

    def rollback(self) -> None:
        """Roll back, if there is something to roll back."""
        with suppress(psycopg.Error):  # the error that is being rolled back, once more
            self._settle()
        if self.raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.raw.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()

    def abort(self) -> None:
        """Shut the socket down: a server that hangs is waited for no more."""
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.raw.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    def rows(self, sql: str, /, **parameters: Any) -> list[Row]:
        """See `Connection.rows`."""
        self._settle()
        return self.raw.execute(_placeholders(sql), _storable(parameters)).fetchall()

    def one(self, sql: str, /, **parameters: Any) -> Row | None:
        """See `Connection.one`."""
        self._settle()
        return self.raw.execute(_placeholders(sql), _storable(parameters)).fetchone()

    def run(self, sql: str, /, **parameters: Any) -> int:
        """See `Connection.run`."""
        self._settle()
        return self.raw.execute(_placeholders(sql), _storable(parameters)).rowcount

    def insert(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection.insert`."""
        for document in _documents(rows):
            self.raw.execute(_insert(sheet), (document,), binary=True)

    def add(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection.add`."""
        for document in _documents(rows):
            self.raw.execute(_add(sheet), (document,), binary=True)

    def _settle(self) -> None:
        """Leave pipeline mode; raises what went wrong in it."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.__exit__(None, None, None)


def _migrate(connection: Connection) -> None:
    # Ends what `begin` has begun in pipeline mode, too. An index over millions of rows takes longer than a request waits,
    # and whoever starts meanwhile waits for it.
    connection.run("SET LOCAL statement_timeout = 0")
    raw = cast("PostgresSession", connection).raw
    if is_current(raw, "postgresql"):
        return
    if connection.one(f"SELECT pg_try_advisory_xact_lock({_MIGRATION_LOCK})") != (True,):
        _log.info("schema_of_another", what="another process makes or upgrades the schema; waiting for it")
        connection.one(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
    migrate(raw, "postgresql")


def _documents(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Rows as JSON arrays of arrays, none much larger than `_DOCUMENT`. Bytes become base64."""
    encoded = [_encode(row) for row in rows]
    start = size = 0
    for index, row in enumerate(encoded):
        size += len(row)
        if size >= _DOCUMENT:
            yield f"[{','.join(encoded[start : index + 1])}]"
            start, size = index + 1, 0
    if start < len(encoded):
        yield f"[{','.join(encoded[start:])}]"


def _storable(parameters: dict[str, Any]) -> dict[str, Any]:
    """Postgres has no text with a NUL in it. The replacement character says that something stood there."""
    for name, value in parameters.items():
        if isinstance(value, str) and "\0" in value:
            parameters[name] = value.replace("\0", "\ufffd")
    return parameters


_encoder = msgspec.json.Encoder()


def _encode(row: Sequence[Any]) -> str:
    text = _encoder.encode(row)
    if b"\\u0000" in text:
        # See _storable; documents inside of the row escape theirs as text, which is fine.
        row = [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row]
        text = _encoder.encode(row)
    return text.decode()


#: How a value of each kind is taken out of a row's JSON array.
_FROM_JSON: dict[Kind, str] = {
    "text": "v->>{0}",
    "integer": "(v->>{0})::bigint",
    "real": "(v->>{0})::float8",
    "boolean": "(v->>{0})::boolean",
    "bytes": "decode(v->>{0}, 'base64')",
}


@lru_cache
def _insert(sheet: Sheet) -> str:
    columns = ", ".join(f'"{name}"' for name, _ in sheet.columns)
    values = ", ".join(_FROM_JSON[kind].format(index) for index, (_, kind) in enumerate(sheet.columns))
    return f'INSERT INTO "{sheet.name}" ({columns}) SELECT {values} FROM jsonb_array_elements(%s::jsonb) AS v'  # noqa: S608 - names from our own sheets


@lru_cache
def _add(sheet: Sheet) -> str:
    keys = ", ".join(f'"{name}"' for name, _ in sheet.columns[: sheet.keys])
    sums = ", ".join(
        f'"{name}" = "{sheet.name}"."{name}" + excluded."{name}"' for name, _ in sheet.columns[sheet.keys :]
    )
    return f"{_insert(sheet)} ON CONFLICT ({keys}) DO UPDATE SET {sums}"


@lru_cache(512)
def _placeholders(sql: str) -> str:
    """Named parameters as psycopg writes them."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))
