"""How alerts and messages look in JSON. Used by the API and by `--json` of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.alerts.rules import unit_of
from mainspring.base import money
from mainspring.base.clock import iso

if TYPE_CHECKING:
    from mainspring.alerts import Alert as StoredAlert
    from mainspring.alerts import Delivery as StoredDelivery
    from mainspring.alerts import Silence as StoredSilence


class Alert(msgspec.Struct, kw_only=True):
    """Something that is, or was, wrong. `value`, `peak` and `threshold` are in `unit`: usd, seconds, share or count."""

    id: str
    state: str
    rule: str
    subject: str
    tenant: str | None
    severity: str
    metric: str
    unit: str
    summary: str
    value: float | None
    peak: float | None
    threshold: float
    opened: str
    resolved: str | None
    resolution: str | None
    acknowledged: str | None
    acknowledged_by: str | None
    silenced_until: str | None


class Message(msgspec.Struct, kw_only=True):
    """A message to a channel: `pending`, `failing` (not taken yet, tried again at `next`), `sent` or `failed` (given up).

    `refused` says that the receiver does not want it as it is.
    """

    id: str
    channel: str
    state: str
    alerts: int
    created: str
    attempts: int
    attempted: str | None
    next: str | None
    refused: bool
    error: str | None


class FullAlert(Alert, kw_only=True):
    """An alert with the newest messages about it; a member is shown none."""

    messages: list[Message]


class Silence(msgspec.Struct, kw_only=True):
    """No messages about a subject of a rule (`*`: about any) until then."""

    rule: str
    subject: str
    until: str
    created_by: str | None


def alert_view(alert: StoredAlert, silence: StoredSilence | None) -> Alert:
    """An alert, and the silence that holds for it."""
    unit = unit_of(alert.metric)

    def amount(value: int | None) -> float | None:
        if value is None or unit == "count":
            return value
        return float(money.to_usd(value)) if unit == "usd" else value / 1_000_000

    return Alert(
        id=alert.id,
        state="open" if alert.resolved_us is None else "resolved",
        rule=alert.rule,
        subject=alert.subject,
        tenant=alert.tenant,
        severity=alert.severity,
        metric=alert.metric,
        unit=unit,
        summary=alert.summary,
        value=amount(alert.value),
        peak=amount(alert.peak),
        threshold=amount(alert.threshold) or 0.0,
        opened=iso(alert.opened_us),
        resolved=_time(alert.resolved_us),
        resolution=alert.resolution,
        acknowledged=_time(alert.acknowledged_us),
        acknowledged_by=alert.acknowledged_by,
        silenced_until=None if silence is None else iso(silence.until_us),
    )


def full_alert_view(
    alert: StoredAlert, silence: StoredSilence | None, messages: list[StoredDelivery]
) -> FullAlert:
    """An alert with the messages about it."""
    fields = msgspec.structs.asdict(alert_view(alert, silence))
    return FullAlert(**fields, messages=[message_view(each) for each in messages])


def message_view(delivery: StoredDelivery) -> Message:
    """A message, without its contents."""
    return Message(
        id=delivery.id,
        channel=delivery.channel,
        state=delivery.standing,
        alerts=delivery.alerts,
        created=iso(delivery.created_us),
        attempts=delivery.attempts,
        attempted=_time(delivery.attempted_us),
        next=iso(delivery.due_us) if delivery.state == "pending" else None,
        refused=delivery.refused,
        error=delivery.error,
    )


def silence_view(silence: StoredSilence) -> Silence:
    """A silence."""
    return Silence(
        rule=silence.rule,
        subject=silence.subject,
        until=iso(silence.until_us),
        created_by=silence.created_by,
    )


def _time(us: int | None) -> str | None:
    return None if us is None else iso(us)
