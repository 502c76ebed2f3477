"""Every statement about budgets. Each function takes an open connection and leaves the transaction to its caller.

Locks are taken in one order: the budget, then the holder, then its leases. What was spent is written by the ledger's
recorder, which takes neither of the first two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.ids import lowest_id
from mainspring.budgets import windows
from mainspring.budgets.types import Budget, Holder, Room

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mainspring.store.types import Connection, Row

_FIELDS = Budget.__struct_fields__
_COLUMNS = ", ".join(f'"{field}"' for field in _FIELDS)
_LIVE = "deleted_us IS NULL"
#: What of a budget may be otherwise later.
CHANGEABLE = ("name", "nusd", "tokens", "policy", "step_down", "queue_seconds", "thresholds")


# What budgets there are


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
    return list(map(_budget, connection.rows(f"SELECT {_COLUMNS} FROM budgets WHERE {_LIVE} ORDER BY id")))  # noqa: S608 - names from our own type


def by_id(connection: Connection, budget_id: str, tenant: str | None = None) -> Budget | None:
    """The budget with this id, if it is there and of that tenant."""
    where, parameters = _within(tenant)
    row = connection.one(
        f"SELECT {_COLUMNS} FROM budgets WHERE id = :id AND {_LIVE}{where}",  # noqa: S608 - as above
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
        f"SELECT {_COLUMNS} FROM budgets WHERE {_LIVE}{where} ORDER BY id DESC LIMIT :most",  # noqa: S608 - as above
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
        f"UPDATE budgets SET deleted_us = :now WHERE id = :id AND {_LIVE}",  # noqa: S608 - a constant of ours
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


# What is left


def lock(connection: Connection, budget_id: str) -> Budget | None:
    """The budget as it is, with its grants waiting for us; None where it is gone."""
    changed = connection.run(
        f"UPDATE budgets SET grants = grants + 1 WHERE id = :id AND {_LIVE}",  # noqa: S608 - a constant of ours
        id=budget_id,
    )
    return by_id(connection, budget_id) if changed else None


def room(connection: Connection, budget: Budget, room_us: int, now_us: int, holder: str) -> Room:
    """What was spent and what is held, seen at one instant.

    One statement: a row that is settled between two would be seen in neither place.
    """
    row = connection.one(
        "SELECT s.nusd, s.tokens, l.nusd, l.tokens, l.others FROM"
        " (SELECT CAST(COALESCE(SUM(nusd), 0) AS BIGINT) AS nusd, CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS tokens"
        "  FROM budget_spent WHERE budget_id = :id AND bucket_us >= :low AND bucket_us <= :high) AS s,"
        " (SELECT CAST(COALESCE(SUM(CASE WHEN nusd > 0 THEN nusd ELSE 0 END), 0) AS BIGINT) AS nusd,"
        "  CAST(COALESCE(SUM(CASE WHEN tokens > 0 THEN tokens ELSE 0 END), 0) AS BIGINT) AS tokens,"
        "  COUNT(CASE WHEN holder <> :holder AND (nusd > 0 OR tokens > 0) THEN 1 END) AS others"
        "  FROM budget_leases WHERE budget_id = :id AND room_us = :room) AS l",
        id=budget.id,
        low=windows.lowest_bucket(budget, room_us, now_us),
        high=windows.highest_bucket(budget, room_us),
        room=room_us,
        holder=holder,
    )
    assert row is not None, "sums are one row"
    return Room(*map(int, row))


def own_lease(connection: Connection, budget_id: str, room_us: int, holder: str) -> tuple[int, int]:
    """What one process holds; below nothing where calls have cost more than they had reserved."""
    row = connection.one(
        "SELECT nusd, tokens FROM budget_leases WHERE budget_id = :id AND room_us = :room AND holder = :holder",
        id=budget_id,
        room=room_us,
        holder=holder,
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


def add_lease(connection: Connection, key: tuple[str, int, str], nusd: int, tokens: int) -> None:
    """Give a process more, or take from it."""
    connection.run(
        "INSERT INTO budget_leases (budget_id, room_us, holder, nusd, tokens)"
        " VALUES (:id, :room, :holder, :nusd, :tokens) ON CONFLICT (budget_id, room_us, holder) DO UPDATE"
        " SET nusd = budget_leases.nusd + excluded.nusd, tokens = budget_leases.tokens + excluded.tokens",
        id=key[0],
        room=key[1],
        holder=key[2],
        nusd=nusd,
        tokens=tokens,
    )


def end_lease(connection: Connection, key: tuple[str, int, str]) -> None:
    """Take back all that a process holds of a budget."""
    connection.run(
        "DELETE FROM budget_leases WHERE budget_id = :id AND room_us = :room AND holder = :holder",
        id=key[0],
        room=key[1],
        holder=key[2],
    )


def recall(connection: Connection, budget_id: str) -> None:
    """Ask every process to give back what it does not need."""
    connection.run("UPDATE budgets SET recalls = recalls + 1 WHERE id = :id", id=budget_id)
    count(connection, "budget_recalls")


def recalls(connection: Connection) -> dict[str, int]:
    """How often each budget was recalled."""
    rows = connection.rows(f"SELECT id, recalls FROM budgets WHERE {_LIVE}")  # noqa: S608 - a constant of ours
    return {row[0]: int(row[1]) for row in rows}


# Who holds


def join(connection: Connection, holder: Holder) -> None:
    """Announce a process."""
    connection.run(
        "INSERT INTO budget_holders (id, host, pid, started, beat) VALUES (:id, :host, :pid, :started, :beat)",
        **holder._asdict(),
    )


def holders(connection: Connection) -> list[Holder]:
    """All processes that were announced and not taken off."""
    rows = connection.rows("SELECT id, host, pid, started, beat FROM budget_holders ORDER BY id")
    return [Holder(row[0], row[1], int(row[2]), row[3], int(row[4])) for row in rows]


def beat(connection: Connection, holder: str) -> bool:
    """Show that a process lives. False where it was taken for dead."""
    return connection.run("UPDATE budget_holders SET beat = beat + 1 WHERE id = :id", id=holder) > 0


def leave(connection: Connection, holder: str, seen: int | None = None) -> bool:
    """Take a process off the list, and its leases back.

    Args:
        connection: in a transaction.
        holder: its id.
        seen: only if it has not shown since that it lives.
    """
    condition = "" if seen is None else " AND beat = :beat"
    parameters = {} if seen is None else {"beat": seen}
    if not connection.run(f"DELETE FROM budget_holders WHERE id = :id{condition}", id=holder, **parameters):  # noqa: S608 - a constant of ours
        return False
    connection.run("DELETE FROM budget_leases WHERE holder = :id", id=holder)
    return True


def clear_orphans(connection: Connection) -> int:
    """Remove leases of processes that were taken off: what they have settled since stands there below nothing."""
    return connection.run("DELETE FROM budget_leases WHERE holder NOT IN (SELECT id FROM budget_holders)")


# How budgets stand


def spent(connection: Connection, budget: Budget, room_us: int, now_us: int) -> tuple[int, int, int]:
    """What was spent in the window that is about an instant: nano-dollars, tokens, answers."""
    row = connection.one(
        "SELECT COALESCE(SUM(nusd), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(answers), 0) FROM budget_spent"
        " WHERE budget_id = :id AND bucket_us >= :low AND bucket_us <= :high",
        id=budget.id,
        low=windows.lowest_bucket(budget, room_us, now_us),
        high=windows.highest_bucket(budget, room_us),
    )
    assert row is not None, "sums are one row"
    return int(row[0]), int(row[1]), int(row[2])


def spent_of(
    connection: Connection, budget_ids: Sequence[str], low_us: int, high_us: int
) -> dict[str, tuple[int, int, int]]:
    """What several budgets have spent between two slices, both counted: nano-dollars, tokens, answers."""
    return {
        row[0]: (int(row[1]), int(row[2]), int(row[3]))
        for these in _batches(budget_ids)
        for row in connection.rows(
            "SELECT budget_id, SUM(nusd), SUM(tokens), SUM(answers) FROM budget_spent"  # noqa: S608 - names of parameters
            f" WHERE budget_id IN ({_names(these)}) AND bucket_us >= :low AND bucket_us <= :high"
            " GROUP BY budget_id",
            low=low_us,
            high=high_us,
            **these,
        )
    }


def held_of(connection: Connection, budget_ids: Sequence[str], room_us: int) -> dict[str, tuple[int, int]]:
    """What all processes hold of several budgets."""
    return {
        row[0]: (int(row[1]), int(row[2]))
        for these in _batches(budget_ids)
        for row in connection.rows(
            "SELECT budget_id, SUM(CASE WHEN nusd > 0 THEN nusd ELSE 0 END),"  # noqa: S608 - names of parameters
            " SUM(CASE WHEN tokens > 0 THEN tokens ELSE 0 END) FROM budget_leases"
            f" WHERE budget_id IN ({_names(these)}) AND room_us = :room GROUP BY budget_id",
            room=room_us,
            **these,
        )
    }


def crossings_of(
    connection: Connection, budget_ids: Sequence[str], window_us: int
) -> dict[str, tuple[int, ...]]:
    """The thresholds that several budgets have crossed in a window, ascending."""
    found: dict[str, tuple[int, ...]] = {}
    for these in _batches(budget_ids):
        for budget_id, threshold in connection.rows(
            "SELECT budget_id, threshold FROM budget_crossings"  # noqa: S608 - names of parameters
            f" WHERE budget_id IN ({_names(these)}) AND window_us = :window ORDER BY threshold",
            window=window_us,
            **these,
        ):
            found[budget_id] = (*found.get(budget_id, ()), int(threshold))
    return found


def cross(  # noqa: PLR0917 - a row
    connection: Connection,
    budget_id: str,
    window_us: int,
    threshold: int,
    now_us: int,
    nusd: int,
    tokens: int,
) -> bool:
    """Note that a threshold was crossed; False where somebody has done so."""
    return bool(
        connection.run(
            "INSERT INTO budget_crossings (budget_id, window_us, threshold, crossed_us, nusd, tokens)"
            " VALUES (:id, :window, :threshold, :now, :nusd, :tokens)"
            " ON CONFLICT (budget_id, window_us, threshold) DO NOTHING",
            id=budget_id,
            window=window_us,
            threshold=threshold,
            now=now_us,
            nusd=nusd,
            tokens=tokens,
        )
    )


def slices(connection: Connection, budget: Budget, room_us: int, now_us: int) -> list[tuple[int, int, int]]:
    """What was spent in each slice of a window, oldest first: where it begins, nano-dollars, tokens."""
    rows = connection.rows(
        "SELECT bucket_us, nusd, tokens FROM budget_spent"
        " WHERE budget_id = :id AND bucket_us >= :low AND bucket_us <= :high ORDER BY bucket_us",
        id=budget.id,
        low=windows.lowest_bucket(budget, room_us, now_us),
        high=windows.highest_bucket(budget, room_us),
    )
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]


# The sum check


def buckets(connection: Connection, budget_id: str) -> dict[int, tuple[int, int]]:
    """What was counted in each bucket."""
    rows = connection.rows(
        "SELECT bucket_us, nusd, tokens FROM budget_spent WHERE budget_id = :id ORDER BY bucket_us",
        id=budget_id,
    )
    return {int(row[0]): (int(row[1]), int(row[2])) for row in rows}


def ledger_rows(connection: Connection, budget: Budget) -> Iterator[list[Row]]:
    """The rows of the ledger that a budget counts, in batches, oldest first.

    Each is its id, provider, model, nano-dollars, tokens and further facts. Of a budget on a model all rows come that
    may have asked it; which share of them is its own is for `settling.shares_of`.
    """
    conditions, parameters = _matching(budget)
    last = lowest_id(budget.starts_us / 1_000_000)
    while True:
        rows = connection.rows(
            "SELECT id, provider, model, cost_nusd, input_tokens + cache_read_tokens + cache_write_tokens"  # noqa: S608 - conditions of ours
            f" + output_tokens + reasoning_tokens, extra FROM inferences WHERE id > :last{conditions}"
            " ORDER BY id LIMIT 5000",
            last=last,
            **parameters,
        )
        if rows:
            last = rows[-1][0]
            yield rows
        if len(rows) < 5000:  # noqa: PLR2004 - the batch above
            return


def _matching(budget: Budget) -> tuple[str, dict[str, Any]]:
    conditions, parameters = "", {}
    if budget.tenant is not None:
        conditions, parameters = " AND tenant = :tenant", {"tenant": budget.tenant}
    match budget.kind:
        case "key":
            conditions += " AND key_id IN (SELECT id FROM keys WHERE COALESCE(origin, id) = :subject)"
        case "user" | "feature":
            conditions += f' AND "{budget.kind}" = :subject'
        case "model" | "tenant":
            return conditions, parameters
    return conditions, {**parameters, "subject": budget.subject}


def _batches(values: Sequence[str]) -> Iterator[dict[str, str]]:
    """Values as named parameters, as many at a time as a statement takes everywhere."""
    for start in range(0, len(values), 500):
        yield {f"v{index}": value for index, value in enumerate(values[start : start + 500])}


def _names(parameters: dict[str, str]) -> str:
    return ", ".join(f":{name}" for name in parameters)


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
