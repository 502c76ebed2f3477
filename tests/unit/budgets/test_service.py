"""Budgets on real databases: what comes with keys, what a stale process does, several processes at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.waiting import happens

from mainspring.base.clock import now_us
from mainspring.base.errors import BudgetExceeded
from mainspring.base.ids import new_id
from mainspring.budgets import Bounds, Budgets, NewBudget
from mainspring.keys import KeyRing
from mainspring.keys.types import Subject
from mainspring.ledger import Inference, Ledger
from mainspring.providers.prices import Rates
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mainspring.store import Database

RATES = (Rates(1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000),)  # a nano-dollar a token
SUBJECT = Subject("acme", "key", None, None)


@pytest.fixture
async def budgets(database: Database) -> AsyncIterator[Budgets]:
    """The room of one process, started."""
    room = Budgets(database)
    await room.start()
    yield room
    await room.close()


async def record(
    room: Budgets, database: Database, tmp_path: Path, used: int, subject: Subject = SUBJECT
) -> None:
    """One answer from its reservation to its row."""
    ledger = Ledger(database, open_blobs(f"file://{tmp_path}/blobs"), durability="strict", inline_kb=64)
    request_id = new_id()
    time_us = int(request_id[:8] + request_id[9:13], 16) * 1000
    charge = room.open(subject, time_us)
    if charge is not None:
        await charge.cover("p", "m", Bounds(used, 0), RATES)
    counters = room.settle(subject, time_us, charge, {"p/m": (used, used)})
    row = Inference(
        id=request_id,
        received_us=time_us,
        done_us=time_us,
        tenant=subject.tenant,
        key_id=subject.key_id,
        dialect="openai.chat",
        requested_model="p/m",
        provider="p",
        model="m",
        status=200,
        input_tokens=used,
        cost_nusd=used,
        config_hash="",
    )
    assert await ledger.append(row, None, counters)
    room.committed(counters)


def wanted(**values: Any) -> NewBudget:
    return NewBudget(**({"scope": {"tenant": "acme"}, "usd": "0.000001", "window": "total"} | values))


async def test_reserve_settle_and_check(budgets: Budgets, database: Database, tmp_path: Path) -> None:
    made = await budgets.create(wanted(tokens=5000))
    for used in (100, 250):
        await record(budgets, database, tmp_path, used)
    standing = await budgets.get(made.id)
    assert (standing.nusd, standing.tokens, standing.answers) == (350, 350, 2)
    assert standing.nusd + standing.held_nusd <= 1000
    assert not any(one.is_one for one in await budgets.check())
    with pytest.raises(BudgetExceeded, match="too little left"):
        await record(budgets, database, tmp_path, 651)
    await record(budgets, database, tmp_path, 650)
    assert (await budgets.get(made.id)).nusd == 1000


async def test_check_finds_a_row_that_went_past(budgets: Budgets, database: Database, tmp_path: Path) -> None:
    await budgets.create(wanted())
    await record(budgets, database, tmp_path, 100)
    await database.write(lambda c: c.run("UPDATE inferences SET cost_nusd = cost_nusd + 1"))
    (difference,) = [one for one in await budgets.check() if one.is_one]
    assert (difference.nusd, difference.ledger_nusd) == (100, 101)


async def test_a_process_that_has_not_looked_counts_by_what_the_database_has(
    budgets: Budgets, database: Database, tmp_path: Path
) -> None:
    other = Budgets(database)
    await other.refresh()
    made = await budgets.create(wanted())
    other._looked_us = 0
    other._follower.away = True  # it cannot look before the call, only write its row afterwards
    await record(other, database, tmp_path, 70)
    assert (await budgets.get(made.id)).nusd == 70
    assert not any(one.is_one for one in await budgets.check())


async def test_many_at_once_never_hold_more_than_the_cap(
    budgets: Budgets, database: Database, database_url: str, tmp_path: Path
) -> None:
    made = await budgets.create(wanted(usd="0.00001"))
    again = await open_database(database_url, wait_seconds=5)
    other = Budgets(again)
    await other.start()
    refused = 0

    async def one(room: Budgets, where: Database) -> None:
        nonlocal refused
        try:
            await record(room, where, tmp_path, 90)
        except BudgetExceeded:
            refused += 1

    rooms = [(budgets, database), (other, again)]
    await asyncio.gather(*(one(*rooms[number % 2]) for number in range(160)))
    standing = await budgets.get(made.id)
    assert standing.nusd + standing.held_nusd <= 10_000
    assert standing.nusd == 90 * (160 - refused)
    while standing.nusd < 9_950 and refused:
        refused = 0
        await one(budgets, database)
        standing = await budgets.get(made.id)
    assert standing.nusd > 9_900
    assert not any(difference.is_one for difference in await budgets.check())
    await other.close()
    await again.close()


async def test_what_is_left_is_recalled_from_who_does_not_need_it(
    budgets: Budgets, database: Database, database_url: str, tmp_path: Path
) -> None:
    await budgets.create(wanted())
    again = await open_database(database_url, wait_seconds=5)
    other = Budgets(again)
    await other.start()
    await record(budgets, database, tmp_path, 50)  # and holds more than that now
    await record(other, again, tmp_path, 900)
    await other.close()
    await again.close()


async def test_the_budget_of_a_key_is_made_with_it_and_follows_its_line(
    database: Database, tmp_path: Path
) -> None:
    ring = KeyRing(database)
    room = Budgets(database, ring)
    await room.start()
    await ring.start()
    key, _ = await ring.create(name="k", tenant="acme", settings={"budget": {"usd": 1e-6, "window": "day"}})
    assert [entry.budget.subject for entry in room.index.entries.values()] == [key.id]
    first = Subject("acme", key.id, None, None, origin=key.id)
    await record(room, database, tmp_path, 100, first)
    new, secret = await ring.rotate(key.id)
    principal = ring.check(secret)
    assert (new.origin, principal.origin) == (key.id, key.id)
    await record(room, database, tmp_path, 100, Subject("acme", new.id, None, None, origin=principal.origin))
    assert (await room.get(key.id)).nusd == 200
    assert not any(one.is_one for one in await room.check())
    await ring.close()
    await room.close()


async def test_keys_that_are_older_than_budgets_get_theirs_at_start(database: Database) -> None:
    ring = KeyRing(database)  # no room listens: as it was before there were budgets
    old, _ = await ring.create(name="old", tenant="acme", settings={"budget": {"usd": 5, "window": "month"}})
    gone, _ = await ring.create(name="gone", tenant="acme", settings={"budget": {"usd": 5, "window": "day"}})
    await ring.revoke(gone.id)
    for _ in range(2):
        room = Budgets(database)
        await room.start()
        (made,) = [entry.budget for entry in room.index.entries.values()]
        assert (made.subject, made.nusd, made.window) == (old.id, 5_000_000_000, "month")
        await room.close()


async def test_a_deleted_budget_of_a_key_does_not_come_again(database: Database) -> None:
    ring = KeyRing(database)
    room = Budgets(database, ring)
    key, _ = await ring.create(name="k", tenant="acme", settings={"budget": {"usd": 5, "window": "day"}})
    await room.delete(key.id)
    await room.start()
    assert not room.index.entries
    await room.close()


async def test_a_holder_that_was_taken_for_dead_begins_anew(
    budgets: Budgets, database: Database, tmp_path: Path
) -> None:
    made = await budgets.create(wanted())
    time_us = now_us()
    charge = budgets.open(SUBJECT, time_us)
    assert charge is not None
    await charge.cover("p", "m", Bounds(300, 0), RATES)
    before = budgets.lender.holder.id
    from mainspring.budgets import queries  # noqa: PLC0415 - what another process would do

    assert await database.write(lambda c: queries.leave(c, before))
    budgets.lender.fence = 0
    await record(budgets, database, tmp_path, 100)
    assert budgets.lender.holder.id != before
    standing = await budgets.get(made.id)
    assert standing.held_nusd >= 300  # what is open is covered again
    charge.close()
    assert not any(one.is_one for one in await budgets.check())


async def test_crossings_are_told_while_they_last(
    budgets: Budgets, database: Database, tmp_path: Path
) -> None:
    made = await budgets.create(wanted())
    await record(budgets, database, tmp_path, 850)
    (crossing,) = await budgets.crossed()
    assert (crossing.budget, crossing.threshold, crossing.unit) == (made.id, 80, "usd")
    assert (crossing.spent, crossing.cap, crossing.subject) == (850, 1000, "tenant=acme")

    async def crossed_now() -> bool:
        return bool((await budgets.get(made.id)).crossed)

    await happens(crossed_now)
    assert (await budgets.get(made.id)).crossed == (50, 80)
    assert msgspec.to_builtins(crossing)["threshold"] == 80
