"""Every statement about alerts. Each function takes an open connection and leaves the transaction to its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.alerts.types import Alert, Counts, Delivery, Silence, Silences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.alerts.types import AlertFilter, DeliveryState
    from mainspring.store.types import Connection, Row

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

_FIELDS = Alert.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_VALUES = ", ".join(f":{field}" for field in _FIELDS)
_DELIVERY_FIELDS = Delivery.__struct_fields__
_DELIVERY_COLUMNS = ", ".join(_DELIVERY_FIELDS)
_DELIVERY_VALUES = ", ".join(f":{field}" for field in _DELIVERY_FIELDS)
_STATES = {"open": "resolved_us IS NULL", "resolved": "resolved_us IS NOT NULL"}
_LEASE = "watch"


# The lease: who evaluates and sends.


def lease(connection: Connection) -> tuple[str, int] | None:
    """Who holds the lease, and its beat."""
    row = connection.one("SELECT holder, beat FROM alert_lease WHERE name = :name", name=_LEASE)
    return None if row is None else (row[0], int(row[1]))


def make_lease(connection: Connection) -> None:
    """See to it that there is a lease, held by nobody at first."""
    connection.run(
        "INSERT INTO alert_lease (name, holder, beat) VALUES (:name, '', 0) ON CONFLICT (name) DO NOTHING",
        name=_LEASE,
    )


def take_lease(connection: Connection, holder: str, seen: tuple[str, int]) -> bool:
    """Take the lease from whoever was seen with it; False if it has moved since."""
    changed = connection.run(
        "UPDATE alert_lease SET holder = :holder, beat = beat + 1"
        " WHERE name = :name AND holder = :before AND beat = :beat",
        name=_LEASE,
        holder=holder,
        before=seen[0],
        beat=seen[1],
    )
    return changed == 1


def beat(connection: Connection, holder: str) -> bool:
    """Show that the holder lives; False if somebody else holds the lease.

    The row stays locked until the transaction ends: what else is in it is done by the holder alone.
    """
    changed = connection.run(
        "UPDATE alert_lease SET beat = beat + 1 WHERE name = :name AND holder = :holder",
        name=_LEASE,
        holder=holder,
    )
    return changed == 1


def give_up_lease(connection: Connection, holder: str) -> None:
    """Let the next one take it at once."""
    connection.run(
        "UPDATE alert_lease SET holder = '' WHERE name = :name AND holder = :holder",
        name=_LEASE,
        holder=holder,
    )


# Alerts.


def open_alerts(connection: Connection) -> list[Alert]:
    """Every open alert, oldest first."""
    rows = connection.rows(f"SELECT {_COLUMNS} FROM alerts WHERE resolved_us IS NULL ORDER BY id")
    return [_alert(row) for row in rows]


def get(connection: Connection, alert_id: str, tenant: str | None) -> Alert | None:
    """One alert, if it is there and of that tenant."""
    row = connection.one(f"SELECT {_COLUMNS} FROM alerts WHERE id = :id", id=alert_id)
    if row is None:
        return None
    found = _alert(row)
    return found if tenant is None or found.tenant == tenant else None


def page(connection: Connection, where: AlertFilter, *, limit: int, after: str | None) -> list[Alert]:
    """Alerts, newest first, older than the one whose id is `after`."""
    condition = ""
    parameters: dict[str, Any] = {}
    for name in ("tenant", "rule", "severity"):
        value = getattr(where, name)
        if value is not None:
            condition += f" AND {name} = :{name}"
            parameters[name] = value
    if where.state is not None:
        condition += f" AND {_STATES[where.state]}"
    if after is not None:
        condition += " AND id < :after"
        parameters["after"] = after
    rows = connection.rows(
        f"SELECT {_COLUMNS} FROM alerts WHERE id > ''{condition} ORDER BY id DESC LIMIT :most",
        most=limit,
        **parameters,
    )
    return [_alert(row) for row in rows]


def add(connection: Connection, alert: Alert) -> Alert:
    """Open an alert; one of the same window that was resolved opens again. Returns what stands there now."""
    connection.run(
        f"INSERT INTO alerts ({_COLUMNS}) VALUES ({_VALUES})"
        " ON CONFLICT (rule, subject, window_us) DO UPDATE SET resolved_us = NULL, resolution = NULL,"
        " clear_us = NULL, value = excluded.value, peak = excluded.peak, threshold = excluded.threshold,"
        " severity = excluded.severity, summary = excluded.summary, acknowledged_us = NULL, acknowledged_by = NULL,"
        " told = NULL, told_us = NULL",
        **msgspec.structs.asdict(alert),
    )
    row = connection.one(
        f"SELECT {_COLUMNS} FROM alerts WHERE rule = :rule AND subject = :subject AND window_us = :window_us",
        rule=alert.rule,
        subject=alert.subject,
        window_us=alert.window_us,
    )
    assert row is not None, "it was inserted just now"
    return _alert(row)


def update(connection: Connection, alert: Alert) -> None:
    """Store what evaluation changes of an alert. Acknowledgements are not evaluation's."""
    connection.run(
        "UPDATE alerts SET severity = :severity, summary = :summary, threshold = :threshold, value = :value,"
        " peak = :peak, clear_us = :clear_us, resolved_us = :resolved_us, resolution = :resolution, told = :told,"
        " told_us = :told_us WHERE id = :id",
        **{
            name: getattr(alert, name)
            for name in (
                "id", "severity", "summary", "threshold", "value", "peak", "clear_us",
                "resolved_us", "resolution", "told", "told_us",
            )
        },
    )  # fmt: skip


