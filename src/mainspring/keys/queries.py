"""Every statement about keys. Each function takes an open connection and leaves the transaction to its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.keys.types import Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.store.types import Connection, Row

_FIELDS = Key.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
#: How many rows are read at once when the snapshot is filled.
_BATCH = 5000


def version(connection: Connection) -> int:
    """The number of changes to keys so far; 0 before the first."""
    row = connection.one("SELECT value FROM versions WHERE name = 'keys'")
    return int(row[0]) if row else 0


def next_version(connection: Connection) -> int:
    """Count a change and return its number.

    The counter's row stays locked until the transaction ends, so changes to keys happen one after the other and
    a reader that has seen version N has seen every change up to N.
    """
    row = connection.one(
        "INSERT INTO versions (name, value) VALUES ('keys', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = versions.value + 1 RETURNING value"
    )
    assert row is not None, "RETURNING returns the row that it wrote"
    return int(row[0])


def add(connection: Connection, key: Key) -> None:
    """Store a new key."""
    values = ", ".join(f":{field}" for field in _FIELDS)
    connection.run(
        f"INSERT INTO keys ({_COLUMNS}, changed) VALUES ({values}, :changed)",  # noqa: S608 - names from our own type
        **_parameters(key),
        changed=next_version(connection),
    )


def end(connection: Connection, key_id: str, *, expires_us: int | None, replaced_by: str | None) -> None:
    """Let a key expire at an instant because another one takes its place."""
    connection.run(
        "UPDATE keys SET expires_us = :expires_us, replaced_by = :replaced_by, changed = :changed WHERE id = :id",
        expires_us=expires_us,
        replaced_by=replaced_by,
        changed=next_version(connection),
        id=key_id,
    )


def revoke(connection: Connection, key_id: str, now_us: int) -> None:
    """Stop a key for good."""
    connection.run(
        "UPDATE keys SET revoked_us = :now, changed = :changed WHERE id = :id",
        now=now_us,
        changed=next_version(connection),
        id=key_id,
    )


def by_id(connection: Connection, key_id: str, tenant: str | None = None) -> Key | None:
    """The key with this id, if it is there and of that tenant."""
    where, parameters = _within(tenant)
    row = connection.one(f"SELECT {_COLUMNS} FROM keys WHERE id = :id{where}", id=key_id, **parameters)  # noqa: S608 - names from our own type
    return _key(row) if row else None


def by_digest(connection: Connection, digest: bytes) -> Key | None:
    """The key whose secret has this SHA-256."""
    row = connection.one(f"SELECT {_COLUMNS} FROM keys WHERE digest = :digest", digest=digest)  # noqa: S608 - as above
    return _key(row) if row else None


def page(connection: Connection, *, tenant: str | None, limit: int, after: str | None) -> list[Key]:
    """Keys, newest first, older than the one whose id is `after`."""
    where, parameters = _within(tenant)
    if after is not None:
        where += " AND id < :after"
        parameters["after"] = after
    rows = connection.rows(
        f"SELECT {_COLUMNS} FROM keys WHERE id > ''{where} ORDER BY id DESC LIMIT :most",  # noqa: S608 - as above
        most=limit,
        **parameters,
    )
    return list(map(_key, rows))


def changed_since(connection: Connection, seen: int) -> tuple[int, list[Key]]:
    """The version now, and every key that changed after version `seen`."""
    now = version(connection)
    found: list[Key] = []
    changed, last = seen + 1, ""
    while True:
        rows = connection.rows(
            f"SELECT {_COLUMNS}, changed FROM keys"  # noqa: S608 - names from our own type
            " WHERE changed >= :changed AND (changed > :changed OR id > :last) ORDER BY changed, id LIMIT :most",
            changed=changed,
            last=last,
            most=_BATCH,
        )
        found.extend(_key(row) for row in rows)
        if len(rows) < _BATCH:
            return now, found
        changed, last = rows[-1][-1], rows[-1][0]


def any_admin(connection: Connection, now_us: int) -> bool:
    """Whether an admin key is in force."""
    row = connection.one(
        "SELECT id FROM keys WHERE role = 'admin' AND revoked_us IS NULL"
        " AND (expires_us IS NULL OR expires_us > :now) LIMIT 1",
        now=now_us,
    )
    return row is not None


def note_used(connection: Connection, used: Sequence[tuple[str, int]]) -> None:
    """Store when keys were last used, as `(id, microseconds)`. Never goes back, and is no change of the key."""
    for key_id, used_us in used:
        connection.run(
            "UPDATE keys SET last_used_us = :used WHERE id = :id AND (last_used_us IS NULL OR last_used_us < :used)",
            used=used_us,
            id=key_id,
        )


def _within(tenant: str | None) -> tuple[str, dict[str, Any]]:
    return ("", {}) if tenant is None else (" AND tenant = :tenant", {"tenant": tenant})


def _parameters(key: Key) -> dict[str, Any]:
    row = msgspec.structs.asdict(key)
    for field in ("models", "settings"):
        row[field] = None if row[field] is None else msgspec.json.encode(row[field]).decode()
    return row


def _key(row: Row) -> Key:
    values = dict(zip(_FIELDS, row, strict=False))
    values["digest"] = bytes(values["digest"])
    values["payloads"] = None if values["payloads"] is None else bool(values["payloads"])
    for field in ("models", "settings"):
        values[field] = None if values[field] is None else msgspec.json.decode(values[field])
    return Key(**values)
