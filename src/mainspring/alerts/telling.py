"""What goes into messages: decided from the rows, inside the transaction that changes them.

Whether an alert was told stands in its row, so nothing depends on who was there when it opened: an alert that is silenced
is told when the silence ends, and one that opens while a process dies is told by the next. Everything that comes up
for a channel before its message goes out is gathered into that message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mainspring.alerts import messages, queries
from mainspring.alerts.types import Delivery
from mainspring.base.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mainspring.alerts.rules import Rule
    from mainspring.alerts.types import Alert, Event, Silence
    from mainspring.store import Connection


class Manners(NamedTuple):
    """How messages are sent; durations in microseconds."""

    group_us: int
    remind_us: int | None
    resolved: bool


def tell(
    connection: Connection,
    alerts: Iterable[Alert],
    rules: Mapping[str, Rule],
    manners: Manners,
    now_us: int,
) -> int:
    """Put what is to be told of these alerts into messages, and note in their rows that it was.

    Returns:
        How many events went into messages.
    """
    silences = queries.silences(connection, now_us)
    told = 0
    for alert in alerts:
        event = _event(alert, silences.of(alert), manners, now_us)
        if event is None:
            continue
        rule = rules.get(alert.rule)
        if rule is None or not rule.channels:
            continue
        for channel in rule.channels:
            _gather(connection, channel, alert, event, group_us=manners.group_us, now_us=now_us)
        alert.told, alert.told_us = event, now_us
        queries.update(connection, alert)
        told += 1
    return told


def _event(alert: Alert, silence: Silence | None, manners: Manners, now_us: int) -> Event | None:
    """What there is to tell, if anything."""
    if silence is not None:
        return None
    if alert.resolved_us is not None:
        return "resolved" if alert.told not in {None, "resolved"} and manners.resolved else None
    if alert.told is None:
        if alert.acknowledged_us is not None:
            return None
        return "opened" if alert.told_us is None else "raised"
    if manners.remind_us is None or alert.acknowledged_us is not None or alert.told_us is None:
        return None
    return "reminder" if now_us - alert.told_us >= manners.remind_us else None


def _gather(
    connection: Connection, channel: str, alert: Alert, event: Event, *, group_us: int, now_us: int
) -> None:
    note = messages.note_of(alert, event)
    waiting = queries.gathering(connection, channel)
    if waiting is not None and queries.extend(
        connection, waiting.id, messages.gathered(waiting.body, note), waiting.alerts + 1
    ):
        queries.mention(connection, alert.id, waiting.id, event)
        return
    before = queries.last_sent(connection, channel)
    due_us = now_us if before is None or before > now_us else max(now_us, before + group_us)
    # A channel that is away gets one message more with each attempt at an older one, not one for each group.
    due_us = max(due_us, queries.next_retry(connection, channel) or 0)
    delivery = Delivery(
        id=new_id(),
        channel=channel,
        state="pending",
        body=messages.gathered(None, note),
        alerts=1,
        created_us=now_us,
        due_us=due_us,
    )
    queries.add_delivery(connection, delivery)
    queries.mention(connection, alert.id, delivery.id, event)
