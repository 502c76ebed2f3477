"""Every statement of the ledger. Each function takes an open connection and leaves the transaction to its caller."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mainspring.base.clock import monotonic
from mainspring.base.ids import lowest_id
from mainspring.ledger.tables import ATTEMPTS, COUNTS, DAY, DIMENSIONS, FIRST_TOKENS, HISTOGRAM, MINUTE
from mainspring.ledger.types import Attempt, Feedback, Inference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mainspring.ledger.types import LedgerFilter
    from mainspring.store.types import Connection, Row

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters

_FIELDS = Inference.__struct_fields__
_COLUMNS = ", ".join(f'"{name}"' for name in _FIELDS)
_AT = {name: index for index, name in enumerate(_FIELDS)}
_ATTEMPTS = msgspec.json.Decoder(list[Attempt])
_FAILED = "(status >= 400 OR error IS NOT NULL)"
_STATUS = {"ok": f"NOT {_FAILED} AND NOT cut", "error": _FAILED, "cut": "cut"}
#: Columns that have an index, the most selective first as far as one can tell.
_SELECTIVE = ("session", "user", "key_id")
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
#: Where time ends for ids: the largest millisecond that they hold.
FOREVER_US = ((1 << 48) - 1) * 1000


class Piece(NamedTuple):
    """A stretch of time made of whole rollup buckets.

    `grain` is their width in seconds; the bounds are Unix microseconds, the upper one excluded.
    """

    grain: int
    low: int
    high: int


def exists(connection: Connection, request_id: str) -> bool:
    """Whether an answer is recorded."""
    return connection.one("SELECT 1 FROM inferences WHERE id = :id", id=request_id) is not None


def get(connection: Connection, request_id: str, tenant: str | None) -> Inference | None:
    """One answer, if it is there and of that tenant."""
    row = connection.one(f"SELECT {_COLUMNS} FROM inferences WHERE id = :id", id=request_id)
    if row is None or (tenant is not None and row[_AT["tenant"]] != tenant):
        return None
    return _inference(row)


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
    low, high = _ids(where)
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


def after(connection: Connection, where: LedgerFilter, *, limit: int, last: str) -> list[Inference]:
    """Up to `limit` answers with ids above `last`, oldest first."""
    condition, parameters = _condition(where)
    low, high = _ids(where)
    rows = connection.rows(
        f"SELECT {_COLUMNS} FROM inferences WHERE id > :last AND id >= :low AND id < :high{condition}"
        " ORDER BY id LIMIT :limit",
        last=last,
        low=low,
        high=high,
        limit=limit,
        **parameters,
    )
    return [_inference(row) for row in rows]


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
    condition, parameters = _condition(where, index=False)
    low, high = _ids(where)
    rows = connection.rows(
        f"SELECT {_COLUMNS}, seq FROM inferences WHERE seq IN ({', '.join(map(str, wanted))})"
        f" AND id >= :low AND id < :high{condition} ORDER BY seq",
        low=low,
        high=high,
        **parameters,
    )
    return [(row[-1], _inference(row)) for row in rows]


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


def delete_nothing(connection: Connection) -> None:
    """What only a database that may be written lets pass."""
    connection.run("DELETE FROM config_snapshots WHERE 1 = 0")


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


def usage(
    connection: Connection, by: str | None, piece: Piece, only: dict[str, str], *, histograms: int
) -> list[tuple[str, Sequence[Any]]]:
    """Sums over rollup buckets of one grain, by one of the dimensions (or all together under "")."""
    group = f'"{by}"' if by else "''"
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT {group}, {_SUMS[histograms]} FROM {_table(piece.grain, {by, *only})}"
        f" WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1",
        **piece._asdict(),
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def usage_by_user(
    connection: Connection, by: str, low_us: int, high_us: int, only: dict[str, str]
) -> list[tuple[str, Sequence[Any]]]:
    """Sums over whole days, by `user` or `key_id`."""
    condition, parameters = _equal(only)
    rows = connection.rows(
        f'SELECT "{by}", {_USER_SUMS} FROM usage_by_user WHERE bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1',
        low=low_us,
        high=high_us,
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def series(
    connection: Connection, piece: Piece, step_us: int, only: dict[str, str], *, histograms: int
) -> list[tuple[int, Sequence[Any]]]:
    """Sums by time step, oldest first; `step_us` is a multiple of the grain."""
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT bucket_us / {step_us} * {step_us}, {_SUMS[histograms]}"
        f" FROM {_table(piece.grain, only)}"
        f" WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1 ORDER BY 1",
        **piece._asdict(),
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def _sums(*names: str) -> str:
    return ", ".join(f"sum({name})" for name in names)


_USER_SUMS = _sums(*COUNTS, "latency_sq")
#: Without histograms, with that of the latency, and with that of the time to the first token too: each costs as much as
#: everything before it.
_SUMS = tuple(
    _sums(*COUNTS, "latency_sq", *ATTEMPTS, *more) for more in ((), HISTOGRAM, (*HISTOGRAM, *FIRST_TOKENS))
)


def _table(grain: int, columns: Iterable[str | None]) -> str:
    """The smaller of the two rollups that can tell these columns apart at this grain."""
    return "usage_totals" if grain != DAY and {"tenant", None}.issuperset(columns) else "usage_rollups"


def _equal(only: dict[str, str]) -> tuple[str, dict[str, str]]:
    return "".join(f' AND "{name}" = :{name}' for name in only), only


def _ids(where: LedgerFilter) -> tuple[str, str]:
    """The ids between which a filter's time lies."""
    low = lowest_id((where.since_us or 0) / 1_000_000)
    high = lowest_id((FOREVER_US if where.until_us is None else where.until_us) / 1_000_000)
    return low, high


