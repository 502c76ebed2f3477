"""A database that goes away, is locked or breaks connections: nothing is lost, nothing is written twice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.support.answers import answer
from tests.support.waiting import happens

from mainspring.base.errors import StoreUnavailable
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.store import open_database, sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from mainspring.store import Database

WAIT = 1.0


@pytest.fixture
def outage(database_url: str, request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[None]]:
    """Makes the database unwritable while the context lasts: a foreign lock on SQLite, no connections on Postgres."""
    if database_url.startswith("sqlite"):
        return lambda: locked_file(database_url.removeprefix("sqlite:///"))
    server = request.getfixturevalue("postgres_server")
    return lambda: closed_database(server, urlsplit(database_url).path[1:])


@contextmanager
def locked_file(path: str) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.close()


@contextmanager
def closed_database(server: str, name: str) -> Iterator[None]:
    import psycopg  # noqa: PLC0415 - only where Postgres is tested

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@pytest.fixture
async def patient(database_url: str) -> AsyncIterator[Database]:
    """Waits long for its database."""
    database = await open_database(database_url, wait_seconds=20)
    yield database
    await database.close()


@pytest.fixture
async def hasty(database_url: str) -> AsyncIterator[Database]:
    """Waits a second."""
    database = await open_database(database_url, wait_seconds=WAIT)
    yield database
    await database.close()


async def stored(database: Database) -> tuple[int, int]:
    """How many rows there are, and how many the rollups say there are."""
    rows = await database.read(
        lambda connection: connection.rows(
            "SELECT count(*) FROM inferences UNION ALL SELECT sum(requests) FROM usage_rollups WHERE grain = 60"
        )
    )
    return int(rows[0][0]), int(rows[1][0] or 0)


async def test_a_short_outage_only_takes_time(
    patient: Database, outage: Callable[[], AbstractContextManager[None]]
) -> None:
    recorder = LedgerRecorder()
    await patient.append(recorder, Record(answer()))
    with outage():
        waiting = [patient.append(recorder, Record(answer())) for _ in range(50)]
        await asyncio.sleep(0.7)
        assert not any(future.done() for future in waiting)
        with pytest.raises(StoreUnavailable):
            await patient.ping()
    await asyncio.gather(*waiting)
    assert await stored(patient) == (51, 51)
    await patient.ping()


async def test_a_long_outage_fails_those_who_wait_and_ends(
    hasty: Database, outage: Callable[[], AbstractContextManager[None]]
) -> None:
    recorder = LedgerRecorder()
    with outage():
        results = await asyncio.gather(
            *(hasty.append(recorder, Record(answer())) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreUnavailable] * 3
        with pytest.raises(StoreUnavailable):
            await hasty.write(lambda connection: connection.run("DELETE FROM versions"))
    await hasty.append(recorder, Record(answer()))
    assert await stored(hasty) == (1, 1)


async def test_what_nobody_waits_for_outlasts_an_outage(
    hasty: Database, outage: Callable[[], AbstractContextManager[None]]
) -> None:
    recorder = LedgerRecorder()
    with outage():
        for _ in range(20):
            hasty.post(recorder, Record(answer()))
        await asyncio.sleep(WAIT * 2)
        assert hasty.depth == 20
    await hasty.append(recorder, Record(answer()))
    assert await stored(hasty) == (21, 21)


async def test_a_full_queue_lets_callers_wait_no_longer_than_the_database(
    database_url: str, outage: Callable[[], AbstractContextManager[None]]
) -> None:
    database = await open_database(database_url, queue_rows=5, wait_seconds=WAIT)
    with outage():
        for _ in range(5):
            database.post(LedgerRecorder(), Record(answer()))
        with pytest.raises(StoreUnavailable):
            await database.room()
    await database.room()
    await database.close()


async def test_a_database_is_well_again_though_nobody_has_written_since(
    hasty: Database, outage: Callable[[], AbstractContextManager[None]]
) -> None:
    """Else a server that says that it is not ready, and so gets no requests, never found out."""
    with outage():
        with pytest.raises(StoreUnavailable):
            await hasty.append(LedgerRecorder(), Record(answer()))
        with pytest.raises(StoreUnavailable):
            await hasty.ping()
    for _ in range(20):
        with suppress(StoreUnavailable):
            await hasty.ping()
            break
    await hasty.ping()


async def test_what_a_caller_was_told_has_failed_is_not_done_later(sqlite_url: str) -> None:
    """A key that is rotated after all has a secret that nobody knows."""
    database = await open_database(sqlite_url, wait_seconds=WAIT)
    slow = asyncio.create_task(database.write(lambda _: time.sleep(3.5)))
    await asyncio.sleep(0.1)
    with pytest.raises(StoreUnavailable):
        await database.write(
            lambda connection: connection.run("INSERT INTO versions (name, value) VALUES ('n', 1)")
        )
    await asyncio.wait([slow])
    await happens(lambda: database.depth == 0)
    assert await database.read(lambda connection: connection.rows("SELECT name FROM versions")) == []
    await database.close()


async def test_a_disk_that_was_full_is_well_again_when_there_is_room(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page finds room on a disk on which no answer does."""
    database = await open_database(sqlite_url, wait_seconds=WAIT)
    with locked_file(sqlite_url.removeprefix("sqlite:///")), pytest.raises(StoreUnavailable):
        await database.append(LedgerRecorder(), Record(answer()))
    monkeypatch.setattr(sqlite, "_ROOM_BYTES", 1 << 62)  # as if the disk were full: no test fills one
    with pytest.raises(StoreUnavailable):
        await database.ping()
    monkeypatch.undo()
    await database.ping()
    await database.close()


