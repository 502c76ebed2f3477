"""What is left of a budget, and who holds how much of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.budgets import windows
from mainspring.budgets.queries.definitions import LIVE, by_id, count
from mainspring.budgets.types import Room

if TYPE_CHECKING:
    from mainspring.budgets.types import Budget
    from mainspring.store.types import Connection


def lock(connection: Connection, budget_id: str) -> Budget | None:
    """The budget as it is, with its grants waiting for us; None where it is gone."""
    changed = connection.run(
        f"UPDATE budgets SET grants = grants + 1 WHERE id = :id AND {LIVE}",  # noqa: S608 - a constant of ours
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
    rows = connection.rows(f"SELECT id, recalls FROM budgets WHERE {LIVE}")  # noqa: S608 - a constant of ours
    return {row[0]: int(row[1]) for row in rows}
