"""Opens the database that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mainspring.base.errors import ConfigError
from mainspring.base.settings import without_password

if TYPE_CHECKING:
    from mainspring.store.types import Database, Dialect


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
    if check_database_url(url) == "sqlite":
        from mainspring.store.sqlite import SqliteDatabase  # noqa: PLC0415 - only the driver in use is loaded

        return await SqliteDatabase.open(url, sync=sync, queue_rows=queue_rows, wait_seconds=wait_seconds)
    from mainspring.store.postgres import PostgresDatabase  # noqa: PLC0415 - only the driver in use is loaded

    return await PostgresDatabase.open(url, queue_rows=queue_rows, wait_seconds=wait_seconds)


def check_database_url(url: str) -> Dialect:
    """Which database a URL names.

    Raises:
        ConfigError: none that we know, or it cannot be read.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        if not rest.startswith("/") or "?" in rest or rest.strip("/") in {"", ":memory:"}:
            raise ConfigError(
                f"storage.database: {url!r} is not the address of a file.",
                remedy="Write sqlite:///relative/path.db or sqlite:////absolute/path.db.",
            )
        return "sqlite"
    if separator and scheme.partition("+")[0] in {"postgresql", "postgres"}:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - only the driver in use is loaded

        try:
            port = conninfo.conninfo_to_dict(f"postgresql://{rest}").get("port")
        except ProgrammingError:  # its text may quote the password
            port = "none"
        if port is not None and not all(part.isdigit() for part in str(port).split(",")):
            raise ConfigError(
                f"storage.database: {without_password(url)!r} is not an address of Postgres.",
                remedy="Write postgresql://USER:PASSWORD@HOST:5432/NAME, with %40 for an @ in the password.",
            )
        return "postgresql"
    raise ConfigError(
        f"storage.database: {without_password(url)!r} is not a database that Mainspring knows.",
        remedy="Use sqlite:///path/to/file.db or postgresql://USER:PASSWORD@HOST/NAME.",
    )