async def test_a_turn_of_another_process_is_no_trouble(sqlite_url: str) -> None:
    database = await open_database(sqlite_url)
    with locked_file(sqlite_url.removeprefix("sqlite:///")):
        writing = database.append(LedgerRecorder(), Record(answer()))
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            await database.ping()
        await asyncio.sleep(0.5)
        with pytest.raises(StoreUnavailable):
            await database.ping()
    await writing
    await database.ping()
    await database.close()


async def test_connections_that_break_under_load_lose_nothing_and_double_nothing(
    postgres_url: str, postgres_server: str
) -> None:
    import psycopg  # noqa: PLC0415 - only where Postgres is tested

    database = await open_database(postgres_url, wait_seconds=20)
    recorder = LedgerRecorder()
    ids: list[str] = []

    async def caller() -> None:
        for _ in range(200):
            row = answer()
            await database.append(recorder, Record(row))
            ids.append(row.id)

    async def breaker() -> None:
        name = urlsplit(postgres_url).path[1:]
        async with await psycopg.AsyncConnection.connect(postgres_server, autocommit=True) as connection:
            while True:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
                await asyncio.sleep(0.15)
                stored_before = len(ids)  # a busy machine takes its time to connect anew
                await happens(lambda before=stored_before: len(ids) > before)

    breaking = asyncio.create_task(breaker())
    await asyncio.gather(*(caller() for _ in range(10)))
    breaking.cancel()
    await asyncio.gather(breaking, return_exceptions=True)
    assert await stored(database) == (2000, 2000)
    rows = await database.read(lambda connection: connection.rows("SELECT id FROM inferences"))
    assert {row[0] for row in rows} == set(ids)
    await database.close()


async def test_a_server_that_hangs_does_not_hang_its_callers(postgres_url: str) -> None:
    import psycopg  # noqa: PLC0415 - only where Postgres is tested

    database = await open_database(postgres_url, wait_seconds=WAIT)
    recorder = LedgerRecorder()
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute("LOCK TABLE inferences IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(database.append(recorder, Record(answer())), 30)
    await database.append(recorder, Record(answer()))
    await database.close()
