"""Budgets: what the rooms above call."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import InvalidRequest, NotFound, StoreError
from mainspring.base.logging import get_logger
from mainspring.budgets import queries, settling, windows
from mainspring.budgets.charge import Charge
from mainspring.budgets.entry import Entry, Index
from mainspring.budgets.learning import Learned
from mainspring.budgets.lender import Lender
from mainspring.budgets.tables import LEASES, SPENT
from mainspring.budgets.types import Budget, BudgetPage, Crossing, Difference, Standing
from mainspring.budgets.validation import changed, checked, of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mainspring.budgets.settling import Counter, Shares
    from mainspring.budgets.validation import NewBudget
    from mainspring.keys import Key, KeyRing
    from mainspring.keys.types import Subject
    from mainspring.store import Connection, Database

#: How often changes are looked for; with leases, recalls as well.
POLL_SECONDS, POLL_HOLDING_SECONDS = 0.5, 0.2
#: A budget counts this long after it was made, so that every process knows it by then...
LEAD_US = 2_000_000
#: ...and a process that has looked last so long before a request looks again.
STALE_US = 1_500_000
_STARTED_WITHIN_US = 30_000
_EVERY_SECOND = 1.0
_SPENT_SECONDS = 0.5

_log = get_logger(__name__)


class Budgets:
    """The budgets of one process. Made on the event loop that it serves.

    `open`, `settle` and `release` answer from memory. Before `start`, memory is empty; the other methods ask the
    database and need no start.

    Args:
        database: where budgets are.
        keys: the key ring: budgets that come with keys are made and known together with them.
    """

    def __init__(self, database: Database, keys: KeyRing | None = None) -> None:
        self._database = database
        self.index = Index()
        self.lender = Lender(database)
        self.learned = Learned()
        self._version = self._recalls = -1
        #: When the look began that the index is from; for ever in the future where nobody looks.
        self._looked_us = 0
        self._refreshing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._spent: dict[tuple[str, int], tuple[float, tuple[int, int, int]]] = {}
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
        index = self.index
        if not index.entries:
            return []
        counters: list[Counter] = []
        holder = self.lender.holder.id
        for entry, nusd, tokens in settling.concerned(index, subject, time_us, shares):
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

    def is_stale(self, time_us: int) -> bool:
        """Whether budgets that count a request of this time may not be known here yet."""
        return self._looked_us < time_us - STALE_US

    @property
    def counts_models(self) -> bool:
        """Whether a budget is about a model, so that rows must keep what each model used."""
        return bool(self.index.models)

    # Changes

    async def create(self, wanted: NewBudget, *, routes: Collection[str] | None = None) -> Budget:
        """Make a budget. Returns when it is in force everywhere; answers from then on count.

        Raises:
            InvalidRequest: it cannot be.
            NotFound: it is about a key that is not there.
        """
        budget = checked(wanted, routes)

        def work(connection: Connection) -> Budget:
            made = _with_key(connection, budget)
            made = _replace(made, starts_us=now_us() + LEAD_US)
            queries.add(connection, made)
            return made

        return await self._put_in_force(await self._database.write(work))

    async def get(self, budget_id: str, *, tenant: str | None = None) -> Standing:
        """How a budget stands.

        Raises:
            NotFound: there is none of that tenant.
        """
        return await self._database.read(
            lambda c: _standing(c, _found(queries.by_id(c, budget_id, tenant), budget_id))
        )

    async def list(
        self, *, tenant: str | None = None, limit: int = 50, after: str | None = None
    ) -> BudgetPage:
        """How budgets stand, newest first."""

        def work(connection: Connection) -> Sequence[Standing]:
            found = queries.page(connection, tenant=tenant, limit=limit + 1, after=after)
            return [_standing(connection, budget) for budget in found]

        items = await self._database.read(work)
        return BudgetPage([*items[:limit]], items[limit - 1].budget.id if len(items) > limit else None)

    async def change(
        self,
        budget_id: str,
        changes: Mapping[str, Any],
        *,
        routes: Collection[str] | None = None,
    ) -> Standing:
        """Put other caps, policy, thresholds or another name in force, everywhere within half a second.

        What calls under way have reserved under a higher cap stays theirs.

        Raises:
            NotFound: there is no such budget.
            InvalidRequest: the change cannot be.
        """

        def work(connection: Connection) -> None:
            budget = changed(_found(queries.by_id(connection, budget_id), budget_id), changes, routes)
            queries.change(connection, budget)
            queries.recall(connection, budget_id)

        await self._database.write(work)
        await self.refresh()
        return await self.get(budget_id)

    async def delete(self, budget_id: str) -> Budget:
        """Let a budget count no more.

        Raises:
            NotFound: there is no such budget.
        """

        def work(connection: Connection) -> Budget:
            budget = _found(queries.by_id(connection, budget_id), budget_id)
            queries.delete(connection, budget_id, now_us())
            return budget

        budget = await self._database.write(work)
        await self.refresh()
        return budget

    async def history(self, budget_id: str, *, tenant: str | None = None) -> Sequence[tuple[int, int, int]]:
        """What was spent in each slice of the current window, oldest first: where it begins, nano-dollars, tokens.

        Raises:
            NotFound: there is no such budget of that tenant.
        """

        def work(connection: Connection) -> Sequence[tuple[int, int, int]]:
            budget = _found(queries.by_id(connection, budget_id, tenant), budget_id)
            now = now_us()
            return queries.slices(connection, budget, windows.span(budget, now).room_us, now)

        return await self._database.read(work)

    # Looking

    async def crossed(self) -> Sequence[Crossing]:
        """Each budget whose current window has reached its lowest threshold, and the highest that it has reached."""
        standings = await self._database.read(lambda c: [_standing(c, budget) for budget in queries.live(c)])
        found = (_crossing(standing) for standing in standings)
        return [crossing for crossing in found if crossing is not None]

    async def check(self) -> Sequence[Difference]:
        """Compare every budget with the rows of the ledger: every bucket that either has."""
        return await self._database.read(
            lambda c: [one for budget in queries.live(c) for one in settling.check(c, budget)]
        )

    async def spent(self, budget: Budget, room_us: int) -> tuple[int, int, int]:
        """What was spent in a window: nano-dollars, tokens, answers; at most half a second old."""
        key, now = (budget.id, room_us), monotonic()
        known = self._spent.get(key)
        if known is not None and now - known[0] < _SPENT_SECONDS:
            return known[1]
        found = await self._database.read(lambda c: queries.spent(c, budget, room_us, now_us()))
        if len(self._spent) > len(self.index.entries) + 1000:
            self._spent.clear()
        self._spent[key] = now, found
        return found

    def remaining(self) -> dict[str, tuple[Budget, int]]:
        """What is left of each cap in money as far as this process knows, by id: for metrics."""
        found = {}
        for entry in self.index.entries.values():
            if entry.budget.nusd is not None:
                known = self._spent.get((entry.budget.id, entry.span(now_us()).room_us))
                spent = known[1][0] if known is not None else 0
                found[entry.budget.id] = (entry.budget, max(0, entry.budget.nusd - spent))
        return found

    # Living

    async def start(self) -> None:
        """Fill the memory, take over from dead processes, and follow changes until `close`."""
        await self.lender.join()
        await self.lender.take_over()
        await self._adopt()
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="budgets")

    async def close(self) -> None:
        """Stop following, and give all leases back once the ledger's queue is written."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        with suppress(StoreError):  # whoever comes next takes them back
            await self.lender.leave()

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

    async def _follow(self) -> None:
        away, next_round = False, 0.0
        while True:
            await asyncio.sleep(POLL_HOLDING_SECONDS if self.lender.leases else POLL_SECONDS)
            try:
                await self.refresh()
                await self.lender.keep_alive()
                if monotonic() >= next_round and self.index.entries:
                    next_round = monotonic() + _EVERY_SECOND
                    await self.lender.take_over()
                    await self.lender.tidy()
                    await self._note_crossings()
                if away:
                    _log.info("budgets follow the database again")
                away = False
            except StoreError as error:
                if not away:
                    _log.warning("budgets cannot follow the database", why=str(error))
                away = True
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the watch over money
                _log.exception("unexpected_error", error=type(error).__name__)

    async def _note_crossings(self) -> None:
        """Write down thresholds that were crossed, each once in a window."""
        touched = [entry for entry in self.index.entries.values() if entry.touched]
        if not touched:
            return
        for entry in touched:
            entry.touched = False
        now = now_us()
        standings = await self._database.read(lambda c: [_standing(c, entry.budget) for entry in touched])
        new = []
        for standing in standings:
            budget = standing.budget
            room = windows.span(budget, now).room_us
            self._spent[budget.id, room] = monotonic(), (standing.nusd, standing.tokens, standing.answers)
            reached = [one for one in budget.thresholds if standing.share * 100 >= one]
            new += [(standing, one) for one in reached if one not in standing.crossed]
        if new:
            await self._database.write(lambda c: _cross(c, new, now))

    async def _put_in_force(self, budget: Budget) -> Budget:
        """Wait until a new budget is known everywhere. Where there is only this process, that is soon."""
        await self.refresh()
        starts, budget_id = budget.starts_us, budget.id
        if await self.lender.is_alone():
            starts = now_us() + _STARTED_WITHIN_US
            while True:
                starts = starts // 1000 * 1000
                await self._start_at(budget_id, starts)
                if now_us() < starts:
                    break  # it was known before it began
                starts = now_us() + LEAD_US
        await asyncio.sleep(max(0, starts - now_us()) / 1_000_000)
        return _replace(budget, starts_us=starts)

    async def _start_at(self, budget_id: str, starts_us: int) -> None:
        await self._database.write(lambda c: queries.start(c, budget_id, starts_us))
        await self.refresh()

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


