"""Answers in the order in which they came: for exports by id, for those who follow by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.ledger.queries.rows import COLUMNS, SELECTIVE, conditions, id_bounds, inference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.ledger.types import Inference, LedgerFilter
    from mainspring.store.types import Connection

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters


def after(
    connection: Connection, where: LedgerFilter, *, limit: int, last: str, most: int
) -> tuple[list[Inference], str | None]:
    """Up to `limit` answers with ids above `last`, oldest first.

    Looks at so many rows at `most`, so that a filter that few pass does not keep the database for minutes.

    Returns:
        The answers; and the id up to which was looked, None at the end.
    """
    rest, parameters = conditions(where)
    low, high = id_bounds(where)
    if not rest:
        rows = connection.rows(
            f"SELECT {COLUMNS} FROM inferences WHERE id > :last AND id >= :low AND id < :high ORDER BY id LIMIT :limit",
            last=last,
            low=low,
            high=high,
            limit=limit,
        )
        found = [inference(row) for row in rows]
        return found, found[-1].id if len(found) == limit else None
    given = next((name for name in SELECTIVE if getattr(where, name) is not None), None)
    near = "" if given is None else f' AND "{given}" = :{given}'
    rows = connection.rows(
        "WITH near AS MATERIALIZED (SELECT id AS near_id FROM inferences"
        f" WHERE id > :last AND id >= :low AND id < :high{near} ORDER BY id LIMIT :most),"
        f" found AS (SELECT {COLUMNS} FROM near CROSS JOIN inferences WHERE id = near_id{rest}"
        " ORDER BY near_id LIMIT :limit)"
        " SELECT seen.number, seen.last, found.*"
        " FROM (SELECT count(*) AS number, max(near_id) AS last FROM near) AS seen"
        " LEFT JOIN found ON TRUE ORDER BY found.id",
        last=last,
        low=low,
        high=high,
        most=most,
        limit=limit,
        **parameters,
    )
    found = [inference(row[2:]) for row in rows if row[2] is not None]
    if len(found) == limit:
        return found, found[-1].id
    number, reached = rows[0][:2]
    return found, reached if number == most else None


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
    condition, parameters = conditions(where)
    low, high = id_bounds(where)
    rows = connection.rows(
        f"SELECT {COLUMNS}, seq FROM inferences WHERE seq IN ({', '.join(map(str, wanted))})"
        f" AND id >= :low AND id < :high{condition} ORDER BY seq",
        low=low,
        high=high,
        **parameters,
    )
    return [(row[-1], inference(row)) for row in rows]
