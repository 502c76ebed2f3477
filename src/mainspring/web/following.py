"""The configuration file, followed: an edit is in force within a second, and never a half of one.

A file is written in pieces, and editors put a new one in the place of the old one. So a change is read only once the
file has stood still for a moment.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError
from mainspring.base.settings import DEFAULT_FILE, load

if TYPE_CHECKING:
    from pathlib import Path

    from mainspring.base.settings import Settings
    from mainspring.web.runtime import Runtime

#: How often the file is looked at, and how long it must have stood still.
_LOOK_SECONDS, _STILL_SECONDS = 0.25, 0.1
#: A file that is written all the time is read all the same after so long.
_LONGEST_SECONDS = 0.5

#: What tells one state of a file from another: which file it is, when it and its place were changed, how long it is.
State = tuple[int, int, int, int, int]


async def follow(runtime: Runtime) -> None:
    """Put the configuration in force again whenever its file changes, until cancelled."""
    file = runtime.file or DEFAULT_FILE
    seen = state_of(file)
    await runtime.reload()  # it may have been edited since it was read to start with
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if state_of(file) in (seen, None):
            continue
        seen = await _settled(file)
        if seen is not None:
            await runtime.reload()


def state_of(file: Path) -> State | None:
    """The state of a file; None while it is not there, as while an editor has it away."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


async def _settled(file: Path) -> State | None:
    """The state in which the file stands still."""
    waited, state = 0.0, state_of(file)
    while waited < _LONGEST_SECONDS:
        await asyncio.sleep(_STILL_SECONDS)
        waited += _STILL_SECONDS
        now = state_of(file)
        if now == state:
            break
        state = now
    return state


def keep(file: Path | None, kept: Path, settings: Settings) -> None:
    """Put a copy of the file where the next worker finds it, should the file be broken by then.

    Args:
        file: where the settings were read.
        kept: the copy; only a copy that says the same is put there.
        settings: what is in force.
    """
    part = kept.with_suffix(f".{os.getpid()}")
    try:
        part.write_bytes((file or DEFAULT_FILE).read_bytes())
        if load(part) == settings:
            part.replace(kept)
    except (OSError, ConfigError):
        pass  # the file is being edited again: what was kept stays
    finally:
        part.unlink(missing_ok=True)
