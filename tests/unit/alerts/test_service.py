"""Alerts open, stay one, and resolve; messages are gathered, sent, and sent again; one process at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import happens

from mainspring.alerts import Alert, AlertFilter, Alerts, Reading, Sources, delivery
from mainspring.alerts.lease import Lease
from mainspring.base.errors import InvalidRequest, NotFound
from mainspring.base.secrets import Secrets
from mainspring.base.settings import AlertsSettings
from mainspring.base.telemetry import Meter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.receivers import WebhookReceiver
    from tests.unit.alerts.conftest import Book

    from mainspring.store import Database

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def configured(receiver: WebhookReceiver | None = None, **more: Any) -> AlertsSettings:
    """A rule on errors and, where there is a receiver, a channel to it."""
    channels = {"ops": {"kind": "webhook", "url": receiver.url, "secret": SECRET}} if receiver else {}
    rules = {"errors": {"metric": "error_rate", "above": 0.05, "over": "1m", "resolve_after": "0s"}}
    given: dict[str, Any] = {
        "every": "0.5s",
        "group": "1s",
        "channels": channels,
        "rules": rules,
        "defaults": False,
    }
    return AlertsSettings.model_validate({**given, **more})


@asynccontextmanager
async def watching(
    database: Database, book: Book, settings: AlertsSettings, states: dict[str, Any] | None = None
) -> AsyncIterator[Alerts]:
    alerts = Alerts(database, Meter(), settings, Secrets())
    alerts.configure(settings, Sources(book.ledger, states or {}))
    alerts.start()
    try:
        yield alerts
    finally:
        await alerts.close()


async def only(alerts: Alerts, **where: Any) -> list[Alert]:
    return (await alerts.list(AlertFilter(**where))).items


async def test_opens_once_stays_and_resolves(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    await book.answers(40, errors=20)
    async with watching(database, book, configured(receiver)) as alerts:
        await happens(lambda: receiver.hits)
        (alert,) = await only(alerts)
        assert (alert.rule, alert.subject, alert.value, alert.resolved_us) == ("errors", "", 500_000, None)
        assert alert.summary == "Error rate 50% over 1m (above 5%)"
        await asyncio.sleep(1.2)
        assert len(await only(alerts)) == 1
        assert alerts.open_count(None) == 1
        assert alerts.open_count("acme") == 0
        await book.answers(2000)
        await happens(lambda: len(receiver.hits) > 1)
        (alert,) = await only(alerts)
        assert alert.resolution == "good again"
        assert alert.peak == 500_000
        assert [each["event"] for each in receiver.alerts()] == ["opened", "resolved"]
        assert alerts.open_count(None) == 0
    hit = receiver.hits[0]
    assert hit.path == "/hook?token=t-0ken"
    assert hit.document["id"] == hit.headers["webhook-id"]


async def test_one_alert_for_each_group(database: Database, book: Book) -> None:
    await book.answers(30, errors=30, provider="broken", tenant="acme")
    await book.answers(30, provider="well", tenant="other")
    rules = {
        "per": {"metric": "error_rate", "above": 0.05, "over": "5m", "per": "provider"},
        "spend": {"metric": "spend", "above": 0.00001, "over": "1h", "per": "tenant", "severity": "critical"},
        "quiet": {"metric": "requests", "below": 1, "over": "1m", "tenant": "nobody"},
        "enough": {"metric": "requests", "below": 1, "over": "1m"},
        "slow": {"metric": "latency_p95", "above": "30s"},
    }
    async with watching(database, book, configured(rules=rules)) as alerts:
        await happens(lambda: alerts.counts.open)
        found = {(alert.rule, alert.subject): alert for alert in await only(alerts)}
        assert set(found) == {
            ("per", "provider=broken"),
            ("spend", "tenant=acme"),
            ("spend", "tenant=other"),
            ("quiet", ""),
        }
        assert found["spend", "tenant=acme"].value == 30_000
        assert found["spend", "tenant=acme"].tenant == "acme"
        assert found["quiet", ""].tenant == "nobody"
        assert found["per", "provider=broken"].tenant is None
        assert [each.tenant for each in await only(alerts, tenant="acme")] == ["acme"]


async def test_fails_some_times_then_is_taken(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    receiver.script.extend([500, (429, {"retry-after": "2"}), 204])
    await book.answers(40, errors=40)
    async with watching(database, book, configured(receiver)) as alerts:
        hits = await happens(lambda: receiver.hits[2:] and receiver.hits)
        assert len({hit.headers["webhook-id"] for hit in hits}) == 1
        assert len({hit.body for hit in hits}) == 1
        assert hits[2].at - hits[1].at >= 1.9
        sent = await happens(lambda: _state(alerts, "sent"))
        assert (sent.attempts, sent.error) == (3, None)


async def _state(alerts: Alerts, state: str) -> Any:
    found = [each for each in (await alerts.deliveries()).items if each.state == state]
    return found[0] if found else None


async def test_broken_channel_does_not_block_another(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    receiver.always = "hang"
    await book.answers(40, errors=40)
    from tests.support.receivers import WebhookReceiver as Another  # noqa: PLC0415 - a second one, for this test only

    with Another() as good:
        channels = {
            "hangs": {"kind": "webhook", "url": receiver.url},
            "away": {"kind": "slack", "url": "http://127.0.0.1:9/x"},
            "nowhere": {"kind": "webhook", "url": "env:NOT_SET_ANYWHERE"},
            "good": {"kind": "webhook", "url": good.url},
        }
        async with watching(database, book, configured(channels=channels)) as alerts:
            await happens(lambda: good.hits, seconds=9)
            states = await happens(lambda: _by_channel(alerts))
            assert states["away"].error == "not reachable"
            assert states["nowhere"].error == "the reference in `url` leads to nothing"
            assert states["hangs"].error is None
            assert "webhook-signature" not in good.hits[0].headers


async def _by_channel(alerts: Alerts) -> Any:
    found = {each.channel: each for each in (await alerts.deliveries()).items}
    return found if {"away", "nowhere"} <= {name for name, each in found.items() if each.error} else None


async def test_refusals_and_redirects_are_final(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    receiver.script.extend([400, (302, {"location": receiver.url})])
    settings = configured(receiver)
    async with watching(database, book, settings) as alerts:
        refused = await alerts.test("ops")
        assert (refused.state, refused.refused, refused.error) == ("failed", True, "status 400")
        elsewhere = await alerts.test("ops")
        assert elsewhere.refused
        assert elsewhere.error == "it answers with a redirect, which is not followed"
        assert (await alerts.test("ops")).state == "sent"
        assert len(receiver.hits) == 3
        assert receiver.hits[2].document["type"] == "mainspring.test"
        with pytest.raises(NotFound, match=r"There is no channel 'nobody'; known: ops\."):
            await alerts.test("nobody")


async def test_storm_becomes_few_messages(database: Database, book: Book, receiver: WebhookReceiver) -> None:
    bad: list[Reading] = []
    rules = {"health": {"metric": "provider_health", "resolve_after": "0s"}}
    states = {"provider_health": lambda: list(bad)}
    settings = configured(receiver, rules=rules, group="2s")
    async with watching(database, book, settings, states) as alerts:
        for number in range(100):
            bad.append(Reading(subject=f"p/{number}", value=1, detail="its breaker is open"))
            await asyncio.sleep(0.03)
        await happens(lambda: alerts.counts.open.get(None) == 100)
        await happens(
            lambda: (
                sum(
                    len(hit.document["data"]["alerts"]) + hit.document["data"]["more"]
                    for hit in receiver.hits
                )
                == 100
            )
        )
        assert len(receiver.hits) <= 4


async def test_silence_and_acknowledgement(database: Database, book: Book, receiver: WebhookReceiver) -> None:
    bad = [Reading(subject="p/m", value=1)]
    settings = configured(
        receiver, rules={"health": {"metric": "provider_health", "resolve_after": "0s"}}, remind="60s"
    )
    async with watching(database, book, settings, {"provider_health": lambda: list(bad)}) as alerts:
        await happens(lambda: receiver.hits)
        (alert,) = await only(alerts, state="open")
        first = await alerts.acknowledge(alert.id, who="ann")
        assert (await alerts.acknowledge(alert.id, who="bob")).acknowledged_us == first.acknowledged_us
        silence = await alerts.silence(alert.id, seconds=3600, who="ann")
        assert (silence.rule, silence.subject) == ("health", "p/m")
        bad.clear()
        await happens(lambda: alerts.counts.open == {})
        bad.append(Reading(subject="p/m", value=1))
        await happens(lambda: alerts.counts.open)
        await asyncio.sleep(1)
        assert len(receiver.hits) == 1
        await alerts.silence(alert.id, seconds=0, who="ann")
        await happens(lambda: len(receiver.hits) == 2)
        with pytest.raises(InvalidRequest):
            await alerts.silence(alert.id, seconds=-1, who="ann")
        with pytest.raises(NotFound):
            await alerts.acknowledge("00000000", who="ann")


async def test_worse_is_told_again_and_windows_are_apart(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    def at(percent: int, window: int, severity: Any) -> Reading:
        share = percent * 10_000
        return Reading(
            subject="b1",
            value=share,
            threshold=share,
            window_us=window,
            severity=severity,
            detail=f"{percent}%",
        )

    now = [at(50, 1, "info")]
    settings = configured(
        receiver, rules={"budgets": {"metric": "budget", "above": 0.5, "resolve_after": "0s"}}
    )
    async with watching(database, book, settings, {"budget": lambda: list(now)}) as alerts:
        await happens(lambda: len(receiver.alerts()) == 1)
        await alerts.acknowledge((await only(alerts))[0].id, who="ann")
        now[:] = [at(80, 1, "warning")]
        await happens(lambda: len(receiver.alerts()) == 2)
        (alert,) = await only(alerts)
        assert (alert.severity, alert.summary, alert.acknowledged_us) == ("warning", "80%", None)
        now[:] = []
        await happens(lambda: len(receiver.alerts()) == 3)
        now[:] = [at(50, 2, "info")]
        await happens(lambda: len(receiver.alerts()) == 4)
        assert [each["event"] for each in receiver.alerts()] == ["opened", "raised", "resolved", "opened"]
        assert [each.window_us for each in await only(alerts)] == [2, 1]


async def test_two_processes_one_evaluation_one_delivery(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    await book.answers(40, errors=40)
    settings = configured(receiver)
    async with watching(database, book, settings) as one:
        await happens(lambda: one.watching)
        async with watching(database, book, settings) as two:
            await happens(lambda: receiver.hits)
            await asyncio.sleep(1.5)
            assert not two.watching
            assert len(receiver.hits) == 1
            await happens(lambda: two.open_count(None) == 1)
            await one.close()
            await happens(lambda: two.watching)
            await asyncio.sleep(1)
            assert len(receiver.hits) == 1
            assert len(await only(two)) == 1


async def test_lease_passes_from_the_dead_and_never_to_two(database: Database) -> None:
    one, two = Lease(database, dead_seconds=0.4), Lease(database, dead_seconds=0.4)
    two.holder = two.holder.replace("/", "-elsewhere/", 1)
    assert await one.want()
    assert not await two.want()
    await asyncio.sleep(0.3)
    assert await database.write(one.beat)
    assert not await two.want()
    await asyncio.sleep(0.3)
    assert not await two.want()
    await asyncio.sleep(0.2)
    assert await two.want()
    assert not await database.write(one.beat)
    one.lost()
    assert not await one.want()
    await two.give_up()
    assert await one.want()


async def test_gone_process_of_this_machine_is_replaced_at_once(database: Database) -> None:
    dead, next_one = Lease(database), Lease(database)
    machine, _, _ = dead.holder.partition("/")
    dead.holder = f"{machine}/4194000/dead"
    assert await dead.want()
    assert await next_one.want()


async def test_message_under_way_at_a_crash_is_sent_again(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    receiver.always = "hang"
    await book.answers(40, errors=40)
    settings = configured(receiver)
    async with watching(database, book, settings):
        await happens(lambda: receiver.hits)
    receiver.always = 204
    async with watching(database, book, settings) as alerts:
        await happens(lambda: _state(alerts, "sent"))
    assert len({hit.headers["webhook-id"] for hit in receiver.hits}) == 1
    assert len(receiver.hits) == 2


async def test_rule_and_channel_that_are_gone(
    database: Database, book: Book, receiver: WebhookReceiver
) -> None:
    receiver.always = 503
    await book.answers(40, errors=40)
    async with watching(database, book, configured(receiver)) as alerts:
        await happens(lambda: receiver.hits)
        await happens(lambda: _failing(alerts))
        alerts.configure(configured(rules={}), Sources(book.ledger, {}))
        await happens(lambda: alerts.counts.open == {})
        assert (await only(alerts))[0].resolution == "the rule is gone"
        failed = await happens(lambda: _state(alerts, "failed"))
        assert failed.error == "the channel is gone from the configuration"


async def _failing(alerts: Alerts) -> bool:
    return any(each.error for each in (await alerts.deliveries()).items)


async def test_lists_are_paged(database: Database, book: Book) -> None:
    bad = [Reading(subject=f"p/{number}", value=1) for number in range(7)]
    settings = configured(rules={"health": {"metric": "provider_health"}})
    async with watching(database, book, settings, {"provider_health": lambda: list(bad)}) as alerts:
        await happens(lambda: alerts.counts.open.get(None) == 7)
        seen: list[str] = []
        after = None
        while True:
            page = await alerts.list(limit=3, after=after)
            seen += [alert.id for alert in page.items]
            after = page.next
            if after is None:
                break
        assert len(seen) == 7
        assert seen == sorted(seen, reverse=True)


def test_pauses_grow_are_bounded_and_honour_what_was_asked() -> None:
    away = [delivery.pause(n, final=False, retry_after=None, luck=0.5) for n in range(1, 15)]
    assert away[:4] == [2, 4, 8, 16]
    assert away[-1] == 1800
    assert delivery.pause(1, final=True, retry_after=None, luck=0.5) == 600
    assert delivery.pause(1000, final=True, retry_after=None, luck=0.5) == 21_600
    assert delivery.pause(1, final=False, retry_after=30, luck=0) == 30
    assert delivery.pause(1, final=False, retry_after=1e9, luck=0) == 3600
