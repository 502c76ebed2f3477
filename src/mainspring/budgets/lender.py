"""Between a process's leases and the database: gets more, gives back, shows that it lives, takes over from the dead.

The invariant, in every committed state of the database: what was spent and what all processes hold is together never
more than the cap. A grant keeps it because it is decided under the budget's lock from one look at both sums; a settled
row keeps it because it moves the same amount from one to the other; giving back and taking back only make it smaller.
What the memory of a process believes to hold is never more than what the database says that it holds: where it cannot
know whether a transaction was committed, it believes the smaller number.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import StoreError
from mainspring.base.logging import get_logger
from mainspring.budgets import queries
from mainspring.budgets.holders import FENCE, GRACE, Wake, is_gone, lasting, this_process

if TYPE_CHECKING:
    from mainspring.budgets.lease import Lease
    from mainspring.store import Connection, Database

#: How long it is waited for others to give back, and how often it is looked.
RECALL_SECONDS, RECALL_STEP = 0.7, 0.1
#: Another recall that soon would find what the last one left.
_RECALL_AGAIN = 1.0
#: A grant beyond what calls wait for takes at most this part of what is free, shared with the other holders.
_SHARE = 4
#: A lease that nobody has reserved from for so many seconds is given back.
IDLE_SECONDS = 3.0
BEAT_SECONDS = 2.0

_log = get_logger(__name__)


class _Grant(NamedTuple):
    """What the database said. `nusd` and `tokens` are to be added to the lease."""

    nusd: int = 0
    tokens: int = 0
    free_nusd: int | None = None
    free_tokens: int | None = None
    short: bool = False
    others: int = 0
    lost: bool = False


class Lender:
    """The leases of this process.

    Args:
        database: where budgets are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.holder = this_process()
        self.leases: set[Lease] = set()
        self._joined = False
        self._joining = asyncio.Lock()
        #: Until when reservations may be made out of leases, by `lasting`.
        self.fence = 0.0
        self._wake = Wake(GRACE if database.dialect == "postgresql" else 0.0)
        self._tasks: set[asyncio.Task[None]] = set()

    # Getting

    async def more(self, lease: Lease, nusd: int, tokens: int) -> None:
        """Ask for more, together with whoever else waits for this lease. Returns when there was an answer.

        Raises:
            StoreError: the database does not answer.
        """
        lease.wants.append((nusd, tokens))
        if lease.asking is None:
            lease.asking = asyncio.create_task(self._ask(lease), name="budgets")
            self._tasks.add(lease.asking)
            lease.asking.add_done_callback(self._tasks.discard)
            lease.asking.add_done_callback(_retrieve)
        # Who leaves must not take the others' answer along.
        await asyncio.shield(lease.asking)

    async def renew(self) -> None:
        """Show that this process lives, because its last sign of life is too old to reserve anything.

        Raises:
            StoreError: the database does not answer.
        """
        await self.join()
        began = lasting()
        if await self._database.write(lambda c: queries.beat(c, self.holder.id)):
            self.fence = began + FENCE
        else:
            await self._begin_anew()

    async def join(self) -> None:
        """Get onto the list of processes."""
        async with self._joining:
            if self._joined:
                return
            began, holder = lasting(), self.holder
            try:
                await self._database.write(lambda c: queries.join(c, holder))
            except BaseException:
                self.holder = this_process()  # it may be there after all; that one nobody uses
                raise
            self._joined, self.fence = True, began + FENCE

    async def _ask(self, lease: Lease) -> None:
        try:
            await self.join()
            give_up: float | None = None
            while True:
                now = monotonic()
                recall = give_up is None and now >= lease.recall_after
                answer = await self._get(lease, recall=recall)
                if answer.lost:
                    await self._begin_anew()
                elif not answer.short:
                    return
                elif give_up is None:
                    if not (recall and answer.others):
                        lease.deny(monotonic())
                        return
                    give_up = now + RECALL_SECONDS
                    await self.take_over()
                elif now >= give_up:
                    lease.recall_after = now + _RECALL_AGAIN
                    lease.deny(monotonic())
                    return
                await asyncio.sleep(RECALL_STEP)
        finally:
            lease.asking = None
            lease.wants.clear()

    async def _get(self, lease: Lease, *, recall: bool) -> _Grant:
        """Ask the database once, and take what it gives."""
        async with lease.lock:
            now, began, holder = monotonic(), lasting(), self.holder.id
            lease.next_demand(now)
            least, whole, ahead = lease.lacks()
            answer = await self._database.write(
                lambda c: _grant(c, lease, holder, least, whole, ahead, recall=recall)
            )
            if answer.lost:
                return answer
            self.fence = max(self.fence, began + FENCE)
            lease.demand_counted()
            lease.grant(answer.nusd, answer.tokens)
            lease.free_nusd, lease.free_tokens = answer.free_nusd, answer.free_tokens
            return answer

    # Giving back

    async def give_back(self, lease: Lease) -> None:
        """Return what no call has reserved.

        Raises:
            StoreError: the database does not answer; it may or may not have got it back.
        """
        async with lease.lock:
            nusd, tokens = lease.idle()
            key = (lease.budget_id, lease.room_us, self.holder.id)
            if not lease.open_nusd and not lease.open_tokens and not lease.queued:
                # Nothing is under way: whatever stands there, also what an unclear transaction has left, is idle.
                lease.lose()
                await self._database.write(lambda c: queries.end_lease(c, key))
            elif nusd or tokens:
                lease.grant(-nusd, -tokens)
                await self._database.write(lambda c: queries.add_lease(c, key, -nusd, -tokens))

    async def tidy(self) -> None:
        """Give back what nobody has used for a while; forget leases that are empty."""
        now = monotonic()
        for lease in [one for one in self.leases if now - one.used > IDLE_SECONDS]:
            if lease.held_nusd or lease.held_tokens:
                await self.give_back(lease)
            elif not lease.open_nusd and not lease.open_tokens and not lease.queued:
                self.leases.discard(lease)

    @property
    def holds(self) -> bool:
        """Whether this process holds anything."""
        return any(
            lease.held_nusd or lease.held_tokens or lease.open_nusd or lease.open_tokens
            for lease in self.leases
        )

    # Living and dying

    async def keep_alive(self) -> None:
        """Beat, if something is held and the last sign of life is a while ago."""
        if self._joined and self.holds and lasting() > self.fence - FENCE + BEAT_SECONDS:
            await self.renew()

    async def take_over(self) -> int:
        """Take back what dead processes hold; returns how many there were."""
        found = await self._database.read(queries.holders)
        dead = self._wake.dead(found, lasting(), self.holder.id)
        if not dead:
            return 0

        def work(connection: Connection) -> int:
            taken = sum(queries.leave(connection, holder.id, holder.beat) for holder in dead)
            queries.clear_orphans(connection)
            return taken

        taken = await self._database.write(work)
        if taken:
            _log.warning("budget_leases_taken_back", processes=taken)
        return taken

    async def is_alone(self) -> bool:
        """Whether no other process may be answering requests."""
        found = await self._database.read(queries.holders)
        return all(holder.id == self.holder.id or is_gone(holder) for holder in found)

    async def leave(self) -> None:
        """Give everything back, at the end. What is still being written keeps its lease until others take it back."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._joined:
            return
        limit = monotonic() + RECALL_SECONDS
        while self._database.depth and monotonic() < limit:  # noqa: ASYNC110 - the queue has no event for its end
            await asyncio.sleep(0.02)
        if not self._database.depth:
            await self._database.write(lambda c: queries.leave(c, self.holder.id))
            self._joined = False

    async def _begin_anew(self) -> None:
        """Somebody took this process for dead: be another one, that holds nothing yet."""
        _log.warning("budget_leases_lost", process=self.holder.id)
        self.holder = this_process()
        self._joined = False
        for lease in self.leases:
            lease.lose()
        await self.join()
        for lease in list(self.leases):
            if (lease.open_nusd or lease.open_tokens) and lease.asking is None:
                # Calls under way go on, and are covered again as far as there is room.
                task = asyncio.create_task(self._cover_again(lease), name="budgets")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _cover_again(self, lease: Lease) -> None:
        try:
            await self.more(lease, 0, 0)
        except StoreError as error:
            _log.warning("budget_not_covered_again", reason=str(error))


def _grant(  # noqa: PLR0917 - what one decision needs
    connection: Connection,
    lease: Lease,
    holder: str,
    least: tuple[int, int],
    whole: tuple[int, int],
    ahead: tuple[int, int],
    *,
    recall: bool,
) -> _Grant:
    """Decide on a grant, in a transaction. It may run again after a conflict, and changes no memory."""
    budget = queries.lock(connection, lease.budget_id)
    if budget is None:
        return _Grant(
            free_nusd=0, free_tokens=0, short=True
        )  # it was deleted: the next look at memory shows it
    if not queries.beat(connection, holder):
        return _Grant(lost=True)
    now = now_us()
    room = queries.room(connection, budget, lease.room_us, now, holder)
    free = (
        None if budget.nusd is None else budget.nusd - room.nusd - room.held_nusd,
        None if budget.tokens is None else budget.tokens - room.tokens - room.held_tokens,
    )
    if any(amount is not None and lack > max(0, amount) for amount, lack in zip(free, least, strict=True)):
        if recall and room.others:
            queries.recall(connection, lease.budget_id)
        return _Grant(0, 0, *_floor(free), short=True, others=room.others)
    share = _SHARE * (room.others + 1)
    given = [
        _amount(amount, all_of_them, next_ones, share)
        for amount, all_of_them, next_ones in zip(free, whole, ahead, strict=True)
    ]
    own = queries.own_lease(connection, lease.budget_id, lease.room_us, holder)
    # What stands below nothing counts as nothing in the sum, so raising it to nothing takes nothing from the room.
    nusd, tokens = given[0] + max(0, -own[0]), given[1] + max(0, -own[1])
    if nusd or tokens:
        queries.add_lease(connection, (lease.budget_id, lease.room_us, holder), nusd, tokens)
    left = tuple(None if amount is None else amount - part for amount, part in zip(free, given, strict=True))
    return _Grant(nusd, tokens, left[0], left[1], others=room.others)


def _amount(free: int | None, whole: int, ahead: int, share: int) -> int:
    """How much to give: what all waiting calls need, and ahead of the next ones a part of what is free."""
    if free is None or free <= 0:
        return 0
    return max(0, min(free, max(whole, min(ahead, free // share))))


def _floor(free: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    nusd, tokens = free
    return None if nusd is None else max(0, nusd), None if tokens is None else max(0, tokens)


def _retrieve(task: asyncio.Task[None]) -> None:
    """An error that nobody waited for is no news."""
    if not task.cancelled():
        task.exception()
