"""The live tail: rows in the order of their commits, from every process that shares the database.

Rows carry a number that grows with every insert. Transactions of several processes may commit out of that order, so a
number that was skipped is asked for again for a while; a transaction that was undone leaves its numbers out for good.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mainspring.ledger import queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mainspring.ledger.types import Inference, LedgerFilter
    from mainspring.store import Connection, Database

#: Seconds between looks; how long a skipped number is waited for; how many rows are taken, or waited for, at once.
_INTERVAL, _PATIENCE, _MOST = 0.25, 15.0, 1000


async def follow(database: Database, where: LedgerFilter) -> AsyncIterator[Inference]:
    """Rows that pass a filter, as they are committed from now on."""
    position = _Position(await database.read(queries.newest))
    while True:
        rows = await database.read(lambda connection: position.advance(connection, where))
        for row in rows:
            yield row
        if len(rows) < _MOST:
            await asyncio.sleep(_INTERVAL)


class _Position:
    """How far a tail has read."""

    def __init__(self, last: int) -> None:
        self._last = last
        #: Numbers that were skipped, and when we stop waiting for them (monotonic seconds).
        self._missing: dict[int, float] = {}

    def advance(self, connection: Connection, where: LedgerFilter) -> list[Inference]:
        """What has come since the last time."""
        now = time.monotonic()
        fresh = queries.numbers(connection, self._last, _MOST)
        rows = queries.numbered(connection, where, [*self._missing, *fresh])
        # Nothing below may raise: a retry of this function must start from where it was.
        for number, _ in rows:
            self._missing.pop(number, None)
        self._missing = {number: until for number, until in self._missing.items() if until > now}
        if fresh:
            skipped = set(range(self._last + 1, fresh[-1])).difference(fresh) if self._gap(fresh) else ()
            self._missing.update(dict.fromkeys(skipped, now + _PATIENCE))
            self._last = fresh[-1]
        return [row for _, row in rows]

    def _gap(self, fresh: list[int]) -> bool:
        """Whether numbers were skipped, and so few that it was not a jump of the sequence."""
        skipped = fresh[-1] - self._last - len(fresh)
        return 0 < skipped <= _MOST - len(self._missing)
