"""Ports of one's own: nobody else takes them, neither between two starts of a server nor before the first.

A port that the system chose may be given to somebody else as soon as it is free: to another test, or to the local end of
any connection. So these are from below the range that systems choose from, and a lock on a file keeps each of them for
its process, until that ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import TextIO

_RANGE = range(20_000, 32_000)
#: The locked files; they are open for as long as this process lives.
_held: list[TextIO] = []


def own_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and nothing will but what this process starts there.

    Raises:
        RuntimeError: all of them are taken.
    """
    folder = Path(tempfile.gettempdir()) / f"mainspring-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(_RANGE, len(_RANGE)):
        file = (folder / str(port)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            file.close()
            continue
        _held.append(file)
        return port
    raise RuntimeError("every port of the tests is taken")
