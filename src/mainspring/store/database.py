"""Opens the database that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mainspring.base.errors import ConfigError
from mainspring.base.settings import without_password

if TYPE_CHECKING:
    from mainspring.store.types import Database


async def open_database(
    url: str,
    *,
    sync: Literal["normal", "full"] = "normal",
    queue_rows: int = 10_000,
    wait_seconds: float = 10,
) -> Database:
    """Open a database, bring its schema up to date and start its writer.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db` or `postgresql://user:pass@host/name`.
        sync: for SQLite, whether a commit waits for the disk (`full`) or survives a crash of the process (`normal`).
        queue_rows: how many items may wait for the writer before `room` makes callers wait.
        wait_seconds: how long a call waits for a database that is away before it fails.

    Raises:
        ConfigError: the URL names no database that we know.
        StoreUnavailable: the database cannot be reached.
        MigrationError: its schema cannot be brought up to date.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        from mainspring.store.sqlite import SqliteDatabase  # noqa: PLC0415 - only the driver in use is loaded

        return await SqliteDatabase.open(url, sync=sync, queue_rows=queue_rows, wait_seconds=wait_seconds)
    if scheme in {"postgresql", "postgres"}:
        from mainspring.store.postgres import PostgresDatabase  # noqa: PLC0415 - only the driver in use is loaded

        return await PostgresDatabase.open(url, queue_rows=queue_rows, wait_seconds=wait_seconds)
    raise ConfigError(
        f"{without_password(url)!r} is not a database that Mainspring knows.",
        remedy="Use sqlite:///path/to/file.db or postgresql://user:password@host/name.",
    )
