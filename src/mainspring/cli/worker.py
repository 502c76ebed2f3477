"""A worker of a server with several: `python -m mainspring.cli.worker INDEX FOLDER LISTENER READY LIFELINE [CONFIG]`.

Started by the supervisor only. LISTENER, READY and LIFELINE are inherited file descriptors: the socket to serve on,
a pipe to say that we answer, and a pipe that closes when the supervisor is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, MainspringError
from mainspring.base.logging import get_logger
from mainspring.base.telemetry import join_workers
from mainspring.cli.process import run_process
from mainspring.cli.serve import prepare
from mainspring.cli.supervisor import AT_START, KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.base.settings import Settings

NOT_SO, WRONG_USAGE = 1, 2
_OPTIONAL_CONFIG = 5


def work(arguments: list[str]) -> int:
    """Serve as the worker that the arguments describe; returns the exit code."""
    index, folder, listener, ready, lifeline = arguments[:_OPTIONAL_CONFIG]
    config = Path(arguments[_OPTIONAL_CONFIG]) if len(arguments) > _OPTIONAL_CONFIG else None
    join_workers(Path(folder), int(index))
    kept = Path(folder) / KEPT
    try:
        run_process(
            _settings(config, kept, json.loads((Path(folder) / AT_START).read_text("utf-8"))),
            config,
            socket.socket(fileno=int(listener)),
            on_ready=lambda: _tell_ready(int(ready)),
            parent=int(lifeline),
            kept=kept,
        )
    except MainspringError as error:
        sys.stderr.write(f"Error: {error}\n")
        return WRONG_USAGE if isinstance(error, ConfigError) else NOT_SO
    return 0


def _settings(config: Path | None, kept: Path, started_with: Mapping[str, object]) -> Settings:
    """The configuration; where the file was broken since the server started, the last good one, as in other workers.

    Raises:
        ConfigError: there is no good one.
    """
    from mainspring.web.rehearsal import rehearse  # noqa: PLC0415 - the rooms, once logging is set up

    try:
        settings = prepare(config, started_with)
        rehearse(settings, config)
    except ConfigError as error:
        if not kept.exists():
            raise
        settings = prepare(kept, started_with)
        get_logger(__name__).error("configuration_kept", reason=str(error))
    return settings


def _tell_ready(ready: int) -> None:
    os.write(ready, b"1")
    os.close(ready)


if __name__ == "__main__":
    raise SystemExit(work(sys.argv[1:]))
