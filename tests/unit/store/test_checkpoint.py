"""The log of SQLite is written back beside the writer, stays bounded, and loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from mainspring.store import Sheet, open_database
from mainspring.store.checkpoint import Checkpointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mainspring.store import Connection

THINGS = Sheet("things", (("name", "text"), ("data", "bytes")))


class Things:
    def write(self, connection: Connection, items: Sequence[tuple[Any, ...]], /) -> None:
        connection.insert(THINGS, items)

    def present(self, connection: Connection, items: Sequence[tuple[Any, ...]], /) -> list[bool]:
        return [False for _ in items]


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (a)")
    yield connection
    connection.close()


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def fill(raw: sqlite3.Connection, checkpointer: Checkpointer, rows: int) -> None:
    for _ in range(rows // 100):
        checkpointer.before(raw)
        raw.execute("BEGIN")
        raw.executemany("INSERT INTO t VALUES (?)", [["x" * 1000]] * 100)
        raw.execute("COMMIT")


async def test_the_log_stays_bounded_under_a_steady_load(tmp_path: Path) -> None:
    database = await open_database(
        f"sqlite:///{tmp_path}/x.db", sync="normal", queue_rows=1000, wait_seconds=10
    )
    file, log = tmp_path / "x.db", tmp_path / "x.db-wal"
    largest = 0
    try:
        await database.write(lambda c: c.run("CREATE TABLE things (name TEXT PRIMARY KEY, data BLOB)"))
        things = Things()
        for n in range(500):
            await asyncio.gather(*(database.append(things, (f"{n} {m}", b"x" * 2000)) for m in range(64)))
            largest = max(largest, log.stat().st_size)
        assert file.stat().st_size > 32_000_000, "nothing was written back"
        assert largest < 64_000_000, "the log grew with the rows"
        count = await database.read(lambda c: c.one("SELECT count(*) FROM things"))
        assert count == (32_000,)
    finally:
        await database.close()
    assert not log.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "mainspring-checkpoint"]


def test_what_a_reader_holds_back_is_written_back_later(raw: sqlite3.Connection, tmp_path: Path) -> None:
    reader = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    checkpointer = Checkpointer(lambda: sqlite3.connect(tmp_path / "x.db", check_same_thread=False))
    fill(raw, checkpointer, 9000)
    time.sleep(0.1)
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert (tmp_path / "x.db").stat().st_size < 100_000
    reader.execute("COMMIT")
    reader.close()
    fill(raw, checkpointer, 9000)
    wait_until(lambda: (tmp_path / "x.db").stat().st_size > 9_000_000)
    checkpointer.close()
    assert raw.execute("SELECT count(*) FROM t").fetchone() == (18_000,)


def test_a_file_that_cannot_be_opened_beside_is_tried_again(raw: sqlite3.Connection, tmp_path: Path) -> None:
    tries = 0

    def connect() -> sqlite3.Connection:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise sqlite3.OperationalError("unable to open database file")
        return sqlite3.connect(tmp_path / "x.db", check_same_thread=False)

    checkpointer = Checkpointer(connect)
    fill(raw, checkpointer, 5000)
    wait_until(lambda: tries == 1)
    fill(raw, checkpointer, 5000)
    wait_until(lambda: (tmp_path / "x.db").stat().st_size > 4_000_000)
    checkpointer.close()


def test_without_work_there_is_no_thread(raw: sqlite3.Connection) -> None:
    checkpointer = Checkpointer(lambda: raw)
    fill(raw, checkpointer, 1000)
    assert not [thread for thread in threading.enumerate() if thread.name == "mainspring-checkpoint"]
    checkpointer.close()
