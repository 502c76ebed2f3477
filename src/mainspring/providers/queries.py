"""Every statement about drained providers and ages of secrets. Each takes an open connection; the caller commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.providers.types import Drain

if TYPE_CHECKING:
    from mainspring.store.types import Connection

#: Values of one secret that are remembered; a rotation back to an older one keeps its age.
_VALUES = 8


def version(connection: Connection) -> int:
    """The number of changes to drains so far; 0 before the first."""
    row = connection.one("SELECT value FROM versions WHERE name = 'providers'")
    return int(row[0]) if row else 0


def drains(connection: Connection) -> list[Drain]:
    """Everything that is out of use."""
    return [
        Drain(*row)
        for row in connection.rows(
            "SELECT provider, key, since_us, by, reason FROM provider_drains ORDER BY provider, key"
        )
    ]


def drain(connection: Connection, drain: Drain) -> None:
    """Take out of use; one that is out already keeps its time and gets the new reason."""
    connection.run(
        "INSERT INTO provider_drains (provider, key, since_us, by, reason)"
        " VALUES (:provider, :key, :since_us, :by, :reason)"
        " ON CONFLICT (provider, key) DO UPDATE SET by = :by, reason = :reason",
        provider=drain.provider,
        key=drain.key,
        since_us=drain.since_us,
        by=drain.by,
        reason=drain.reason,
    )
    _count(connection)


def undrain(connection: Connection, provider: str, key: str) -> bool:
    """Take back into use; returns whether it was out."""
    found = connection.run(
        "DELETE FROM provider_drains WHERE provider = :provider AND key = :key", provider=provider, key=key
    )
    if found:
        _count(connection)
    return bool(found)


def secret_values(connection: Connection, reference: str) -> list[tuple[bytes, bytes, int]]:
    """The known values of a secret: keyed hash, its key, and when it was seen first; newest first."""
    return [
        (bytes(fingerprint), bytes(salt), int(first))
        for fingerprint, salt, first in connection.rows(
            "SELECT fingerprint, salt, first_seen_us FROM secret_ages"
            " WHERE reference = :reference ORDER BY first_seen_us DESC",
            reference=reference,
        )
    ]


def add_secret_value(
    connection: Connection, reference: str, fingerprint: bytes, salt: bytes, first_seen_us: int
) -> None:
    """Remember a value of a secret, and forget the oldest of many."""
    for old, _, _ in secret_values(connection, reference)[_VALUES - 1 :]:
        connection.run(
            "DELETE FROM secret_ages WHERE reference = :reference AND fingerprint = :fingerprint",
            reference=reference,
            fingerprint=old,
        )
    connection.run(
        "INSERT INTO secret_ages (reference, fingerprint, salt, first_seen_us)"
        " VALUES (:reference, :fingerprint, :salt, :first_seen_us) ON CONFLICT DO NOTHING",
        reference=reference,
        fingerprint=fingerprint,
        salt=salt,
        first_seen_us=first_seen_us,
    )


def _count(connection: Connection) -> None:
    connection.run(
        "INSERT INTO versions (name, value) VALUES ('providers', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = versions.value + 1"
    )
