"""The processes that hold leases: who lives, and who was taken off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.budgets.types import Holder

if TYPE_CHECKING:
    from mainspring.store.types import Connection


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
