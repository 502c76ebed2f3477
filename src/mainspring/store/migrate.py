"""Brings a database's schema up to date when it is opened, under a lock, in one transaction.

An empty database gets the whole schema as prepared SQL; one that is at `HEAD` is left alone after a single query; only
one that is behind loads Alembic.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mainspring.base.errors import MigrationError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from mainspring.store.types import Dialect

_log = get_logger(__name__)
#: The newest revision. `python -m mainspring.store.migrations` prints the SQL that leads there.
HEAD = "0006"

#: The revision that a database is at; no row before the first.
VERSION = "SELECT version_num FROM alembic_version"
#: What only a database that takes writes lets pass: a page is written though nothing in it changes.
PROOF = "UPDATE alembic_version SET version_num = version_num"
#: Whether there is a schema at all.
HAS_SCHEMA = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'alembic_version'",
}


def is_current(connection: Any, dialect: Dialect) -> bool:
    """Whether a driver's connection leads to a schema at `HEAD`, so that nobody has to wait for a lock."""
    if not connection.execute(HAS_SCHEMA[dialect]).fetchone()[0]:
        return False
    row = connection.execute(VERSION).fetchone()
    return row is not None and str(row[0]) == HEAD


def migrate(connection: Any, dialect: Dialect) -> None:
    """Bring the schema to `HEAD`.

    Args:
        connection: a driver's connection inside a transaction that holds the migration lock; the caller commits.
        dialect: whose connection it is.

    Raises:
        MigrationError: the schema is newer than this release, or a revision failed.
    """
    if not connection.execute(HAS_SCHEMA[dialect]).fetchone()[0]:
        for statement in schema(dialect):
            connection.execute(statement)
        return
    if is_current(connection, dialect):
        return
    row = connection.execute(VERSION).fetchone()
    revision = str(row[0]) if row else None
    from mainspring.store import upgrade  # noqa: PLC0415 - loads Alembic, which only an old schema needs

    if revision is not None and not upgrade.known(revision):
        raise MigrationError(
            f"The database has schema revision {revision}, which this release (at {HEAD}) does not know.",
            remedy="It was opened by a newer Mainspring: run that version, or restore a backup.",
        )
    _log.info("schema_upgrade", revision=revision, to=HEAD)
    try:
        upgrade.upgrade(connection, dialect)
    except Exception as error:  # whatever stopped a migration, the start must say so
        raise MigrationError(
            f"The schema could not be brought from revision {revision} to {HEAD}: {error}",
            remedy="Nothing was changed. Mend the cause and start again.",
        ) from error


def schema(dialect: Dialect) -> list[str]:
    """The statements that make an empty database one at `HEAD`."""
    text = files("mainspring.store.migrations").joinpath(f"{dialect}.sql").read_text("utf-8")
    return [part.strip() for part in text.split(";\n") if part.strip()]
