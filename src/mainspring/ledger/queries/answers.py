"""One answer, with its payload and what was said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.ledger.queries.rows import COLUMNS, FIELDS, inference
from mainspring.ledger.types import Feedback

if TYPE_CHECKING:
    from mainspring.ledger.types import Inference
    from mainspring.store.types import Connection, Row

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

_TENANT = FIELDS.index("tenant")


def exists(connection: Connection, request_id: str) -> bool:
    """Whether an answer is recorded."""
    return connection.one("SELECT 1 FROM inferences WHERE id = :id", id=request_id) is not None


def get(connection: Connection, request_id: str, tenant: str | None) -> Inference | None:
    """One answer, if it is there and of that tenant."""
    row = connection.one(f"SELECT {COLUMNS} FROM inferences WHERE id = :id", id=request_id)
    if row is None or (tenant is not None and row[_TENANT] != tenant):
        return None
    return inference(row)


def payload(connection: Connection, request_id: str) -> Row | None:
    """(request bytes, response bytes, packed data, blob name) of a payload."""
    return connection.one(
        "SELECT request_bytes, response_bytes, data, blob FROM payloads WHERE id = :id", id=request_id
    )


def add_feedback(connection: Connection, given: Feedback) -> bool:
    """Store feedback, unless its tenant has no such answer; says which."""
    answer = connection.one("SELECT tenant FROM inferences WHERE id = :id", id=given.request_id)
    if answer is None or answer[0] != given.tenant:
        return False
    fields = msgspec.structs.asdict(given)
    fields["value"] = None if given.value is None else msgspec.json.encode(given.value).decode()
    connection.run(
        f"INSERT INTO feedback ({', '.join(fields)}) VALUES ({', '.join(f':{name}' for name in fields)})",
        **fields,
    )
    return True


def feedback(connection: Connection, request_id: str) -> list[Feedback]:
    """What was said of an answer, oldest first."""
    names = Feedback.__struct_fields__
    rows = connection.rows(
        f"SELECT {', '.join(names)} FROM feedback WHERE request_id = :id ORDER BY id", id=request_id
    )
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for fields in found:
        fields["value"] = None if fields["value"] is None else msgspec.json.decode(fields["value"])
    return [Feedback(**fields) for fields in found]
