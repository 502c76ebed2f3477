"""What the statements about answers have in common: columns, filters, and the time in an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.ids import lowest_id
from mainspring.ledger.tables import DIMENSIONS
from mainspring.ledger.types import Attempt, Inference

if TYPE_CHECKING:
    from mainspring.ledger.types import LedgerFilter
    from mainspring.store.types import Row

#: The columns of an answer: their names, and as a statement lists them.
FIELDS = Inference.__struct_fields__
COLUMNS = ", ".join(f'"{name}"' for name in FIELDS)
_ATTEMPTS = msgspec.json.Decoder(list[Attempt])
_FAILED = "(status >= 400 OR error IS NOT NULL)"
#: What a filter on the status compares.
STATUS = {"ok": f"NOT {_FAILED} AND NOT cut", "error": _FAILED, "cut": "cut"}
#: Columns that have an index, the most selective first as far as one can tell.
SELECTIVE = ("session", "user", "key_id")
#: Where time ends for ids: the largest millisecond that they hold.
FOREVER_US = ((1 << 48) - 1) * 1000


def id_bounds(where: LedgerFilter) -> tuple[str, str]:
    """The ids between which a filter's time lies."""
    low = lowest_id((where.since_us or 0) / 1_000_000)
    high = lowest_id((FOREVER_US if where.until_us is None else where.until_us) / 1_000_000)
    return low, high


def conditions(where: LedgerFilter) -> tuple[str, dict[str, Any]]:
    """Everything but time, as ` AND ...`, of rows that are looked up by something else than these columns."""
    sql = ""
    parameters: dict[str, Any] = {}
    for name in (*SELECTIVE, *DIMENSIONS):
        value = getattr(where, name)
        if value is None:
            continue
        # An expression keeps the planner from an index whose column would match half of the ledger.
        sql += f" AND \"{name}\" || '' = :{name}" if name in SELECTIVE else f' AND "{name}" = :{name}'
        parameters[name] = value
    if where.status is not None:
        sql += f" AND {STATUS[where.status]}"
    return sql, parameters


def inference(row: Row) -> Inference:
    """An answer from a row that begins with `COLUMNS`."""
    fields = dict(zip(FIELDS, row, strict=False))
    fields["stream"], fields["cut"] = bool(fields["stream"]), bool(fields["cut"])
    fields["attempts"] = _ATTEMPTS.decode(fields["attempts"]) if fields["attempts"] else []
    for name in ("tags", "extra"):
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name])
    return Inference(**fields)


def instant_of(request_id: str) -> int:
    """The Unix microsecond of an id; of one that is no id of ours, the beginning of time."""
    try:
        return int(request_id[:8] + request_id[9:13], 16) * 1000
    except ValueError:
        return 0
