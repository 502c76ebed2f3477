"""What the room holds: alerts, silences and messages."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from mainspring.base.settings.alerts import Metric, Severity

#: `raised`: what was told is worse now, such as a budget that reached its next threshold.
Event = Literal["opened", "raised", "resolved", "reminder"]
State = Literal["open", "resolved"]
DeliveryState = Literal["pending", "sent", "failed"]

#: The subject of a silence that holds for all subjects of its rule.
EVERY = "*"


class Alert(msgspec.Struct, kw_only=True):
    """Something that is, or was, wrong. Field names are column names; times are Unix microseconds.

    `subject` is what the rule found it about, such as `provider=openai`; empty where a rule has one subject only.
    `window_us` tells it from earlier alerts of the same subject. `threshold`, `value` and `peak` are whole numbers in
    the metric's unit: nano-dollars, microseconds, millionths or a count. `clear_us` is since when it has looked good;
    `told` the last event that went into messages, if any did.
    """

    id: str
    rule: str
    subject: str
    window_us: int
    tenant: str | None
    metric: Metric
    severity: Severity
    summary: str
    threshold: int
    value: int | None
    peak: int | None
    opened_us: int
    clear_us: int | None = None
    resolved_us: int | None = None
    resolution: str | None = None
    acknowledged_us: int | None = None
    acknowledged_by: str | None = None
    told: Event | None = None
    told_us: int | None = None


class AlertFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which alerts. Every field that is set narrows."""

    tenant: str | None = None
    state: State | None = None
    rule: str | None = None
    severity: Severity | None = None


class AlertPage(NamedTuple):
    """Alerts, newest first; `next` is the id to pass as `after`, None on the last page."""

    items: list[Alert]
    next: str | None


class Silence(NamedTuple):
    """No messages about a subject of a rule (`*`: about any) until then."""

    rule: str
    subject: str
    until_us: int
    created_us: int
    created_by: str | None


class Silences(NamedTuple):
    """What is silent now, by rule and subject."""

    by_subject: dict[tuple[str, str], Silence]

    def of(self, alert: Alert) -> Silence | None:
        """The silence that holds for an alert, the longer one of two."""
        found = [self.by_subject.get((alert.rule, subject)) for subject in (alert.subject, EVERY)]
        return max((each for each in found if each is not None), key=lambda each: each.until_us, default=None)


class Delivery(msgspec.Struct, kw_only=True):
    """A message to a channel. Its `id` goes with it, so that receivers can drop doubles.

    `body` is a `Message` as JSON. `refused` says that the receiver does not want it as it is, rather than being away;
    `due_us` is when it is tried next, while it is pending.
    """

    id: str
    channel: str
    state: DeliveryState
    body: str
    alerts: int
    created_us: int
    due_us: int
    attempts: int = 0
    attempted_us: int | None = None
    refused: bool = False
    error: str | None = None

    @property
    def standing(self) -> str:
        """Its state for people: `failing` is pending after an attempt that did not succeed."""
        return "failing" if self.state == "pending" and self.error is not None else self.state


class DeliveryPage(NamedTuple):
    """Messages, newest first; `next` as for alerts."""

    items: list[Delivery]
    next: str | None


class Note(msgspec.Struct, kw_only=True):
    """One alert as a message tells of it."""

    event: Event
    id: str
    rule: str
    subject: str
    tenant: str | None
    severity: Severity
    metric: Metric
    summary: str
    value: str
    threshold: str
    opened_us: int
    resolved_us: int | None
    resolution: str | None


class Message(msgspec.Struct, kw_only=True):
    """What goes to a channel: some alerts (`more` is how many it does not list), or a test."""

    kind: Literal["alerts", "test"] = "alerts"
    notes: list[Note] = []
    more: int = 0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule's metric is for one subject. `value` is None where there is too little to judge.

    `window_us` is set where one subject alerts once per window (a budget); `threshold` and `severity` where the
    subject brings its own. `detail` ends the summary.
    """

    subject: str
    value: int | None
    tenant: str | None = None
    window_us: int | None = None
    threshold: int | None = None
    severity: Severity | None = None
    detail: str = ""


class Counts(msgspec.Struct, frozen=True):
    """How things stand, for metrics and the navigation: open alerts by tenant (None: of no tenant), and messages."""

    open: dict[str | None, int] = {}
    pending: int = 0
    failing: int = 0