def _with_key(connection: Connection, budget: Budget) -> Budget:
    """A budget on a key is about the first of its line, and of its tenant."""
    if budget.kind != "key":
        return budget
    found = queries.key_of(connection, budget.subject)
    if found is None:
        raise InvalidRequest(
            f"There is no key {budget.subject!r}.",
            remedy="`mainspring keys list` shows those that there are.",
            param="scope",
        )
    return _replace(budget, subject=found[0], tenant=found[1])


def _standing(connection: Connection, budget: Budget) -> Standing:
    now = now_us()
    room = windows.span(budget, now).room_us
    nusd, tokens, answers = queries.spent(connection, budget, room, now)
    held = queries.held(connection, budget.id, room)
    return Standing(
        budget=budget,
        window_us=windows.begins(budget, now),
        ends_us=windows.ends(budget, now),
        nusd=nusd,
        tokens=tokens,
        answers=answers,
        held_nusd=held[0],
        held_tokens=held[1],
        crossed=tuple(queries.crossings(connection, budget.id, windows.key_of_window(budget, now))),
    )


def _crossing(standing: Standing) -> Crossing | None:
    budget = standing.budget
    reached = [one for one in budget.thresholds if standing.share * 100 >= one]
    if not reached:
        return None
    by_money = budget.nusd is not None and (
        budget.tokens is None or standing.nusd * budget.tokens >= standing.tokens * budget.nusd
    )
    return Crossing(
        budget=budget.id,
        subject=f"{budget.kind}={budget.subject}",
        tenant=budget.tenant,
        unit="usd" if by_money else "tokens",
        spent=standing.nusd if by_money else standing.tokens,
        cap=(budget.nusd if by_money else budget.tokens) or 0,
        window_us=windows.key_of_window(budget, now_us()),
        threshold=reached[-1],
    )


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


def _found(budget: Budget | None, budget_id: str) -> Budget:
    if budget is None:
        raise NotFound(
            f"There is no budget {budget_id!r}.",
            remedy="`mainspring budgets list` shows those that there are.",
        )
    return budget


def _replace(budget: Budget, **values: Any) -> Budget:
    return msgspec.structs.replace(budget, **values)
