"""Databases for tests: every test that asks for `database_url` runs on SQLite and on Postgres.

Postgres is the server that TEST_POSTGRES_URL names, or one of our own: one server for all processes of a test run, its
data in a fresh folder, each test in a database of its own.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.support.postgres import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mainspring.store import Database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server (its maintenance database). Skips, with the reason, where none can run."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    # The processes of pytest-xdist share the id of their run. Short, because paths of sockets must be.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")[:12] or str(os.getpid())
    cluster = Cluster(Path(tempfile.gettempdir()) / f"msp-{os.getuid()}-{run}")
    with _users(cluster.folder) as users:
        if not cluster.made:
            try:
                cluster.make()
            except (OSError, subprocess.SubprocessError) as error:
                cluster.close()
                pytest.skip(f"no Postgres: TEST_POSTGRES_URL is not set, and our own does not run: {error}")
        users.append("")
    yield cluster.url
    with _users(cluster.folder) as users:
        users.pop()
        if not users:
            cluster.close()


@contextmanager
def _users(folder: Path) -> Iterator[list[str]]:
    """The processes that use the server in a folder, one line each in a file, held under a lock."""
    while True:
        folder.mkdir(mode=0o755, exist_ok=True)
        with (folder / "users").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # the last user removed the folder while we waited
            file.seek(0)
            users = file.read().splitlines()
            yield users
            file.truncate(0)
            file.write("".join(f"{user}\n" for user in users))
            return


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty Postgres database, dropped afterwards."""
    import psycopg  # noqa: PLC0415 - tests without Postgres do without its driver

    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    parts = urlsplit(postgres_server)
    yield urlunsplit(parts._replace(path=f"/{name}"))
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/mainspring.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the test runs once on SQLite and once on Postgres."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database at the newest schema, on SQLite and on Postgres."""
    from mainspring.store import open_database  # noqa: PLC0415 - keeps collection fast

    opened = await open_database(database_url, wait_seconds=60)
    yield opened
    await opened.close()
