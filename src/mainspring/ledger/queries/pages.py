"""A page of the ledger: the newest answers that pass a filter, found without reading what does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.clock import monotonic
from mainspring.base.ids import lowest_id
from mainspring.ledger.queries.rows import COLUMNS, SELECTIVE, STATUS, id_bounds, inference, instant_of
from mainspring.ledger.tables import DAY, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.ledger.types import Inference, LedgerFilter
    from mainspring.store.types import Connection

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

#: Answers that are in an index of their own, with their dimensions.
_RARE_STATUS = ("error", "cut")
#: The dimensions, the most selective first as far as one can tell.
_RARE_FIRST = ("model", "feature", "route", "provider", "tenant")
#: How many minutes with matches are looked up at first.
_MINUTES = 500
#: Rows that one step of a search looks at, at first and at most.
STEP, _LONGEST_STEP = 500, 2000
_MINUTE_US = MINUTE * 1_000_000
_DAY_US = DAY * 1_000_000
#: A query costs about as much as a look at so many rows.
_WORTH = 200


def page(
    connection: Connection,
    where: LedgerFilter,
    *,
    limit: int,
    before: str | None,
    seconds: float | None = None,
    step: int = STEP,
) -> tuple[list[Inference], str | None]:
    """Up to `limit` answers with ids below `before`, newest first, and how far was looked if not to the end.

    One index is walked backwards, a bounded number of its entries at a time. If the first of them do not give enough,
    and the rollups can tell in which minutes there are matches at all, only those are looked at from there on.

    Args:
        connection: open.
        where: the filter.
        limit: how many answers.
        before: an id; all of them if None.
        seconds: for how long to begin new steps; None is until the end.
        step: rows that the first step looks at.

    Returns:
        The answers; and, where the time was over before there were enough, the id below which nothing was looked at.
    """
    low, high = id_bounds(where)
    high = high if before is None else min(high, before)
    path = _path(connection, where, low, high, step)
    until = math.inf if seconds is None else monotonic() + seconds
    found: list[Inference] = []
    most = step if path.rest else limit
    ranges, steered = iter([(low, high)]), not path.dimensions
    while (stretch := next(ranges, None)) is not None:
        lower, upper = stretch
        while lower < upper:
            number, newest, last, rows = _step(connection, path, (lower, upper), most, limit - len(found))
            found += rows
            if len(found) == limit:
                return found, None
            upper = last if number == most else lower
            if monotonic() >= until and (upper > lower or lower > low):
                return found, upper
            most = min(2 * most, _LONGEST_STEP) if number == most else most
            if upper > lower and not steered:
                steered = True
                gap_us = (instant_of(newest) - instant_of(last)) * _WORTH // number
                if gap_us < _DAY_US:
                    ranges = _stretches(connection, path.dimensions, lower, upper, gap_us)
                    break
    return found, None


class _Path(NamedTuple):
    """How a search goes: which index it walks, and what it compares of each row.

    `near` is what the index tells, `rest` what it does not, both as ` AND ...`; `dimensions` are those by which
    stretches of time without a match can be passed over.
    """

    near: str
    rest: str
    parameters: dict[str, str]
    dimensions: dict[str, str]


def _path(connection: Connection, where: LedgerFilter, low: str, high: str, step: int) -> _Path:
    """The way to the answers that pass a filter.

    Where several indexes could be walked it is the one with few entries, or whose next ones go back the farthest.
    """
    given = {
        name: value for name in (*SELECTIVE, *_RARE_FIRST) if (value := getattr(where, name)) is not None
    }
    equal = {name: f' AND "{name}" = :{name}' for name in given}
    dimensions = {name: given[name] for name in _RARE_FIRST if name in given}
    ways = {equal[name]: {name} for name in SELECTIVE if name in given}
    status = "" if where.status is None else f" AND {STATUS[where.status]}"
    if where.status in _RARE_STATUS:
        # Failed and cut answers have indexes that tell their dimensions, too.
        ways[status + "".join(equal[name] for name in dimensions)] = {"status", *dimensions}
    near = "" if not ways else next(iter(ways))
    if len(ways) > 1:
        ends = {way: _beyond(connection, way, given, (low, high), step) for way in ways}
        near = min(ends, key=lambda way: ends[way] or "")
    told = ways.get(near, set())
    rest = "".join(text for name, text in equal.items() if name not in told)
    if status and "status" not in told:
        rest += status
    if "status" in told:
        dimensions = {}
    elif where.key_id is not None:
        dimensions.pop("tenant", None)  # a key has one
    return _Path(near, rest, given, dimensions)


def _beyond(
    connection: Connection, near: str, parameters: dict[str, str], ids: tuple[str, str], number: int
) -> str | None:
    """The id that comes after so many entries of an index; None where it has no more."""
    used = {name: value for name, value in parameters.items() if f":{name}" in near}
    row = connection.one(
        f"SELECT id FROM inferences WHERE id >= :low AND id < :high{near} ORDER BY id DESC LIMIT 1 OFFSET :number",
        low=ids[0],
        high=ids[1],
        number=number,
        **used,
    )
    return None if row is None else row[0]


def _step(
    connection: Connection, path: _Path, ids: tuple[str, str], most: int, limit: int
) -> tuple[int, str, str, list[Inference]]:
    """Look at the next entries of an index.

    Returns:
        How many there were, at most `most`; the ids of the newest and the last of them; the rows that pass.
    """
    rows = connection.rows(
        "WITH near AS MATERIALIZED (SELECT id AS near_id FROM inferences"
        f" WHERE id >= :low AND id < :high{path.near} ORDER BY id DESC LIMIT :most),"
        f" found AS (SELECT {COLUMNS} FROM near CROSS JOIN inferences WHERE id = near_id{path.rest}"
        " ORDER BY near_id DESC LIMIT :limit)"
        " SELECT seen.number, seen.newest, seen.last, found.*"
        " FROM (SELECT count(*) AS number, max(near_id) AS newest, min(near_id) AS last FROM near) AS seen"
        " LEFT JOIN found ON TRUE ORDER BY found.id DESC",
        low=ids[0],
        high=ids[1],
        most=most,
        limit=limit,
        **path.parameters,
    )
    number, newest, last = rows[0][:3]
    return int(number), newest, last, [inference(row[3:]) for row in rows if row[3] is not None]


def _stretches(
    connection: Connection, only: dict[str, str], low: str, high: str, gap_us: int
) -> Iterator[tuple[str, str]]:
    """Ranges of ids, newest first, outside of which the rollups know no match. Those that are nearer are one."""
    for from_us, to_us in _busy(connection, only, instant_of(low), instant_of(high) + 1000, gap_us):
        yield max(low, lowest_id(from_us / 1_000_000)), min(high, lowest_id(to_us / 1_000_000))


def _busy(
    connection: Connection, only: dict[str, str], low_us: int, high_us: int, gap_us: int
) -> Iterator[tuple[int, int]]:
    """Stretches of minutes with matches, newest first: found day by day, a few and then more at a time."""
    condition = ""
    for index, name in enumerate(only):
        # Only the first is looked up in its index; the others are compared.
        condition += f' AND "{name}"' + (" || ''" if index else "") + f" = :{name}"
    # Nothing but columns of the index is named here: with others, SQLite would rather walk the whole table.
    sql = (
        "SELECT bucket_us FROM usage_rollups WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high"
        f"{condition} GROUP BY bucket_us ORDER BY bucket_us DESC LIMIT :limit"
    )
    days = connection.rows(
        sql, grain=DAY, low=low_us // _DAY_US * _DAY_US, high=high_us, limit=1 << 40, **only
    )
    limit = _MINUTES
    for (day,) in days:
        low, high = max(low_us // _MINUTE_US * _MINUTE_US, day), min(high_us, day + _DAY_US)
        while low < high:
            found = connection.rows(sql, grain=MINUTE, low=low, high=high, limit=limit, **only)
            yield from _runs([minute for (minute,) in found], gap_us)
            high = found[-1][0] if len(found) == limit else low
            limit = min(limit * 2, DAY)


def _runs(minutes: list[int], gap_us: int) -> Iterator[tuple[int, int]]:
    """Minutes, newest first, as runs that may have small gaps: reading a few rows more beats asking once more."""
    begin = end = 0
    for minute in minutes:
        if begin - minute - _MINUTE_US > gap_us and begin:
            yield begin, end
            begin = 0
        end = end if begin else minute + _MINUTE_US
        begin = minute
    if begin:
        yield begin, end
