"""Which process holds leases, and whether another one is still there.

A process of the same machine is asked of the kernel: gone is gone, and one that is only stopped still counts. Of a
process elsewhere only its beat is seen: one that stands still for `EXPIRY` seconds of our own clock is taken for dead.
Before that, at `FENCE` seconds without a beat that arrived, a process stops reserving out of what it holds.
"""

from __future__ import annotations

import os
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.base.ids import new_id
from mainspring.budgets.types import Holder

if TYPE_CHECKING:
    from collections.abc import Iterable

EXPIRY = 10.0
FENCE = 6.0
#: What a process that was killed had sent may still be under way in a database server for a moment.
GRACE = 1.0

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lasting() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


def this_process() -> Holder:
    """A new identity for this process."""
    pid = os.getpid()
    return Holder(new_id(), _machine(), pid, _started(pid) or "", 0)


def is_gone(holder: Holder) -> bool | None:
    """Whether a process is gone; None where that cannot be seen from here."""
    if holder.host != _machine():
        return None
    if holder.started:
        return _started(holder.pid) != holder.started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class Wake:
    """Watches the others, and says who is dead.

    Args:
        grace: seconds that a local process is gone before it is said.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._seen: dict[str, tuple[int, float]] = {}
        self._gone: dict[str, float] = {}

    def dead(self, holders: Iterable[Holder], now: float, own: str) -> list[Holder]:
        """Those whose leases may be taken back.

        Args:
            holders: all that are on the list.
            now: from `lasting`.
            own: the id of this process.
        """
        found, there = [], set()
        for holder in holders:
            there.add(holder.id)
            if holder.id == own:
                continue
            gone = is_gone(holder)
            if gone:
                if now - self._gone.setdefault(holder.id, now) >= self._grace:
                    found.append(holder)
            elif gone is None:
                beat, since = self._seen.get(holder.id, (-1, now))
                if beat != holder.beat:
                    self._seen[holder.id] = (holder.beat, now)
                elif now - since >= EXPIRY:
                    found.append(holder)
        for seen in (self._seen, self._gone):
            for holder_id in seen.keys() - there:
                del seen[holder_id]
        return found


@lru_cache(maxsize=1)
def _machine() -> str:
    """This boot of this machine, and the name space in which process ids mean something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return platform.node()
    return f"{boot} {space}"


def _started(pid: int) -> str | None:
    """When a process started, as the kernel counts; empty for a dead one that nobody has buried, None without it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
