"""What budgets there are, and what they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.budgets.types import Budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.store.types import Connection

_FIELDS = Budget.__struct_fields__
_COLUMNS = ", ".join(f'"{field}"' for field in _FIELDS)
#: Which budgets count.
LIVE = "deleted_us IS NULL"
#: What of a budget may be otherwise later.
CHANGEABLE = ("name", "nusd", "tokens", "policy", "step_down", "queue_seconds", "thresholds")


def versions(connection: Connection) -> tuple[int, int]:
    """The numbers of changes to budgets, and of recalls, so far."""
    rows = connection.rows("SELECT name, value FROM versions WHERE name IN ('budgets', 'budget_recalls')")
    found = {row[0]: int(row[1]) for row in rows}
    return found.get("budgets", 0), found.get("budget_recalls", 0)


def count(connection: Connection, name: str) -> None:
    """Count a change, so that every process looks within half a second."""
    connection.run(
        "INSERT INTO versions (name, value) VALUES (:name, 1)"
        " ON CONFLICT (name) DO UPDATE SET value = versions.value + 1",
        name=name,
    )


def live(connection: Connection) -> list[Budget]:
    """All budgets that count."""
    return list(map(_budget, connection.rows(f"SELECT {_COLUMNS} FROM budgets WHERE {LIVE} ORDER BY id")))  # noqa: S608 - names from our own type


def by_id(connection: Connection, budget_id: str, tenant: str | None = None) -> Budget | None:
    """The budget with this id, if it is there and of that tenant."""
    where, parameters = _within(tenant)
    row = connection.one(
        f"SELECT {_COLUMNS} FROM budgets WHERE id = :id AND {LIVE}{where}",  # noqa: S608 - as above
        id=budget_id,
        **parameters,
    )
    return _budget(row) if row else None


def page(connection: Connection, *, tenant: str | None, limit: int, after: str | None) -> list[Budget]:
    """Budgets, newest first, older than the one whose id is `after`."""
    where, parameters = _within(tenant)
    if after is not None:
        where += " AND id < :after"
        parameters["after"] = after
    rows = connection.rows(
        f"SELECT {_COLUMNS} FROM budgets WHERE {LIVE}{where} ORDER BY id DESC LIMIT :most",  # noqa: S608 - as above
        most=limit,
        **parameters,
    )
    return list(map(_budget, rows))


def add(connection: Connection, budget: Budget) -> bool:
    """Store a new budget; False where there is, or was, one with this id."""
    values = ", ".join(f":{field}" for field in _FIELDS)
    added = connection.run(
        f"INSERT INTO budgets ({_COLUMNS}) VALUES ({values}) ON CONFLICT (id) DO NOTHING",  # noqa: S608 - as above
        **_parameters(budget),
    )
    if added:
        count(connection, "budgets")
    return bool(added)


def start(connection: Connection, budget_id: str, starts_us: int) -> None:
    """Let a budget count from another instant on."""
    connection.run("UPDATE budgets SET starts_us = :starts WHERE id = :id", starts=starts_us, id=budget_id)
    count(connection, "budgets")


def change(connection: Connection, budget: Budget) -> None:
    """Put other caps, policy, thresholds or another name in force."""
    connection.run(
        f"UPDATE budgets SET {', '.join(f'{name} = :{name}' for name in CHANGEABLE)} WHERE id = :id",  # noqa: S608 - as above
        **{name: value for name, value in _parameters(budget).items() if name in {*CHANGEABLE, "id"}},
    )
    count(connection, "budgets")


def delete(connection: Connection, budget_id: str, now_us: int) -> None:
    """Let a budget count no more. Its row stays, so that a key's own does not come again."""
    connection.run(
        f"UPDATE budgets SET deleted_us = :now WHERE id = :id AND {LIVE}",  # noqa: S608 - a constant of ours
        now=now_us,
        id=budget_id,
    )
    connection.run("DELETE FROM budget_leases WHERE budget_id = :id", id=budget_id)
    count(connection, "budgets")


def keys_without_budget(connection: Connection) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Keys whose settings name a budget that was never made: first of their line, name, tenant, settings."""
    rows = connection.rows(
        "SELECT COALESCE(origin, id), name, tenant, settings FROM keys WHERE settings LIKE '%\"budget\"%'"
        " AND revoked_us IS NULL AND COALESCE(origin, id) NOT IN (SELECT id FROM budgets) ORDER BY id"
    )
    return [(row[0], row[1], row[2], msgspec.json.decode(row[3])) for row in rows]


def key_of(connection: Connection, key_id: str) -> tuple[str, str] | None:
    """The first of a key's line, and its tenant."""
    row = connection.one("SELECT COALESCE(origin, id), tenant FROM keys WHERE id = :id", id=key_id)
    return (row[0], row[1]) if row else None


def _within(tenant: str | None) -> tuple[str, dict[str, Any]]:
    return ("", {}) if tenant is None else (" AND tenant = :tenant", {"tenant": tenant})


def _parameters(budget: Budget) -> dict[str, Any]:
    row = msgspec.structs.asdict(budget)
    row["thresholds"] = msgspec.json.encode(budget.thresholds).decode()
    return row


def _budget(row: Sequence[Any]) -> Budget:
    values = dict(zip(_FIELDS, row, strict=True))
    values["thresholds"] = tuple(msgspec.json.decode(values["thresholds"]))
    return Budget(**values)
