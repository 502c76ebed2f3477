"""A worker of a server with several: `python -m mainspring.cli.worker INDEX FOLDER LISTENER READY LIFELINE [CONFIG]`.

Started by the supervisor only. LISTENER, READY and LIFELINE are inherited file descriptors: the socket to serve on,
a pipe to say that we answer, and a pipe that closes when the supervisor is gone.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from mainspring.base.errors import MainspringError
from mainspring.base.telemetry import join_workers
from mainspring.cli.process import run_process
from mainspring.cli.serve import prepare

_OPTIONAL_CONFIG = 5


def work(arguments: list[str]) -> int:
    """Serve as the worker that the arguments describe; returns the exit code."""
    index, folder, listener, ready, lifeline = arguments[:_OPTIONAL_CONFIG]
    config = Path(arguments[_OPTIONAL_CONFIG]) if len(arguments) > _OPTIONAL_CONFIG else None
    join_workers(Path(folder), int(index))
    try:
        run_process(
            prepare(config),
            config,
            socket.socket(fileno=int(listener)),
            on_ready=lambda: _tell_ready(int(ready)),
            parent=int(lifeline),
        )
    except MainspringError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


def _tell_ready(ready: int) -> None:
    os.write(ready, b"1")
    os.close(ready)


if __name__ == "__main__":
    raise SystemExit(work(sys.argv[1:]))
