"""What is out of use, in every process; and ages of keys. On both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import happens

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest, NotFound
from mainspring.base.secrets import Secret
from mainspring.providers import Ages, Drains
from mainspring.providers.ages import DAY_US, first_seen
from mainspring.providers.pool import KeyPool, PooledKey
from mainspring.store import open_database

if TYPE_CHECKING:
    from mainspring.store import Database


async def test_a_drain_is_known_elsewhere_soon_and_outlives_the_process(database_url: str) -> None:
    one, two = await open_database(database_url), await open_database(database_url)
    here, there = Drains(one), Drains(two)
    changes: list[bool] = []
    there.on_change = lambda: changes.append(there.find("openai") is not None)
    try:
        await here.start()
        await there.start()
        drain = await here.drain("openai", by="ann", reason=" their outage ")
        await here.drain("openai", "env:A", by="ann")
        assert (drain.by, drain.reason) == ("ann", "their outage")
        await happens(lambda: there.find("openai", "env:A"))
        assert there.find("openai") == drain
        assert there.find("anthropic") is None
        assert changes[-1]
        again = await there.drain("openai", by="bob", reason="still")
        assert (again.since_us, again.by, again.reason) == (drain.since_us, "bob", "still")
        fresh = Drains(two)
        await fresh.refresh()
        assert fresh.find("openai") == again
        await here.undrain("openai")
        await happens(lambda: there.find("openai") is None)
        assert there.find("openai", "env:A") is not None
        with pytest.raises(NotFound, match="is not drained"):
            await here.undrain("openai")
        with pytest.raises(InvalidRequest, match="at most"):
            await here.drain("openai", by="ann", reason="x" * 501)
    finally:
        for room in (here, there, one, two):
            await room.close()


async def test_a_value_is_as_old_as_its_first_sight(database: Database) -> None:
    first = await first_seen(database, "env:A", "sk-1")
    assert abs(first - now_us()) < 60_000_000
    assert await first_seen(database, "env:A", "sk-1") == first
    assert await first_seen(database, "env:B", "sk-1") >= first
    second = await first_seen(database, "env:A", "sk-2")
    assert second > first
    assert await first_seen(database, "env:A", "sk-1") == first, "back to the one before"
    for number in range(20):
        await first_seen(database, "env:A", f"sk-{number}-more")
    rows = await database.read(lambda c: c.rows("SELECT fingerprint, salt FROM secret_ages"))
    assert len(rows) <= 9
    assert not any(b"sk-" in bytes(value) for row in rows for value in row)


async def test_old_keys_are_told_of_once_a_day(database: Database) -> None:
    ages = Ages(database, 90)
    pool = KeyPool("up", [PooledKey(name, name) for name in ("vault:a/b#c", "key 2")], header="x: %s")
    old = now_us() - 91 * DAY_US
    pool.put("vault:a/b#c", Secret("sk-1", old), None)
    pool.put("key 2", Secret("sk-2"), None)
    await ages.learn_all(pool)
    first, second = pool.keys
    assert ages.since("up", first) == old
    assert ages.old(old)
    assert not ages.old(ages.since("up", second))
    with capture_logs() as log:
        for key in [*pool.keys, *pool.keys]:
            ages.warn("up", key)
    assert [(event["key_label"], event["days"]) for event in log] == [("vault:a/b#c", 91)]
    pool.put("vault:a/b#c", Secret("sk-new", now_us()), None)
    assert ages.since("up", first) is None, "not known yet"
    await ages.learn_all(pool)
    assert not ages.old(ages.since("up", first))
