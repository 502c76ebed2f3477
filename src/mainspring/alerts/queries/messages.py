"""Messages about alerts: what they say, when they are sent, and how that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.alerts.types import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.alerts.types import DeliveryState
    from mainspring.store.types import Connection, Row

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

_FIELDS = Delivery.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_VALUES = ", ".join(f":{field}" for field in _FIELDS)


def gathering(connection: Connection, channel: str) -> Delivery | None:
    """The message of a channel that nobody has tried to send yet."""
    row = connection.one(
        f"SELECT {_COLUMNS} FROM alert_deliveries"
        " WHERE state = 'pending' AND channel = :channel AND attempts = 0 ORDER BY id LIMIT 1",
        channel=channel,
    )
    return None if row is None else _delivery(row)


def extend(connection: Connection, delivery_id: str, body: str, alerts: int) -> bool:
    """Change the contents of a message, unless sending has begun meanwhile."""
    changed = connection.run(
        "UPDATE alert_deliveries SET body = :body, alerts = :alerts"
        " WHERE id = :id AND state = 'pending' AND attempts = 0",
        id=delivery_id,
        body=body,
        alerts=alerts,
    )
    return changed == 1


def add_delivery(connection: Connection, delivery: Delivery) -> None:
    """Store a message."""
    connection.run(
        f"INSERT INTO alert_deliveries ({_COLUMNS}) VALUES ({_VALUES})",
        **msgspec.structs.asdict(delivery),
    )


def mention(connection: Connection, alert_id: str, delivery_id: str, event: str) -> None:
    """Note that a message tells of an alert."""
    connection.run(
        "INSERT INTO alert_mentions (alert_id, delivery_id, event) VALUES (:alert, :delivery, :event)"
        " ON CONFLICT (alert_id, delivery_id, event) DO NOTHING",
        alert=alert_id,
        delivery=delivery_id,
        event=event,
    )


def last_sent(connection: Connection, channel: str) -> int | None:
    """When the newest message of a channel that was tried at all was tried."""
    row = connection.one(
        "SELECT attempted_us FROM alert_deliveries WHERE channel = :channel AND attempts > 0"
        " ORDER BY id DESC LIMIT 1",
        channel=channel,
    )
    return None if row is None or row[0] is None else int(row[0])


def next_retry(connection: Connection, channel: str) -> int | None:
    """When a message that the channel was not there for is tried again."""
    row = connection.one(
        "SELECT min(due_us) FROM alert_deliveries"
        " WHERE state = 'pending' AND channel = :channel AND attempts > 0 AND NOT refused AND error IS NOT NULL",
        channel=channel,
    )
    return None if row is None or row[0] is None else int(row[0])


def due(connection: Connection, now_us: int) -> dict[str, list[str]]:
    """Ids of the messages whose time has come, by channel, oldest first."""
    found: dict[str, list[str]] = {}
    for channel, delivery_id in connection.rows(
        "SELECT channel, id FROM alert_deliveries WHERE state = 'pending' AND due_us <= :now ORDER BY id",
        now=now_us,
    ):
        found.setdefault(channel, []).append(delivery_id)
    return found


def claim(connection: Connection, delivery_id: str, now_us: int, until_us: int) -> Delivery | None:
    """Begin an attempt, unless somebody else has; if it comes to no end, the next one is due at `until_us`."""
    row = connection.one(
        "UPDATE alert_deliveries SET attempts = attempts + 1, attempted_us = :now, due_us = :until"
        f" WHERE id = :id AND state = 'pending' AND due_us <= :now RETURNING {_COLUMNS}",
        id=delivery_id,
        now=now_us,
        until=until_us,
    )
    return None if row is None else _delivery(row)


def settle(
    connection: Connection,
    delivery_id: str,
    attempt: int,
    *,
    state: DeliveryState,
    due_us: int,
    refused: bool,
    error: str | None,
) -> None:
    """Note how an attempt ended, unless a later one has begun."""
    connection.run(
        "UPDATE alert_deliveries SET state = :state, due_us = :due, refused = :refused, error = :error"
        " WHERE id = :id AND attempts = :attempt AND state = 'pending'",
        id=delivery_id,
        attempt=attempt,
        state=state,
        due=due_us,
        refused=refused,
        error=error,
    )


def taken(connection: Connection, delivery: Delivery, now_us: int) -> None:
    """A message was taken. So the channel is back: try now what it was not there for."""
    settle(connection, delivery.id, delivery.attempts, state="sent", due_us=now_us, refused=False, error=None)
    connection.run(
        "UPDATE alert_deliveries SET due_us = :now"
        " WHERE state = 'pending' AND channel = :channel AND attempts > 0 AND NOT refused AND due_us > :now"
        " AND error IS NOT NULL",
        channel=delivery.channel,
        now=now_us,
    )


def release(connection: Connection, claim_us: int, now_us: int) -> None:
    """Try again at once what a process that is gone was sending: its claims were not settled."""
    connection.run(
        "UPDATE alert_deliveries SET due_us = :now"
        " WHERE state = 'pending' AND attempts > 0 AND due_us = attempted_us + :claim",
        now=now_us,
        claim=claim_us,
    )


def abandon(connection: Connection, channels: Iterable[str], reason: str) -> int:
    """Give up the messages of every channel but these."""
    kept = list(channels)
    condition = "".join(f" AND channel <> :c{number}" for number in range(len(kept)))
    return connection.run(
        f"UPDATE alert_deliveries SET state = 'failed', error = :reason WHERE state = 'pending'{condition}",
        reason=reason,
        **{f"c{number}": channel for number, channel in enumerate(kept)},
    )


def deliveries(
    connection: Connection, *, alert_id: str | None, channel: str | None, limit: int, after: str | None
) -> list[Delivery]:
    """Messages, newest first; only those about an alert, or to a channel."""
    condition = ""
    parameters: dict[str, Any] = {}
    if alert_id is not None:
        condition += " AND id IN (SELECT delivery_id FROM alert_mentions WHERE alert_id = :alert)"
        parameters["alert"] = alert_id
    if channel is not None:
        condition += " AND channel = :channel"
        parameters["channel"] = channel
    if after is not None:
        condition += " AND id < :after"
        parameters["after"] = after
    rows = connection.rows(
        f"SELECT {_COLUMNS} FROM alert_deliveries WHERE id > ''{condition} ORDER BY id DESC LIMIT :most",
        most=limit,
        **parameters,
    )
    return [_delivery(row) for row in rows]


def _delivery(row: Row) -> Delivery:
    values = dict(zip(_FIELDS, row, strict=True))
    values["refused"] = bool(values["refused"])
    return Delivery(**values)
