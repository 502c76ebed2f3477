"""Every statement of the ledger. Each function takes an open connection and leaves the transaction to its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

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
#: Columns whose index alone finds few rows, the most selective first; a query uses the first that it has.
_SELECTIVE = ("session", "user", "key_id")
#: Answers that are in an index of their own, with their dimensions.
_RARE_STATUS = ("error", "cut")
#: The dimensions, the most selective first as far as one can tell.
_RARE_FIRST = ("model", "feature", "route", "provider", "tenant")
#: How many minutes with matches are looked up at first.
_MINUTES = 100
_MINUTE_US = MINUTE * 1_000_000
_GAP_US = 5 * _MINUTE_US
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


def page(connection: Connection, where: LedgerFilter, *, limit: int, before: str | None) -> list[Inference]:
    """Up to `limit` answers with ids below `before`, newest first."""
    found: list[Inference] = []
    for low, high in _stretches(connection, where, before):
        condition, parameters = _condition(where)
        rows = connection.rows(
            f"SELECT {_COLUMNS} FROM inferences WHERE id >= :low AND id < :high{condition}"
            " ORDER BY id DESC LIMIT :limit",
            low=low,
            high=high,
            limit=limit - len(found),
            **parameters,
        )
        found += map(_inference, rows)
        if len(found) == limit:
            break
    return found


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
    connection: Connection, by: str | None, piece: Piece, only: dict[str, str], *, histogram: bool
) -> list[tuple[str, Sequence[Any]]]:
    """Sums over rollup buckets of one grain, by one of the dimensions (or all together under "")."""
    group = f'"{by}"' if by else "''"
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT {group}, {_SUMS if histogram else _PLAIN_SUMS} FROM {_table(piece.grain, {by, *only})}"
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
    connection: Connection, piece: Piece, step_us: int, only: dict[str, str], *, histogram: bool
) -> list[tuple[int, Sequence[Any]]]:
    """Sums by time step, oldest first; `step_us` is a multiple of the grain."""
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT bucket_us / {step_us} * {step_us}, {_SUMS if histogram else _PLAIN_SUMS}"
        f" FROM {_table(piece.grain, only)}"
        f" WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1 ORDER BY 1",
        **piece._asdict(),
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def _sums(*names: str) -> str:
    return ", ".join(f"sum({name})" for name in names)


_USER_SUMS = _sums(*COUNTS, "latency_sq")
_PLAIN_SUMS = _sums(*COUNTS, "latency_sq", *ATTEMPTS)
_SUMS = _sums(*COUNTS, "latency_sq", *ATTEMPTS, *HISTOGRAM, *FIRST_TOKENS)


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


def _stretches(connection: Connection, where: LedgerFilter, before: str | None) -> Iterator[tuple[str, str]]:
    """Ranges of ids, newest first, in which to look for matches.

    By tenant, feature, route, provider and model there is no index: the rollups say in which minutes there are matches
    at all, and only those are read. With a column that has an index it is one range, unless a key (which may have made
    half of the rows) is asked for together with something that may be rare. Failed and cut answers have indexes that
    tell all of these apart: one range, where the rollups would name every minute in which something went well.
    """
    low, high = _ids(where)
    if before is not None:
        high = min(high, before)
    only = {name: value for name in _RARE_FIRST if (value := getattr(where, name)) is not None}
    picky = where.user is not None or where.session is not None
    one_key = where.key_id is not None and only.keys() == {"tenant"}
    if not only or picky or one_key or where.status in _RARE_STATUS:
        yield low, high
        return
    for from_us, to_us in _busy(connection, only, _instant(low), _instant(high) + 1000):
        yield max(low, lowest_id(from_us / 1_000_000)), min(high, lowest_id(to_us / 1_000_000))


def _busy(
    connection: Connection, only: dict[str, str], low_us: int, high_us: int
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
    day_us = DAY * 1_000_000
    days = connection.rows(sql, grain=DAY, low=low_us // day_us * day_us, high=high_us, limit=1 << 40, **only)
    limit = _MINUTES
    for (day,) in days:
        low, high = max(low_us // _MINUTE_US * _MINUTE_US, day), min(high_us, day + day_us)
        while low < high:
            found = connection.rows(sql, grain=MINUTE, low=low, high=high, limit=limit, **only)
            yield from _runs([minute for (minute,) in found])
            high = found[-1][0] if len(found) == limit else low
            limit = min(limit * 2, DAY)


def _runs(minutes: list[int]) -> Iterator[tuple[int, int]]:
    """Minutes, newest first, as runs that may have small gaps: reading a few rows more beats asking once more."""
    begin = end = 0
    for minute in minutes:
        if begin - minute > _GAP_US and begin:
            yield begin, end
            begin = 0
        end = end if begin else minute + _MINUTE_US
        begin = minute
    if begin:
        yield begin, end


def _instant(request_id: str) -> int:
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
