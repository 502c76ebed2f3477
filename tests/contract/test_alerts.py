"""Everything that alerts ask of a database, on each of them: rounds, silences, messages, the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.alerts import Alert, AlertFilter, Delivery, Reading, queries
from mainspring.alerts.lease import Lease
from mainspring.alerts.rules import compile_rules
from mainspring.alerts.telling import Manners
from mainspring.alerts.types import Silence
from mainspring.alerts.watch import Watch
from mainspring.base.clock import now_us
from mainspring.base.settings import AlertsSettings

if TYPE_CHECKING:
    from mainspring.store import Database

CHANNELS = {"ops": {"kind": "slack", "url": "env:U"}, "cto": {"kind": "slack", "url": "env:U"}}
RULES = {"health": {"metric": "provider_health", "resolve_after": "0s"}}
MANNERS = Manners(group_us=0, remind_us=None, resolved=True)


class Found:
    """What the rule finds; stands in for the rooms below."""

    def __init__(self) -> None:
        self.bad: list[str] = []

    async def read(self, *_: Any) -> list[Reading]:
        return [Reading(subject=name, value=1, tenant=name[0]) for name in self.bad]


async def watch_of(database: Database) -> tuple[Watch, Found, Lease]:
    lease = Lease(database)
    assert await lease.want()
    settings = AlertsSettings.model_validate({"defaults": False, "channels": CHANNELS, "rules": RULES})
    found = Found()
    return Watch(database, lease, found, compile_rules(settings), MANNERS), found, lease  # type: ignore[arg-type] # reads are all that it is asked for


async def messages(database: Database) -> list[Delivery]:
    return await database.read(
        lambda c: queries.deliveries(c, alert_id=None, channel=None, limit=100, after=None)
    )


async def listed(database: Database, **where: Any) -> list[Alert]:
    return await database.read(lambda c: queries.page(c, AlertFilter(**where), limit=100, after=None))


async def test_a_threshold_that_no_column_takes_is_the_largest_that_one_does(database: Database) -> None:
    lease = Lease(database)
    assert await lease.want()
    rules = {"quiet": {"metric": "spend", "below": 1e300, "channels": []}, **RULES}
    settings = AlertsSettings.model_validate({"defaults": False, "rules": rules})
    found = Found()
    found.bad = ["a"]
    watch = Watch(database, lease, found, compile_rules(settings), MANNERS)  # type: ignore[arg-type] # reads are all that it is asked for
    await watch.round()
    assert sorted(alert.rule for alert in await listed(database, state="open")) == ["health", "quiet"]


async def test_a_life_of_alerts(database: Database) -> None:
    watch, found, _ = await watch_of(database)
    found.bad = ["a/1", "b/2"]
    assert await watch.round() == 2
    assert await watch.round() == 0
    first = await listed(database)
    assert {alert.subject: alert.tenant for alert in first} == {"a/1": "a", "b/2": "b"}
    assert [alert.subject for alert in await listed(database, tenant="a", state="open")] == ["a/1"]
    assert await listed(database, severity="critical") == []
    counts = await database.read(queries.counts)
    assert (counts.open, counts.pending, counts.failing) == ({"a": 1, "b": 1}, 2, 0)
    assert {each.channel: each.alerts for each in await messages(database)} == {"ops": 2, "cto": 2}
    found.bad = ["a/1"]
    assert await watch.round() == 1
    assert [alert.subject for alert in await listed(database, state="resolved")] == ["b/2"]
    assert {each.channel: each.alerts for each in await messages(database)} == {"ops": 3, "cto": 3}


async def test_silence_holds_back_and_lets_go(database: Database) -> None:
    watch, found, _ = await watch_of(database)
    now = now_us()
    silence = Silence("health", "*", now + 60_000_000, now, "ann")
    await database.write(lambda c: queries.silence(c, silence))
    found.bad = ["a/1"]
    assert await watch.round() == 0
    (alert,) = await listed(database)
    assert alert.told is None
    silences = await database.read(lambda c: queries.silences(c, now_us()))
    assert silences.of(alert) == silence
    await database.write(lambda c: queries.silence(c, silence._replace(until_us=now)))
    assert await watch.round() == 1
    await database.write(lambda c: queries.acknowledge(c, alert.id, "ann", now))
    await database.write(lambda c: queries.acknowledge(c, alert.id, "bob", now + 1))
    (alert,) = await listed(database)
    assert (alert.acknowledged_by, alert.told) == ("ann", "opened")


async def test_message_is_claimed_once_and_settled_by_its_own_attempt(database: Database) -> None:
    watch, found, _ = await watch_of(database)
    found.bad = ["a/1"]
    await watch.round()
    now = now_us()
    due = await database.read(lambda c: queries.due(c, now_us()))
    assert {channel: len(ids) for channel, ids in due.items()} == {"ops": 1, "cto": 1}
    one = due["ops"][0]
    claimed = await database.write(lambda c: queries.claim(c, one, now_us(), now + 75_000_000))
    assert claimed is not None
    assert (claimed.attempts, claimed.refused) == (1, False)
    assert await database.write(lambda c: queries.claim(c, one, now_us(), now + 75_000_000)) is None
    # What comes up from now on is not put into it any more.
    found.bad = ["a/1", "a/2"]
    await watch.round()
    assert sorted(each.alerts for each in await messages(database) if each.channel == "ops") == [1, 1]
    outcome = {"state": "pending", "due_us": now + 9_000_000, "refused": False, "error": "status 500"}
    await database.write(lambda c: queries.settle(c, one, 1, **outcome))  # type: ignore[arg-type] # one set of arguments for two calls
    assert (await database.read(queries.counts)).failing == 1
    # The later message waits for the next attempt at the earlier one: nothing piles up at a channel that is away.
    found.bad = ["a/1", "a/2", "a/3"]
    await watch.round()
    assert await database.read(lambda c: queries.next_retry(c, "ops")) == now + 9_000_000
    await database.write(lambda c: queries.taken(c, claimed, now_us()))
    assert {each.state for each in await messages(database) if each.id == one} == {"sent"}
    await database.write(lambda c: queries.settle(c, one, 1, **outcome))  # type: ignore[arg-type] # as above
    assert {each.state for each in await messages(database) if each.id == one} == {"sent"}
    assert await database.write(lambda c: queries.abandon(c, ["cto"], "gone")) == 1
    assert await database.write(lambda c: queries.abandon(c, [], "gone")) == 1


async def test_claim_of_the_dead_is_let_go(database: Database) -> None:
    watch, found, _ = await watch_of(database)
    found.bad = ["a/1"]
    await watch.round()
    now = now_us()
    ids = (await database.read(lambda c: queries.due(c, now_us())))["ops"]
    await database.write(lambda c: queries.claim(c, ids[0], now, now + 75_000_000))
    assert "ops" not in await database.read(lambda c: queries.due(c, now_us()))
    await database.write(lambda c: queries.release(c, 75_000_000, now))
    assert (await database.read(lambda c: queries.due(c, now_us())))["ops"] == ids


async def test_holder_that_lost_the_lease_writes_nothing(database: Database) -> None:
    watch, found, lease = await watch_of(database)
    found.bad = ["a/1"]
    seen = await database.read(queries.lease)
    assert seen is not None
    assert await database.write(lambda c: queries.take_lease(c, "another/1/x", seen))
    assert not await database.write(lambda c: queries.take_lease(c, "third/1/x", seen))
    assert await watch.round() is None
    assert await listed(database) == []
    lease.lost()
    await database.write(lambda c: queries.give_up_lease(c, "another/1/x"))
    assert await lease.want()
    assert await watch.round() == 1


async def test_what_was_over_long_ago_is_forgotten(database: Database) -> None:
    watch, found, _ = await watch_of(database)
    found.bad = ["a/1", "b/2"]
    await watch.round()
    found.bad = ["a/1"]
    await watch.round()
    await database.write(lambda c: queries.forget(c, now_us() + 1, "ffffffff-ffff-7fff-bfff-ffffffffffff"))
    assert [alert.subject for alert in await listed(database)] == ["a/1"]
    assert [each.state for each in await messages(database)] == ["pending", "pending"]
