"""Folders and files that hold what people said, or secrets: for this user alone when we make them.

What is there already keeps its mode: whoever let a group read it has meant it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, with mode 0700.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600, also behind a link that leads nowhere yet; one that is there is not touched.

    Raises:
        OSError: it cannot be made.
    """
    # Never opened where it is there: to close a file lets go of every lock that this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_to_everybody(path: Path) -> bool:
    """Whether every user of this machine may read a file: by its own mode and that of its folder."""
    try:
        return bool(path.stat().st_mode & 0o004 and path.absolute().parent.stat().st_mode & 0o001)
    except OSError:
        return False
