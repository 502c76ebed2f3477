"""The configurations that were in force, and whether the ledger takes writes at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.store.types import Connection


def add_config(connection: Connection, config_hash: str, document: bytes, now_us: int) -> None:
    """Store a configuration, if it is new."""
    connection.run(
        "INSERT INTO config_snapshots (config_hash, created_us, document) VALUES (:hash, :now, :document)"
        " ON CONFLICT (config_hash) DO NOTHING",
        hash=config_hash,
        now=now_us,
        document=document,
    )


def config(connection: Connection, config_hash: str) -> bytes | None:
    """A configuration that was in force."""
    row = connection.one("SELECT document FROM config_snapshots WHERE config_hash = :hash", hash=config_hash)
    return bytes(row[0]) if row else None


def delete_nothing(connection: Connection) -> None:
    """What only a database that may be written lets pass."""
    connection.run("DELETE FROM config_snapshots WHERE 1 = 0")
