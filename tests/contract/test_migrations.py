"""The schema: made in an empty database, brought up to date in an old one, left alone in a new one."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import subprocess
import sys
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from mainspring.base.errors import MigrationError
from mainspring.ledger.tables import ATTEMPTS, FIRST_TOKENS, TOTALS, USAGE
from mainspring.store import open_database
from mainspring.store.migrate import HEAD
from mainspring.store.postgres import _MIGRATION_LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.store import Connection
    from mainspring.store.types import Dialect


def described(connection: Connection) -> list[Any]:
    """Everything about the schema that a difference would show in."""
    if connection.dialect == "sqlite":
        rows = connection.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
        return [[kind, name, table, " ".join((sql or "").split())] for kind, name, table, sql in rows]
    return [
        connection.rows(
            "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name, is_identity"
            " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ),
        connection.rows(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
        ),
    ]


async def schema_of(url: str) -> list[Any]:
    database = await open_database(url)
    try:
        return await database.read(described)
    finally:
        await database.close()


def run_sql(url: str, *statements: str) -> list[Any]:
    """Before there is a schema, nothing of ours can open the database: speak to it directly."""
    if url.startswith("sqlite"):
        import sqlite3  # noqa: PLC0415 - one of two drivers

        raw: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        import psycopg  # noqa: PLC0415 - one of two drivers

        raw = psycopg.connect(url, autocommit=True)
    found: list[Any] = []
    for statement in statements:
        answer = raw.execute(statement)
        found = answer.fetchall() if answer.description else []
    raw.close()
    return found


async def test_an_empty_database_gets_the_schema(database_url: str) -> None:
    database = await open_database(database_url)
    rows = await database.read(lambda connection: connection.rows("SELECT version_num FROM alembic_version"))
    assert rows == [(HEAD,)]
    await database.close()


async def test_opening_again_changes_nothing(database_url: str) -> None:
    assert await schema_of(database_url) == await schema_of(database_url)


async def test_an_old_schema_is_brought_up_to_date_and_equals_a_fresh_one(database_url: str) -> None:
    """A database before the first revision takes the long way, through every revision."""
    run_sql(
        database_url,
        "CREATE TABLE alembic_version (\n    version_num VARCHAR(32) NOT NULL, \n"
        "    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)",
    )
    upgraded = await schema_of(database_url)
    if database_url.startswith("sqlite"):
        fresh = await schema_of(f"{database_url}.fresh")
    else:
        run_sql(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        fresh = await schema_of(database_url)
    assert upgraded == fresh


async def test_sums_of_earlier_releases_stay_and_go_on(database_url: str) -> None:
    """Revision 0006 adds columns to sums that are there; an earlier release goes on writing beside this one."""
    await schema_of(database_url)
    new = {*ATTEMPTS, *FIRST_TOKENS}
    for sheet in (USAGE, TOTALS):
        run_sql(database_url, *(f"ALTER TABLE {sheet.name} DROP COLUMN {name}" for name in sorted(new)))
    run_sql(database_url, "UPDATE alembic_version SET version_num = '0005'")
    earlier = USAGE._replace(columns=tuple(column for column in USAGE.columns if column[0] not in new))
    values = [60, 0, *"abcde", *[1] * (len(earlier.columns) - earlier.keys)]
    names = ", ".join(f'"{name}"' for name, _ in earlier.columns)
    literals = ", ".join(f"'{value}'" for value in values)
    run_sql(database_url, f"INSERT INTO usage_rollups ({names}) VALUES ({literals})")
    database = await open_database(database_url)
    await database.write(lambda c: c.add(earlier, [values]))
    await database.write(lambda c: c.add(USAGE, [[*values[:7], *[1] * (len(USAGE.columns) - USAGE.keys)]]))
    row = await database.read(
        lambda c: c.one("SELECT requests, h29, attempts, attempt_errors, f00, f29 FROM usage_rollups")
    )
    assert row == (3, 3, 1, 1, 1, 1)
    await database.close()


def statements_until(dialect: Dialect, revision: str) -> list[str]:
    """What a release at this revision made of an empty database."""
    from alembic import command  # noqa: PLC0415 - takes long to load

    from mainspring.store.upgrade import _config  # noqa: PLC0415 - loads Alembic

    buffer = io.StringIO()
    command.upgrade(_config(dialect=dialect, buffer=buffer), revision, sql=True)
    return [part.strip() for part in buffer.getvalue().split(";\n") if part.strip()]


def a_row_of_each(url: str) -> dict[str, list[str]]:
    """The columns of every table that is there, each with a row of ones in all of them."""
    if url.startswith("sqlite"):
        listed = (
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
        )
    else:
        listed = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND is_identity = 'NO'"
        )
    tables: dict[str, list[str]] = {}
    literals: dict[str, list[str]] = {}
    for table, column, kind in run_sql(url, listed):
        if table == "alembic_version":
            continue
        tables.setdefault(table, []).append(f'"{column}"')
        named = kind.lower()
        blob = "x'31'" if url.startswith("sqlite") else "'\\x31'::bytea"
        found = blob if named in {"blob", "bytea"} else "TRUE" if named == "boolean" else "'1'"
        literals.setdefault(table, []).append(found)
    for table, columns in tables.items():
        run_sql(url, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(literals[table])})")
    return tables


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005", "0006"])
async def test_every_earlier_state_is_brought_up_to_date_with_what_it_holds(
    database_url: str, revision: str
) -> None:
    dialect: Dialect = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    run_sql(database_url, *statements_until(dialect, revision))
    tables = a_row_of_each(database_url)
    before = {name: run_sql(database_url, f"SELECT {', '.join(tables[name])} FROM {name}") for name in tables}
    assert len(tables) >= 9
    upgraded = await schema_of(database_url)
    for name, columns in tables.items():
        assert run_sql(database_url, f"SELECT {', '.join(columns)} FROM {name}") == before[name], name
        run_sql(database_url, f"DELETE FROM {name}")
    a_row_of_each(database_url)
    if dialect == "sqlite":
        fresh = await schema_of(f"{database_url}.fresh")
    else:
        run_sql(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        fresh = await schema_of(database_url)
    assert upgraded == fresh


async def test_a_newer_schema_is_refused(database_url: str) -> None:
    await schema_of(database_url)
    run_sql(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="9999"):
        await open_database(database_url)


async def test_a_migration_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    run_sql(
        database_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        "CREATE TABLE feedback (mine TEXT)",
    )
    with pytest.raises(MigrationError):
        await open_database(database_url)
    run_sql(database_url, "DROP TABLE feedback")
    await schema_of(database_url)


def _open(url: str) -> None:
    async def work() -> None:
        database = await open_database(url)
        await database.write(
            lambda connection: connection.run(
                "INSERT INTO versions (name, value) VALUES ('starts', 1)"
                " ON CONFLICT (name) DO UPDATE SET value = versions.value + 1"
            )
        )
        await database.close()

    asyncio.run(work())


async def test_processes_that_start_together_make_the_schema_once(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open, args=(database_url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == 0
    database = await open_database(database_url)
    row = await database.read(
        lambda connection: connection.one("SELECT value FROM versions WHERE name = 'starts'")
    )
    assert row == (4,)
    await database.close()


@contextmanager
def elsewhere(url: str, *statements: str) -> Iterator[None]:
    """Another process of ours, in a transaction on Postgres."""
    import psycopg  # noqa: PLC0415 - only where Postgres is tested

    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)
        yield


@pytest.mark.parametrize(
    "statement",
    ["LOCK TABLE usage_rollups IN ACCESS SHARE MODE", f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"],
    ids=["a statement", "another process"],
)
async def test_a_migration_may_take_longer_than_a_request_waits(postgres_url: str, statement: str) -> None:
    """An index over millions of rows does."""
    await schema_of(postgres_url)
    for table in ("usage_rollups", "usage_totals"):
        run_sql(
            postgres_url, *(f"ALTER TABLE {table} DROP COLUMN {name}" for name in (*ATTEMPTS, *FIRST_TOKENS))
        )
    run_sql(postgres_url, "UPDATE alembic_version SET version_num = '0005'")
    with elsewhere(postgres_url, statement):
        opening = asyncio.create_task(open_database(postgres_url, wait_seconds=0.5))
        await asyncio.sleep(2)
        assert not opening.done()
    database = await asyncio.wait_for(opening, 30)
    assert await database.read(lambda c: c.rows("SELECT version_num FROM alembic_version")) == [(HEAD,)]
    await database.close()


async def test_who_finds_the_schema_up_to_date_waits_for_nobody(database_url: str) -> None:
    await schema_of(database_url)
    if database_url.startswith("sqlite"):
        import sqlite3  # noqa: PLC0415 - one of two drivers

        other = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        database = await open_database(database_url, wait_seconds=0.5)
        other.close()
    else:
        with elsewhere(database_url, f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"):
            database = await open_database(database_url, wait_seconds=0.5)
    await database.close()


def test_the_prepared_sql_is_what_the_revisions_print() -> None:
    from mainspring.store.upgrade import head, render  # noqa: PLC0415 - loads Alembic

    assert head() == HEAD
    for dialect in ("sqlite", "postgresql"):
        prepared = files("mainspring.store.migrations").joinpath(f"{dialect}.sql").read_text("utf-8")
        assert prepared == render(dialect), "run `python -m mainspring.store.migrations`"


def test_a_schema_that_is_up_to_date_loads_neither_alembic_nor_sqlalchemy(sqlite_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from mainspring.store import open_database, open_blobs\n"
        "async def work():\n"
        f"    for _ in range(2): await (await open_database({sqlite_url!r})).close()\n"
        "asyncio.run(work())\n"
        "print([name for name in ('alembic', 'sqlalchemy', 'psycopg', 'obstore') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