def acknowledge(connection: Connection, alert_id: str, who: str, now_us: int) -> None:
    """Note that somebody knows; the first one counts."""
    connection.run(
        "UPDATE alerts SET acknowledged_us = :now, acknowledged_by = :who"
        " WHERE id = :id AND acknowledged_us IS NULL",
        id=alert_id,
        now=now_us,
        who=who,
    )


def unacknowledge(connection: Connection, alert_id: str) -> None:
    """Forget who knew: it is worse now."""
    connection.run(
        "UPDATE alerts SET acknowledged_us = NULL, acknowledged_by = NULL WHERE id = :id", id=alert_id
    )


def counts(connection: Connection) -> Counts:
    """How things stand."""
    tenants = connection.rows("SELECT tenant, count(*) FROM alerts WHERE resolved_us IS NULL GROUP BY tenant")
    row = connection.one(
        "SELECT count(*), coalesce(sum(CASE WHEN error IS NOT NULL THEN 1 ELSE 0 END), 0)"
        " FROM alert_deliveries WHERE state = 'pending'"
    )
    assert row is not None, "sums have a row"
    return Counts(
        open={tenant: int(number) for tenant, number in tenants}, pending=int(row[0]), failing=int(row[1])
    )


# Silences.


def silence(connection: Connection, silence: Silence) -> None:
    """Store a silence, in place of an earlier one of the same subject."""
    connection.run(
        "INSERT INTO alert_silences (rule, subject, until_us, created_us, created_by)"
        " VALUES (:rule, :subject, :until_us, :created_us, :created_by)"
        " ON CONFLICT (rule, subject) DO UPDATE SET until_us = excluded.until_us,"
        " created_us = excluded.created_us, created_by = excluded.created_by",
        **silence._asdict(),
    )


def silences(connection: Connection, now_us: int) -> Silences:
    """What is silent now."""
    rows = connection.rows(
        "SELECT rule, subject, until_us, created_us, created_by FROM alert_silences WHERE until_us > :now",
        now=now_us,
    )
    return Silences({(row[0], row[1]): Silence(*row) for row in rows})


# Messages.


def gathering(connection: Connection, channel: str) -> Delivery | None:
    """The message of a channel that nobody has tried to send yet."""
    row = connection.one(
        f"SELECT {_DELIVERY_COLUMNS} FROM alert_deliveries"
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
        f"INSERT INTO alert_deliveries ({_DELIVERY_COLUMNS}) VALUES ({_DELIVERY_VALUES})",
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
        f" WHERE id = :id AND state = 'pending' AND due_us <= :now RETURNING {_DELIVERY_COLUMNS}",
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
        f"SELECT {_DELIVERY_COLUMNS} FROM alert_deliveries WHERE id > ''{condition} ORDER BY id DESC LIMIT :most",
        most=limit,
        **parameters,
    )
    return [_delivery(row) for row in rows]


def forget(connection: Connection, before_us: int, before_id: str) -> None:
    """Remove what was over before an instant, given also as the lowest id of it."""
    connection.run(
        "DELETE FROM alerts WHERE id < :id AND resolved_us < :before", id=before_id, before=before_us
    )
    connection.run("DELETE FROM alert_mentions WHERE delivery_id < :id", id=before_id)
    connection.run("DELETE FROM alert_deliveries WHERE id < :id AND state <> 'pending'", id=before_id)
    connection.run("DELETE FROM alert_silences WHERE until_us < :before", before=before_us)


def _alert(row: Row) -> Alert:
    return Alert(**dict(zip(_FIELDS, row, strict=True)))


def _delivery(row: Row) -> Delivery:
    values = dict(zip(_DELIVERY_FIELDS, row, strict=True))
    values["refused"] = bool(values["refused"])
    return Delivery(**values)
