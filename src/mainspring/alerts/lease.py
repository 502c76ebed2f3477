"""Which process evaluates and sends: a lease in the database that its holder renews with every round.

Nobody compares clocks. A process that wants the lease watches its beat; when that stood still for long enough by its own
clock, it takes the lease with one statement that fails if the beat moved after all. What a holder writes goes with a
beat in one transaction, so that a holder that slept too long cannot write any more. A holder of this machine whose
process is gone is replaced at once.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.alerts import queries
from mainspring.base.clock import monotonic

if TYPE_CHECKING:
    from mainspring.store import Connection, Database

#: A beat that stands still for this long belongs to nobody.
DEAD_SECONDS = 12.0


class Lease:
    """This process's part in the lease."""

    def __init__(self, database: Database, *, dead_seconds: float = DEAD_SECONDS) -> None:
        self._database = database
        self._dead_seconds = dead_seconds
        self.holder = f"{_machine()}/{os.getpid()}/{secrets.token_hex(4)}"
        self.held = False
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    async def want(self) -> bool:
        """Take the lease if nobody has it, or whoever has it is dead; says whether it is ours."""
        if self.held:
            return True
        found = await self._database.read(queries.lease)
        if found is None:
            await self._database.write(queries.make_lease)
            found = await self._database.read(queries.lease)
        if found is None or not self._is_free(found):
            return False
        seen = found
        self.held = await self._database.write(lambda c: queries.take_lease(c, self.holder, seen))
        return self.held

    def beat(self, connection: Connection) -> bool:
        """Inside of a transaction: show that we live; False if the lease is no longer ours."""
        return queries.beat(connection, self.holder)

    def lost(self) -> None:
        """Somebody else has it."""
        self.held = False
        self._seen = None

    async def give_up(self) -> None:
        """Let somebody else take it at once."""
        if self.held:
            self.held = False
            await self._database.write(lambda c: queries.give_up_lease(c, self.holder))

    def _is_free(self, found: tuple[str, int]) -> bool:
        holder, _ = found
        if not holder or _is_gone(holder):
            return True
        if found != self._seen:
            self._seen, self._seen_at = found, monotonic()
        return monotonic() - self._seen_at >= self._dead_seconds


def _machine() -> str:
    """What process ids are unique on: this boot of this machine, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:13]
        return f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _is_gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    machine, _, rest = holder.partition("/")
    if machine != _machine():
        return False
    try:
        os.kill(int(rest.partition("/")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False
