"""Budgets: what the rooms above call."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import StoreError
from mainspring.base.logging import get_logger
from mainspring.base.money import NANO
from mainspring.budgets import queries, settling, windows
from mainspring.budgets.book import LEAD_US, Book, standings_of
from mainspring.budgets.charge import Charge
from mainspring.budgets.entry import Entry, Index
from mainspring.budgets.learning import Learned
from mainspring.budgets.tables import LEASES, SPENT
from mainspring.budgets.validation import of_key
from mainspring.store import Follower
from mainspring.store.following import LOOK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.base.telemetry import Meter
    from mainspring.budgets.settling import Counter, Shares
    from mainspring.budgets.types import Budget, Standing
    from mainspring.keys import Key, KeyRing
    from mainspring.keys.types import Subject
    from mainspring.store import Connection, Database

#: How often changes are looked for by who holds leases, which others may recall.
_LOOK_HOLDING_SECONDS = 0.2
#: A process that has looked last so long before a request looks again.
STALE_US = 1_500_000
_EVERY_SECOND = 1.0
#: How long a request waits for a look.
_CATCH_UP_SECONDS = 1.5
#: How many budgets have metrics, and how old these may be.
MOST_MEASURED, _MEASURE_SECONDS = 100, 10.0

_log = get_logger(__name__)


class Budgets(Book):
    """The budgets of one process. Made on the event loop that it serves.

    `open`, `settle` and `release` answer from memory. Before `start`, memory is empty; the other methods ask the
    database and need no start.

    Args:
        database: where budgets are.
        keys: the key ring: budgets that come with keys are made and known together with them.
    """

    def __init__(self, database: Database, keys: KeyRing | None = None) -> None:
        super().__init__(database)
        self.index = Index()
        self.learned = Learned()
        self._version = self._recalls = -1
        #: When the look began that the index is from; for ever in the future where nobody looks.
        self._looked_us = 0
        self._next_round = self._next_measure = 0.0
        self._refreshing = asyncio.Lock()
        self._follower = Follower(
            "budgets", self._look, lambda: _LOOK_HOLDING_SECONDS if self.lender.leases else LOOK_SECONDS
        )
        if keys is not None:
            keys.on_create = _add_of_key
            keys.before_change = self.refresh

    # The way of a request

    def open(self, subject: Subject, time_us: int) -> Charge | None:
        """Open the account of a request; None where no budget is about it. Asks nobody.

        Args:
            subject: who asks.
            time_us: the time of the request's id.
        """
        index = self.index
        if not index.entries and not self.is_stale(time_us):
            return None
        found = index.about(subject, time_us)
        if not found and not index.models and not self.is_stale(time_us):
            return None
        return Charge(self, subject, time_us, found)

    def settle(
        self, subject: Subject, time_us: int, charge: Charge | None, shares: Shares
    ) -> list[Counter] | Callable[[Connection], list[Counter]]:
        """Settle a request, in memory now, and in the database with its row.

        Args:
            subject: who asked.
            time_us: the time of its id.
            charge: what `open` returned.
            shares: what each model used.

        Returns:
            The counters that go into the transaction of the row, or what finds them there.
        """
        if charge is not None:
            charge.close()
        if self.is_stale(time_us):
            return lambda connection: settling.recount(connection, subject, time_us, shares)
        if charge is None and not self.concerns(subject, time_us):
            return []
        index = self.index
        counters: list[Counter] = []
        holder = self.lender.holder.id
        for entry, nusd, tokens in settling.concerned(index, subject, time_us, shares, charge):
            span, budget = entry.span(time_us), entry.budget
            counters.append((SPENT, (budget.id, span.bucket_us, nusd, tokens, 1)))
            amounts = entry.amounts(nusd, tokens)
            if amounts != (0, 0):
                lease = entry.lease(span.room_us, self.lender.leases)
                lease.settle(*amounts)
                counters.append((LEASES, (budget.id, span.room_us, holder, -amounts[0], -amounts[1])))
            entry.touched = True
        return counters

    def committed(self, counters: Sequence[Counter] | Callable[[Connection], Sequence[Counter]]) -> None:
        """Say that a settled row is in the database for certain."""
        if callable(counters):
            return
        for sheet, row in counters:
            if sheet is LEASES and (entry := self.index.entries.get(row[0])) is not None:
                entry.lease(row[1], self.lender.leases).queued -= 1

    def has_none(self, time_us: int) -> bool:
        """Whether there is no budget that counts a request of this time, or of an earlier one."""
        return not self.index.entries and not self.is_stale(time_us)

    def concerns(self, subject: Subject, time_us: int) -> bool:
        """Whether a budget may be about a request."""
        index = self.index
        return bool(index.entries) and (bool(index.models) or bool(index.about(subject, time_us)))

    def is_stale(self, time_us: int) -> bool:
        """Whether budgets that count a request of this time may not be known here yet."""
        return self._looked_us < time_us - STALE_US

    @property
    def counts_models(self) -> bool:
        """Whether a budget is about a model, so that rows must keep what each model used."""
        return bool(self.index.models)

    def measure(self, meter: Meter) -> None:
        """Show what is left of budgets as metrics; of the oldest hundred, and at most ten seconds old."""
        for unit, index in (("usd", 0), ("tokens", 1)):
            meter.states(
                f"budget_remaining_{unit}",
                f"What is left of a budget in its window, in {unit}; of the oldest {MOST_MEASURED} budgets.",
                partial(self._remaining, index),
            )

    def _remaining(self, index: int) -> list[tuple[dict[str, str], float]]:
        found = []
        for entry in islice(self.index.entries.values(), MOST_MEASURED):
            budget = entry.budget
            cap = (budget.nusd, budget.tokens)[index]
            known = self._spent.get((budget.id, entry.span(now_us()).room_us))
            if cap is not None and known is not None:
                left = max(0, cap - known[1][index])
                found.append(({"budget": budget.id}, left / NANO if index == 0 else float(left)))
        return found

    # Living

    async def start(self) -> None:
        """Fill the memory, take over from dead processes, and follow changes until `close`."""
        await self.lender.join()
        await self.lender.take_over()
        await self._adopt()
        await self.refresh()
        self._follower.start()

    async def close(self) -> None:
        """Stop following, and give all leases back once the ledger's queue is written."""
        await self._follower.close()
        with suppress(StoreError):  # whoever comes next takes them back
            await self.lender.leave()

    async def catch_up(self) -> None:
        """Look for changes, because the last look is too old; while the database is away, what is known must do.

        What a request costs then is counted by the budgets that the database has when its row is written.
        """
        if self._follower.away:
            return
        try:
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                await self.refresh()
        except StoreError:
            return
        except TimeoutError:  # it hangs; whoever follows it finds out when it is back
            self._follower.away = True

    async def refresh(self) -> None:
        """Take over what changed since the last time."""
        async with self._refreshing:
            began = now_us()
            version, recalls = await self._database.read(queries.versions)
            if version != self._version:
                budgets = await self._database.read(queries.live)
                self._take_over(budgets)
                self._version = version
            self._looked_us = max(self._looked_us, began)
            if recalls != self._recalls:
                self._recalls = recalls
                await self._answer_recalls()

    def _take_over(self, budgets: Sequence[Budget]) -> None:
        """Have these budgets in memory. Leases of those that stay, stay."""
        entries = []
        for budget in budgets:
            entry = self.index.entries.get(budget.id) or Entry(budget)
            if (entry.budget.nusd, entry.budget.tokens) != (budget.nusd, budget.tokens):
                entry.forget_denials()
            entry.budget = budget
            entries.append(entry)
        there = {entry.budget.id for entry in entries}
        self.lender.leases = {lease for lease in self.lender.leases if lease.budget_id in there}
        self.index = Index(entries)

    async def _answer_recalls(self) -> None:
        if not self.lender.leases:
            return
        asked = await self._database.read(queries.recalls)
        for lease in list(self.lender.leases):
            entry = self.index.entries.get(lease.budget_id)
            count = asked.get(lease.budget_id)
            if entry is not None and count is not None and count != entry.recalls:
                await self.lender.give_back(lease)
        for entry in self.index.entries.values():
            entry.recalls = asked.get(entry.budget.id, entry.recalls)

    async def _look(self) -> None:
        await self.refresh()
        await self.lender.keep_alive()
        now = monotonic()
        if now >= self._next_measure:
            self._next_measure = now + _MEASURE_SECONDS
            for entry in islice(self.index.entries.values(), MOST_MEASURED):
                entry.touched = True
        if now >= self._next_round and self.index.entries:
            self._next_round = now + _EVERY_SECOND
            await self.lender.take_over()
            await self.lender.tidy()
            await self._note_crossings()

    async def _note_crossings(self) -> None:
        """Write down thresholds that were crossed, each once in a window."""
        touched = [entry for entry in self.index.entries.values() if entry.touched]
        if not touched:
            return
        for entry in touched:
            entry.touched = False
        now = now_us()
        standings = await self._database.read(lambda c: standings_of(c, [entry.budget for entry in touched]))
        new = []
        for standing in standings:
            budget = standing.budget
            room = windows.span(budget, now).room_us
            self._spent[budget.id, room] = monotonic(), (standing.nusd, standing.tokens, standing.answers)
            reached = [one for one in budget.thresholds if standing.share * 100 >= one]
            new += [(standing, one) for one in reached if one not in standing.crossed]
        if new:
            await self._database.write(lambda c: _cross(c, new, now))

    async def _adopt(self) -> None:
        """Make the budgets of keys that were created before keys had any."""

        def work(connection: Connection) -> int:
            starts = now_us() + LEAD_US
            found = queries.keys_without_budget(connection)
            budgets = [of_key(key, name, tenant, settings, starts) for key, name, tenant, settings in found]
            return sum(queries.add(connection, budget) for budget in budgets if budget is not None)

        if not await self._database.read(queries.keys_without_budget):
            return
        made = await self._database.write(work)
        if made:
            _log.info("budgets_of_keys_in_force", budgets=made)


def _add_of_key(connection: Connection, key: Key) -> None:
    """Make the budget that a new key's settings name, together with the key: no request can come before it."""
    budget = of_key(key.origin or key.id, key.name, key.tenant, key.settings or {}, key.created_us)
    if budget is not None:
        queries.add(connection, budget)


def _cross(connection: Connection, new: list[tuple[Standing, int]], now: int) -> None:
    for standing, threshold in new:
        window = windows.key_of_window(standing.budget, now)
        if queries.cross(
            connection, standing.budget.id, window, threshold, now, standing.nusd, standing.tokens
        ):
            _log.warning(
                "budget_threshold",
                budget=standing.budget.id,
                threshold=threshold,
                spent_nusd=standing.nusd,
                spent_tokens=standing.tokens,
            )