def _condition(where: LedgerFilter, *, index: bool = True) -> tuple[str, dict[str, Any]]:
    """Everything but time, as ` AND ...`. Only the most selective column may be looked up in its index."""
    sql = ""
    parameters: dict[str, Any] = {}
    for name in (*_SELECTIVE, *DIMENSIONS):
        value = getattr(where, name)
        if value is None:
            continue
        # An expression keeps the planner from an index whose column would match half of the ledger.
        plain = name in DIMENSIONS or (index and not parameters)
        sql += f' AND "{name}" = :{name}' if plain else f" AND \"{name}\" || '' = :{name}"
        parameters[name] = value
    if where.status is not None:
        sql += f" AND {_STATUS[where.status]}"
    return sql, parameters


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
        name: value for name in (*_SELECTIVE, *_RARE_FIRST) if (value := getattr(where, name)) is not None
    }
    equal = {name: f' AND "{name}" = :{name}' for name in given}
    dimensions = {name: given[name] for name in _RARE_FIRST if name in given}
    ways = {equal[name]: {name} for name in _SELECTIVE if name in given}
    status = "" if where.status is None else f" AND {_STATUS[where.status]}"
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
        f" found AS (SELECT {_COLUMNS} FROM near CROSS JOIN inferences WHERE id = near_id{path.rest}"
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
    return int(number), newest, last, [_inference(row[3:]) for row in rows if row[3] is not None]


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


def instant_of(request_id: str) -> int:
    """The Unix microsecond of an id; of one that is no id of ours, the beginning of time."""
    try:
        return int(request_id[:8] + request_id[9:13], 16) * 1000
    except ValueError:
        return 0


def _inference(row: Row) -> Inference:
    fields = dict(zip(_FIELDS, row, strict=False))
    fields["stream"], fields["cut"] = bool(fields["stream"]), bool(fields["cut"])
    fields["attempts"] = _ATTEMPTS.decode(fields["attempts"]) if fields["attempts"] else []
    for name in ("tags", "extra"):
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name])
    return Inference(**fields)
