"""One round: read, judge, and write what has changed, all of it in one transaction that also renews the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.alerts import queries
from mainspring.alerts.evaluation import Standing, judge
from mainspring.alerts.rules import summary
from mainspring.alerts.telling import tell
from mainspring.alerts.types import Alert, Reading
from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import MainspringError
from mainspring.base.ids import new_id
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.alerts.evaluation import Verdict
    from mainspring.alerts.lease import Lease
    from mainspring.alerts.rules import Rule
    from mainspring.alerts.sources import Sources
    from mainspring.alerts.telling import Manners
    from mainspring.ledger import UsageRow
    from mainspring.store import Connection, Database

_log = get_logger(__name__)
#: A rule whose reading takes long is read less often: at most this share of the time goes into it.
_SHARE = 50
#: Open alerts of one rule; what goes beyond is not opened, which the log says.
MOST_OPEN = 500

Subject = tuple[str, str]


class Watch:
    """The rules of one process, and what it remembers between rounds."""

    def __init__(
        self, database: Database, lease: Lease, sources: Sources, rules: Sequence[Rule], manners: Manners
    ) -> None:
        self._database = database
        self._lease = lease
        self._sources = sources
        self._manners = manners
        self.rules = {rule.name: rule for rule in rules}
        #: What has been bad, but not for long enough to alert.
        self._bad_since: dict[Subject, int] = {}
        self._not_before: dict[str, float] = {}

    def keep_of(self, before: Watch) -> None:
        """Go on where another configuration left off."""
        self._bad_since = before._bad_since

    async def round(self) -> int | None:
        """Look at every rule whose time has come.

        Returns:
            How many events went into messages; None if the lease is somebody else's.

        Raises:
            StoreError: the database is away.
        """
        now = now_us()
        read = await self._read(now)
        told = await self._database.write(lambda connection: self._write(connection, read, now))
        if told is None:
            return None
        told_count, bad_since = told
        self._bad_since = bad_since
        return told_count

    async def _read(self, now: int) -> dict[str, list[Reading]]:
        """The readings by rule. A rule that cannot be read stays as it is until the next round."""
        shared: dict[Any, list[UsageRow]] = {}
        found: dict[str, list[Reading]] = {}
        for name, rule in self.rules.items():
            began = monotonic()
            if began < self._not_before.get(name, 0.0):
                continue
            try:
                found[name] = await self._sources.read(rule, now, shared)
            except MainspringError as error:
                _log.warning("alert_rule_unread", rule=name, reason=str(error))
            self._not_before[name] = monotonic() + (monotonic() - began) * _SHARE
        return found

    def _write(
        self, connection: Connection, read: dict[str, list[Reading]], now: int
    ) -> tuple[int, dict[Subject, int]] | None:
        """The transaction. It may run twice, so it changes nothing of this object."""
        if not self._lease.beat(connection):
            return None
        open_alerts = {(alert.rule, alert.subject): alert for alert in queries.open_alerts(connection)}
        # Rules that were not read this time keep what they had.
        bad_since = {key: since for key, since in self._bad_since.items() if key[0] not in read}
        touched: list[Alert] = []
        for name, readings in read.items():
            touched += self._judge(
                connection, self.rules[name], readings, open_alerts=open_alerts, bad_since=bad_since, now=now
            )
        for alert in open_alerts.values():
            if alert.rule not in self.rules:
                touched.append(_resolve(connection, alert, now, "the rule is gone"))
            elif alert.rule not in read:
                touched.append(alert)
        return tell(connection, touched, self.rules, self._manners, now), bad_since

    def _judge(
        self,
        connection: Connection,
        rule: Rule,
        readings: list[Reading],
        *,
        open_alerts: dict[Subject, Alert],
        bad_since: dict[Subject, int],
        now: int,
    ) -> list[Alert]:
        """Judge the subjects of a rule; returns the alerts that there may be something to tell of."""
        by_subject = {reading.subject: reading for reading in readings}
        mine = {subject: alert for (name, subject), alert in open_alerts.items() if name == rule.name}
        for subject in mine:
            # Nothing is known of it any more: there was no traffic, or the budget is gone.
            by_subject.setdefault(subject, Reading(subject=subject, value=None))
        found: list[Alert] = []
        number = len(mine)
        for subject, reading in by_subject.items():
            alert = mine.get(subject)
            since = self._bad_since.get((rule.name, subject)) if alert is None else alert.clear_us
            verdict = judge(rule, reading, Standing(alert is not None, since), now)
            if alert is not None:
                found.append(_go_on(connection, rule, alert, reading, verdict=verdict, now=now))
            elif verdict.action == "open":
                number += 1
                if number <= MOST_OPEN:
                    found.append(_open(connection, rule, reading, now))
            elif verdict.standing.since_us is not None:
                bad_since[(rule.name, subject)] = verdict.standing.since_us
        if number > MOST_OPEN:
            _log.warning("too_many_alerts", rule=rule.name, found=number, opened=MOST_OPEN)
        return found


def _open(connection: Connection, rule: Rule, reading: Reading, now: int) -> Alert:
    threshold = rule.threshold if reading.threshold is None else reading.threshold
    alert = Alert(
        id=new_id(),
        rule=rule.name,
        subject=reading.subject,
        window_us=now if reading.window_us is None else reading.window_us,
        tenant=reading.tenant,
        metric=rule.metric,
        severity=reading.severity or rule.severity,
        summary=summary(rule, reading.subject, reading.value, threshold, reading.detail),
        threshold=threshold,
        value=reading.value,
        peak=reading.value,
        opened_us=now,
    )
    return queries.add(connection, alert)


def _go_on(
    connection: Connection, rule: Rule, alert: Alert, reading: Reading, *, verdict: Verdict, now: int
) -> Alert:
    """An open alert after another reading. Nothing is written where nothing has changed."""
    if verdict.action == "resolve":
        why = "nothing to judge any more" if reading.value is None else "good again"
        alert.value = reading.value
        return _resolve(connection, alert, now, why)
    before = (alert.value, alert.peak, alert.clear_us, alert.threshold, alert.severity)
    alert.clear_us = verdict.standing.since_us
    if reading.value is not None:
        threshold = rule.threshold if reading.threshold is None else reading.threshold
        alert.value, alert.peak = reading.value, rule.worse(alert.peak, reading.value)
        if reading.threshold is not None and threshold > alert.threshold:
            # Told anew, and to be acknowledged anew: it has become worse.
            alert.threshold, alert.severity = threshold, reading.severity or alert.severity
            alert.told = alert.acknowledged_us = alert.acknowledged_by = None
            queries.unacknowledge(connection, alert.id)
        if rule.fires(reading.value, reading.threshold):
            alert.summary = summary(rule, alert.subject, reading.value, alert.threshold, reading.detail)
    if before != (alert.value, alert.peak, alert.clear_us, alert.threshold, alert.severity):
        queries.update(connection, alert)
    return alert


def _resolve(connection: Connection, alert: Alert, now: int, why: str) -> Alert:
    alert.resolved_us, alert.resolution, alert.clear_us = now, why, None
    queries.update(connection, alert)
    return alert
