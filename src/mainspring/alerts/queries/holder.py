"""Who evaluates and sends: the holder of the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.store.types import Connection

_LEASE = "watch"


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
