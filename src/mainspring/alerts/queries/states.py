"""Alerts and silences: what is wrong, who knows, and what nobody wants to hear of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.alerts.types import Alert, Counts, Silence, Silences

if TYPE_CHECKING:
    from mainspring.alerts.types import AlertFilter
    from mainspring.store.types import Connection, Row

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

_FIELDS = Alert.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_VALUES = ", ".join(f":{field}" for field in _FIELDS)
_STATES = {"open": "resolved_us IS NULL", "resolved": "resolved_us IS NOT NULL"}


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
