"""The database port, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.answers import answer

from mainspring.base.errors import ConfigError, Conflict, StoreError, StoreUnavailable
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.store import Sheet, open_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.store import Connection, Database

THINGS = Sheet(
    "things",
    (("name", "text"), ("size", "integer"), ("share", "real"), ("good", "boolean"), ("data", "bytes")),
)
COUNTERS = Sheet(
    "counters", (("name", "text"), ("day", "integer"), ("hits", "integer"), ("weight", "real")), keys=2
)


class Things:
    """Records tuples as rows; the size must be positive."""

    groups: list[int]

    def __init__(self) -> None:
        self.groups = []

    def write(self, connection: Connection, items: Sequence[tuple[Any, ...]], /) -> None:
        connection.insert(THINGS, items)
        connection.add(COUNTERS, [["all", 0, len(items), float(len(items))]])
        self.groups.append(len(items))

    def present(self, connection: Connection, items: Sequence[tuple[Any, ...]], /) -> list[bool]:
        return [
            connection.one("SELECT 1 FROM things WHERE name = :name", name=item[0]) is not None
            for item in items
        ]


def thing(name: str, size: int = 1) -> tuple[Any, ...]:
    return (name, size, 0.5, True, b"\x00\xff")


def create(connection: Connection) -> None:
    data = "BLOB" if connection.dialect == "sqlite" else "BYTEA"
    connection.run(
        f"CREATE TABLE things (seq INTEGER {'' if data == 'BLOB' else 'GENERATED ALWAYS AS IDENTITY'} PRIMARY KEY,"
        f" name TEXT NOT NULL UNIQUE, size BIGINT CHECK (size > 0), share DOUBLE PRECISION, good BOOLEAN, data {data})"
    )
    connection.run(
        "CREATE TABLE counters (name TEXT, day BIGINT, hits BIGINT, weight DOUBLE PRECISION, PRIMARY KEY (name, day))"
    )


@pytest.fixture
async def things(database: Database) -> Database:
    await database.write(create)
    return database


async def names(database: Database) -> list[str]:
    rows = await database.read(lambda connection: connection.rows("SELECT name FROM things ORDER BY seq"))
    return [row[0] for row in rows]


async def hits(database: Database) -> int:
    row = await database.read(
        lambda connection: connection.one("SELECT hits FROM counters WHERE name = 'all'")
    )
    return row[0] if row else 0


async def test_what_is_appended_can_be_read_back(things: Database) -> None:
    await things.append(Things(), ("a name", 2**53, 0.1, False, b"\x00\xff" * 100))
    row = await things.read(
        lambda connection: connection.one(
            "SELECT name, size, share, good, data FROM things WHERE name = :n", n="a name"
        )
    )
    assert row is not None
    assert (row[0], row[1], row[2], bool(row[3]), bytes(row[4])) == (
        "a name",
        2**53,
        0.1,
        False,
        b"\x00\xff" * 100,
    )


async def test_null_is_kept(things: Database) -> None:
    await things.append(Things(), ("empty", None, None, None, None))
    row = await things.read(lambda connection: connection.one("SELECT size, share, good, data FROM things"))
    assert row == (None, None, None, None)


async def test_rows_are_committed_in_the_order_in_which_they_came(things: Database) -> None:
    recorder = Things()
    expected = [f"thing {n}" for n in range(2000)]
    await asyncio.gather(*(things.append(recorder, thing(name)) for name in expected))
    assert await names(things) == expected
    assert await hits(things) == 2000
    assert things.depth == 0


async def test_what_waits_is_committed_together(things: Database) -> None:
    recorder = Things()
    await asyncio.gather(*(things.append(recorder, thing(f"thing {n}")) for n in range(300)))
    assert len(recorder.groups) <= 5


async def test_a_row_that_is_refused_fails_alone(things: Database) -> None:
    recorder = Things()
    sizes = [1] * 20
    sizes[7] = -1
    results = await asyncio.gather(
        *(things.append(recorder, thing(f"thing {n}", size)) for n, size in enumerate(sizes)),
        return_exceptions=True,
    )
    assert [n for n, result in enumerate(results) if isinstance(result, StoreError)] == [7]
    assert await names(things) == [f"thing {n}" for n in range(20) if n != 7]
    assert await hits(things) == 19


async def test_a_row_that_no_index_takes_fails_alone_and_at_once(postgres_url: str) -> None:
    """Postgres counts it among what passes, such as a full disk; waited for, it would keep every row behind it back."""
    database = await open_database(postgres_url, wait_seconds=3)
    names = ("m", os.urandom(5000).hex(), "m")
    results = await asyncio.gather(
        *(database.append(LedgerRecorder(), Record(answer(model=name))) for name in names),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    await database.close()


async def test_a_recorder_that_raises_fails_only_its_item(things: Database) -> None:
    class Picky(Things):
        def write(self, connection: Connection, items: Sequence[tuple[Any, ...]], /) -> None:
            super().write(connection, items)
            if any(item[0] == "bad" for item in items):
                raise ValueError("not this one")

    recorder = Picky()
    results = await asyncio.gather(
        *(things.append(recorder, thing(name)) for name in ("a", "bad", "b")), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    assert await names(things) == ["a", "b"]


async def test_a_row_that_is_there_already_is_refused(things: Database) -> None:
    recorder = Things()
    await things.append(recorder, thing("twice"))
    with pytest.raises(StoreError):
        await things.append(recorder, thing("twice"))
    assert await hits(things) == 1


async def test_the_error_of_a_refused_row_quotes_nothing_of_it(things: Database) -> None:
    with pytest.raises(StoreError) as caught:
        await things.append(Things(), thing("a secret", -1))
    assert "a secret" not in str(caught.value)


async def test_text_with_a_nul_character_is_kept_as_well_as_the_database_can(things: Database) -> None:
    await asyncio.gather(
        *(things.append(Things(), thing(name)) for name in ("before", "nul \0 here", "after"))
    )
    stored = await names(things)
    assert [stored[0], stored[2]] == ["before", "after"]
    assert stored[1] in {"nul \0 here", "nul \ufffd here"}


async def test_text_that_looks_like_an_escape_or_a_parameter_is_only_text(things: Database) -> None:
    odd = ["\\u0000", "50% :name %(name)s", 'it\'s "quoted"', "\U0001f600 \u00e9", '["json"]']
    for name in odd:
        await things.append(Things(), thing(name))
    assert await names(things) == odd
    row = await things.read(
        lambda connection: connection.one(
            "SELECT name FROM things WHERE name LIKE '50%' AND name = :n", n=odd[1]
        )
    )
    assert row == (odd[1],)


async def test_counters_are_added_to_what_is_there(things: Database) -> None:
    def add(connection: Connection) -> None:
        connection.add(COUNTERS, [["a", 1, 2, 0.5], ["b", 1, 5, 1.0]])
        connection.add(COUNTERS, [["a", 1, 3, 0.25], ["a", 2, 1, 0.0]])

    await things.write(add)
    rows = await things.read(
        lambda connection: connection.rows("SELECT name, day, hits, weight FROM counters ORDER BY name, day")
    )
    assert rows == [("a", 1, 5, 0.75), ("a", 2, 1, 0.0), ("b", 1, 5, 1.0)]


async def test_a_large_group_of_large_rows_is_written(things: Database) -> None:
    recorder = Things()
    data = bytes(range(256)) * 4096
    await asyncio.gather(*(things.append(recorder, (f"large {n}", 1, 0.0, True, data)) for n in range(20)))
    row = await things.read(
        lambda connection: connection.one("SELECT count(*), min(data), max(data) FROM things")
    )
    assert row is not None
    assert (row[0], bytes(row[1]), bytes(row[2])) == (20, data, data)


async def test_a_write_that_raises_changes_nothing(things: Database) -> None:
    def work(connection: Connection) -> None:
        connection.insert(THINGS, [thing("gone")])
        raise LookupError("no")

    with pytest.raises(LookupError):
        await things.write(work)
    assert await names(things) == []


async def test_a_write_returns_what_its_function_returns(things: Database) -> None:
    def work(connection: Connection) -> int:
        connection.insert(THINGS, [thing("a"), thing("b")])
        return connection.run("UPDATE things SET size = size + 1")

    assert await things.write(work) == 2


async def test_a_second_row_with_the_same_key_is_a_conflict(things: Database) -> None:
    await things.write(lambda connection: connection.insert(THINGS, [thing("a")]))
    with pytest.raises(Conflict):
        await things.write(lambda connection: connection.insert(THINGS, [thing("a")]))


async def test_a_reader_cannot_write(database_url: str) -> None:
    database = await open_database(database_url, wait_seconds=2)
    with pytest.raises(StoreError):
        await database.read(lambda connection: connection.run("DELETE FROM inferences"))
    await database.close()


async def test_a_reader_sees_one_moment(things: Database) -> None:
    """A row that is committed while a function reads appears in the next one only."""
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> tuple[Any, Any]:
        before = connection.one("SELECT count(*) FROM things")
        asyncio.run_coroutine_threadsafe(_appended(), loop).result(60)
        return before, connection.one("SELECT count(*) FROM things")

    async def _appended() -> None:
        await things.append(Things(), thing("new"))

    assert await things.read(work) == ((0,), (0,))
    assert await names(things) == ["new"]


async def test_a_caller_that_goes_away_does_not_take_its_row_along(things: Database) -> None:
    recorder = Things()
    task = asyncio.ensure_future(things.append(recorder, thing("orphan")))
    task.cancel()
    await things.append(recorder, thing("other"))
    assert await names(things) == ["orphan", "other"]


async def test_a_full_queue_slows_callers_and_drops_nothing(database_url: str) -> None:
    database = await open_database(database_url, queue_rows=10)
    await database.write(create)
    recorder = Things()
    deepest = 0

    async def caller(start: int) -> None:
        nonlocal deepest
        for n in range(start, start + 20):
            await database.room()
            database.post(recorder, thing(f"thing {n}"))
            deepest = max(deepest, database.depth)

    await asyncio.gather(*(caller(start) for start in range(0, 400, 20)))
    await database.close()
    database = await open_database(database_url)
    assert len(await names(database)) == 400
    # Callers that were let through together may overshoot by their number.
    assert deepest <= 10 + 20
    await database.close()


async def test_closing_writes_what_is_queued(database_url: str) -> None:
    database = await open_database(database_url)
    await database.write(create)
    for n in range(500):
        database.post(Things(), thing(f"thing {n}"))
    await database.close()
    with pytest.raises(StoreUnavailable):
        database.append(Things(), thing("too late"))
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection: connection.one("SELECT 1"))
    database = await open_database(database_url)
    assert len(await names(database)) == 500
    await database.close()


async def test_closing_waits_for_a_read_that_nobody_waits_for_any_more(database_url: str) -> None:
    database = await open_database(database_url)
    begun, found = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.3)
        # On a connection that was closed meanwhile, SQLite may end the process.
        found.append(connection.one("SELECT 7"))

    reading = asyncio.create_task(database.read(slow))
    await begun.wait()
    reading.cancel()
    await database.close()
    assert found == [(7,)]
    assert reading.cancelled()


async def test_ping(database: Database) -> None:
    await database.ping()


async def test_the_url_is_shown_without_its_password(database: Database) -> None:
    assert database.dialect in repr(database).lower().replace("postgresdatabase", "postgresql")


@pytest.mark.parametrize(
    "url", ["mysql://root:secret@host/db", "sqlite://", "sqlite:///:memory:", "nonsense"]
)
async def test_a_url_of_another_kind_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_database(url)
    assert "secret" not in str(caught.value)
    assert "sqlite:///" in caught.value.remedy


def _append_many(url: str, prefix: str, count: int) -> None:
    async def work() -> None:
        database = await open_database(url)
        recorder = Things()
        for start in range(0, count, 10):
            await asyncio.gather(
                *(database.append(recorder, thing(f"{prefix} {n}")) for n in range(start, start + 10))
            )
        await database.close()

    asyncio.run(work())


async def test_two_processes_write_at_once(things: Database, database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(database_url, prefix, 300)) for prefix in "ab"]
    for process in processes:
        process.start()
    for n in range(300):
        await things.append(Things(), thing(f"own {n}"))
    for process in processes:
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == 0
    stored = await names(things)
    for prefix in ("a", "b", "own"):
        assert [name for name in stored if name.startswith(f"{prefix} ")] == [
            f"{prefix} {n}" for n in range(300)
        ]
    assert await hits(things) == 900
