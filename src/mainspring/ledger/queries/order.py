"""Answers in the order in which they came: for exports by id, for those who follow by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.ledger.queries.rows import COLUMNS, conditions, id_bounds, inference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.ledger.types import Inference, LedgerFilter
    from mainspring.store.types import Connection

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters


def after(connection: Connection, where: LedgerFilter, *, limit: int, last: str) -> list[Inference]:
    """Up to `limit` answers with ids above `last`, oldest first."""
    condition, parameters = conditions(where)
    low, high = id_bounds(where)
    rows = connection.rows(
        f"SELECT {COLUMNS} FROM inferences WHERE id > :last AND id >= :low AND id < :high{condition}"
        " ORDER BY id LIMIT :limit",
        last=last,
        low=low,
        high=high,
        limit=limit,
        **parameters,
    )
    return [inference(row) for row in rows]


def newest(connection: Connection) -> int:
    """The number of the row that was committed last; 0 in an empty ledger."""
    row = connection.one("SELECT max(seq) FROM inferences")
    return int(row[0] or 0) if row else 0


def numbers(connection: Connection, last: int, limit: int) -> list[int]:
    """Numbers of rows above `last`, ascending."""
    sql = "SELECT seq FROM inferences WHERE seq > :last ORDER BY seq LIMIT :limit"
    return [row[0] for row in connection.rows(sql, last=last, limit=limit)]


def numbered(
    connection: Connection, where: LedgerFilter, wanted: Sequence[int]
) -> list[tuple[int, Inference]]:
    """The rows of these numbers that pass a filter, in order."""
    if not wanted:
        return []
    condition, parameters = conditions(where, index=False)
    low, high = id_bounds(where)
    rows = connection.rows(
        f"SELECT {COLUMNS}, seq FROM inferences WHERE seq IN ({', '.join(map(str, wanted))})"
        f" AND id >= :low AND id < :high{condition} ORDER BY seq",
        low=low,
        high=high,
        **parameters,
    )
    return [(row[-1], inference(row)) for row in rows]
