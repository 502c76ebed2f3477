"""The alerts of an instance: what the rooms above call, and the loop that watches while this process serves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.alerts import channels, messages, queries
from mainspring.alerts.delivery import CLAIM_SECONDS, Sender
from mainspring.alerts.lease import Lease
from mainspring.alerts.rules import compile_rules, describe
from mainspring.alerts.telling import Manners
from mainspring.alerts.types import (
    EVERY,
    AlertFilter,
    AlertPage,
    Counts,
    Delivery,
    DeliveryPage,
    Message,
    Silence,
    Silences,
)
from mainspring.alerts.watch import Watch
from mainspring.base.clock import monotonic, now_us
from mainspring.base.durations import parse_seconds
from mainspring.base.errors import InvalidRequest, NotFound, StoreError
from mainspring.base.ids import lowest_id, new_id
from mainspring.base.logging import get_logger
from mainspring.store import Follower

if TYPE_CHECKING:
    from mainspring.alerts.sources import Sources
    from mainspring.alerts.types import Alert
    from mainspring.base.secrets import Secrets
    from mainspring.base.settings import AlertsSettings
    from mainspring.base.telemetry import Meter
    from mainspring.store import Connection, Database

_log = get_logger(__name__)
_US = 1_000_000
#: How often messages that are due are looked for, and how often a process that does not watch looks who does.
_TICK_SECONDS, _FOLLOW_SECONDS = 1.0, 3.0
_FORGET_SECONDS = 3600.0
_ANY = AlertFilter()
LONGEST_SILENCE_SECONDS = 366 * 86_400


class Alerts:
    """See the module. Methods raise `StoreUnavailable` when the database is away.

    Args:
        database: of the instance.
        meter: of the process.
        settings: the section of the configuration.
        secrets: what references in it stand for.
    """

    def __init__(
        self,
        database: Database,
        meter: Meter,
        settings: AlertsSettings,
        secrets: Secrets,
    ) -> None:
        self._database = database
        self._settings = settings
        self._secrets = secrets
        self._lease = Lease(database)
        self._sender = Sender(database, settings.channels, secrets, meter)
        self._watch: Watch | None = None
        self._follower = Follower("alerts", self._look, lambda: _FOLLOW_SECONDS)
        self._channels_checked = False
        self._wake = asyncio.Event()
        #: How things stood a few seconds ago.
        self.counts = Counts()
        meter.gauge("alerts_open", "Alerts that are open.", lambda: sum(self.counts.open.values()))
        meter.gauge(
            "alert_messages_pending",
            "Messages about alerts that are not taken yet.",
            lambda: self.counts.pending,
        )
        meter.gauge(
            "alert_messages_failing",
            "Those of them that were refused or not taken at least once.",
            lambda: self.counts.failing,
        )

    @property
    def watching(self) -> bool:
        """Whether this process is the one that evaluates and sends."""
        return self._lease.held

    @property
    def channels(self) -> dict[str, str]:
        """The kinds of the channels, by name."""
        return {name: channel.kind for name, channel in self._settings.channels.items()}

    @property
    def rules(self) -> list[tuple[str, str]]:
        """What is watched: names, and each rule in words."""
        return [] if self._watch is None else [(name, describe(r)) for name, r in self._watch.rules.items()]

    def open_count(self, tenant: str | None) -> int:
        """Open alerts that may be seen, from memory; None sees all."""
        return sum(self.counts.open.values()) if tenant is None else self.counts.open.get(tenant, 0)

    def configure(self, settings: AlertsSettings, sources: Sources, *, old_days: float = 90) -> None:
        """Put a configuration in force; at the first time, what `start` needs.

        Args:
            settings: the section.
            sources: what rules read.
            old_days: from when on a secret is old, where no rule says so.
        """
        manners = Manners(
            group_us=_micro(settings.group),
            remind_us=None if settings.remind is None else _micro(settings.remind),
            resolved=settings.resolved,
        )
        watch = Watch(
            self._database, self._lease, sources, compile_rules(settings, old_days=old_days), manners
        )
        if self._watch is not None:
            watch.keep_of(self._watch)
        self._settings, self._watch = settings, watch
        self._sender.channels = settings.channels
        self._wake.set()

    def start(self) -> None:
        """Watch from now on, when it is this process's turn, until `close`."""
        self._follower.start(at_once=True)

    async def close(self) -> None:
        """Stop watching, and let another process go on at once."""
        await self._follower.close()
        await self._sender.close()
        with suppress(StoreError):  # whoever comes next finds out by itself
            await self._lease.give_up()

    async def list(
        self,
        where: AlertFilter = _ANY,
        *,
        limit: int = 50,
        after: str | None = None,
    ) -> AlertPage:
        """Alerts, newest first."""
        found = await self._database.read(lambda c: queries.page(c, where, limit=limit + 1, after=after))
        return AlertPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def get(self, alert_id: str, *, tenant: str | None = None) -> Alert:
        """One alert.

        Raises:
            NotFound: there is none of that tenant.
        """
        found = await self._database.read(lambda c: queries.get(c, alert_id, tenant))
        if found is None:
            raise _unknown(alert_id)
        return found

    async def silences(self) -> Silences:
        """What is silent now."""
        return await self._database.read(lambda c: queries.silences(c, now_us()))

    async def deliveries(
        self,
        *,
        alert_id: str | None = None,
        channel: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> DeliveryPage:
        """Messages, newest first."""
        found = await self._database.read(
            lambda c: queries.deliveries(c, alert_id=alert_id, channel=channel, limit=limit + 1, after=after)
        )
        return DeliveryPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def acknowledge(self, alert_id: str, *, who: str) -> Alert:
        """Note that somebody knows: there are no reminders any more. The first one counts.

        Raises:
            NotFound: there is no such alert.
        """

        def work(connection: Connection) -> Alert | None:
            queries.acknowledge(connection, alert_id, who, now_us())
            return queries.get(connection, alert_id, None)

        found = await self._database.write(work)
        if found is None:
            raise _unknown(alert_id)
        return found

    async def silence(self, alert_id: str, *, seconds: float, who: str, whole_rule: bool = False) -> Silence:
        """Send nothing about what this alert is about, or about anything that its rule finds, for a while.

        It also holds for alerts of the same subject that open meanwhile. 0 seconds end it.

        Raises:
            NotFound: there is no such alert.
            InvalidRequest: no such length of time.
        """
        if not 0 <= seconds <= LONGEST_SILENCE_SECONDS:
            raise InvalidRequest("A silence lasts between 0 seconds and a year.", param="duration")

        def work(connection: Connection) -> Silence | None:
            alert = queries.get(connection, alert_id, None)
            if alert is None:
                return None
            now = now_us()
            subject = EVERY if whole_rule else alert.subject
            silence = Silence(alert.rule, subject, now + round(seconds * _US), now, who)
            queries.silence(connection, silence)
            return silence

        made = await self._database.write(work)
        if made is None:
            raise _unknown(alert_id)
        return made

    async def test(self, channel: str) -> Delivery:
        """Send a test message now, once. What came of it stands in its state and `error`, and in the list.

        Raises:
            NotFound: there is no such channel.
        """
        if channel not in self._sender.channels:
            known = ", ".join(sorted(self._sender.channels)) or "none"
            raise NotFound(
                f"There is no channel {channel!r}; known: {known}.",
                remedy=f"Add [alerts.channels.{channel}] to the configuration."
                if channel.isidentifier()
                else "",
                param="channel",
            )
        now = now_us()
        delivery = Delivery(
            id=new_id(),
            channel=channel,
            state="failed",
            body=messages.encoded(Message(kind="test")),
            alerts=0,
            created_us=now,
            due_us=now,
            attempts=1,
            attempted_us=now,
        )
        trouble = await self._sender.attempt(delivery)
        delivery.state = "sent" if trouble is None else "failed"
        if trouble is not None:
            delivery.refused, delivery.error = trouble.final, trouble.reason
        await self._database.write(lambda c: queries.add_delivery(c, delivery))
        return delivery

    async def problems(self) -> dict[str, str | None]:
        """What is wrong with each channel as far as one can see without sending anything."""
        return {
            name: await channels.problem(channel, self._secrets)
            for name, channel in self._sender.channels.items()
        }

    async def _check_channels(self) -> None:
        self._channels_checked = True
        for name, problem in (await self.problems()).items():
            if problem is not None:
                _log.warning("alert_channel_unusable", channel=name, reason=problem)

    async def _look(self) -> None:
        """Watch for as long as it is this process's turn."""
        if not self._channels_checked:
            await self._check_channels()
        self.counts = await self._database.read(queries.counts)
        if not await self._lease.want():
            return
        claim_us = round(CLAIM_SECONDS * _US)
        await self._database.write(lambda c: queries.release(c, claim_us, now_us()))
        _log.info("alerts_watching", holder=self._lease.holder)
        next_round = next_forget = 0.0
        while True:
            now = monotonic()
            if now >= next_round or self._wake.is_set():
                self._wake.clear()
                next_round = now + parse_seconds(self._settings.every)
                assert self._watch is not None, "configure comes before start"
                if await self._watch.round() is None:
                    _log.warning("alerts_lease_lost", holder=self._lease.holder)
                    self._lease.lost()
                    return
                self.counts = await self._database.read(queries.counts)
            if now >= next_forget:
                next_forget = now + _FORGET_SECONDS
                await self._forget()
            await self._sender.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_TICK_SECONDS, max(0.0, next_round - monotonic()))):
                    await self._wake.wait()

    async def _forget(self) -> None:
        before_us = now_us() - _micro(self._settings.keep)
        await self._database.write(lambda c: queries.forget(c, before_us, lowest_id(before_us / _US)))


def _micro(text: str) -> int:
    return round(parse_seconds(text) * _US)


def _unknown(alert_id: str) -> NotFound:
    return NotFound(
        f"There is no alert {alert_id[:64]!r}.",
        remedy="`mainspring alerts list`, or GET /api/v1/alerts, shows those that there are.",
    )
