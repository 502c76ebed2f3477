"""The budgets as people make, look at and change them. Asks the database; needs no memory of them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import InvalidRequest, NotFound
from mainspring.budgets import queries, settling, windows
from mainspring.budgets.lender import Lender
from mainspring.budgets.types import Budget, BudgetPage, Crossing, Difference, Standing
from mainspring.budgets.validation import changed, checked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mainspring.budgets.validation import NewBudget
    from mainspring.store import Connection, Database

#: A budget counts this long after it was made, so that every process knows it by then...
LEAD_US = 2_000_000
#: ...or, where there is only one process, so soon.
_STARTED_WITHIN_US = 30_000
_SPENT_SECONDS = 0.5
_MOST_SPENT = 2000


class Book(ABC):
    """The budgets that there are.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.lender = Lender(database)
        self._spent: dict[tuple[str, int], tuple[float, tuple[int, int, int]]] = {}

    @abstractmethod
    async def refresh(self) -> None:
        """Have in memory what has changed."""

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
            lambda c: standings_of(c, [_found(queries.by_id(c, budget_id, tenant), budget_id)])[0]
        )

    async def list(
        self, *, tenant: str | None = None, limit: int = 50, after: str | None = None
    ) -> BudgetPage:
        """How budgets stand, newest first."""

        def work(connection: Connection) -> Sequence[Standing]:
            found = queries.page(connection, tenant=tenant, limit=limit + 1, after=after)
            return standings_of(connection, found)

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
        standings = await self._database.read(lambda c: standings_of(c, queries.live(c)))
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
        if len(self._spent) > _MOST_SPENT:
            self._spent.clear()
        self._spent[key] = now, found
        return found

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


def standings_of(connection: Connection, budgets: Sequence[Budget]) -> Sequence[Standing]:
    """How budgets stand now, in their order. Those that share a window share their queries."""
    now = now_us()
    groups: dict[tuple[int, ...], list[str]] = {}
    for budget in budgets:
        room = windows.span(budget, now).room_us
        low, high = windows.lowest_bucket(budget, room, now), windows.highest_bucket(budget, room)
        groups.setdefault((low, high, room, windows.key_of_window(budget, now)), []).append(budget.id)
    spent: dict[str, tuple[int, int, int]] = {}
    held: dict[str, tuple[int, int]] = {}
    crossed: dict[str, tuple[int, ...]] = {}
    for (low, high, room, window), ids in groups.items():
        spent |= queries.spent_of(connection, ids, low, high)
        held |= queries.held_of(connection, ids, room)
        crossed |= queries.crossings_of(connection, ids, window)
    return [
        _standing(
            budget,
            now,
            spent=spent.get(budget.id, (0, 0, 0)),
            held=held.get(budget.id, (0, 0)),
            crossed=crossed.get(budget.id, ()),
        )
        for budget in budgets
    ]


def _standing(
    budget: Budget, now: int, *, spent: tuple[int, int, int], held: tuple[int, int], crossed: tuple[int, ...]
) -> Standing:
    return Standing(
        budget=budget,
        window_us=windows.begins(budget, now),
        ends_us=windows.ends(budget, now),
        nusd=spent[0],
        tokens=spent[1],
        answers=spent[2],
        held_nusd=held[0],
        held_tokens=held[1],
        crossed=crossed,
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


def _found(budget: Budget | None, budget_id: str) -> Budget:
    if budget is None:
        raise NotFound(
            f"There is no budget {budget_id!r}.",
            remedy="`mainspring budgets list` shows those that there are.",
        )
    return budget


def _replace(budget: Budget, **values: Any) -> Budget:
    return msgspec.structs.replace(budget, **values)
