"""Sums over answers: made while rows are written, read as usage.

A row is summed under the time of its id, which is also what pages and time filters go by, so that there is one axis of
time. Sums are added in the transaction that writes the rows: they never disagree with them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from operator import add
from typing import TYPE_CHECKING, Any

from mainspring.ledger.queries import Piece
from mainspring.ledger.tables import BOUNDS_US, COUNTS, DAY, GRAINS, HISTOGRAM, HOUR, MINUTE, SUMS
from mainspring.ledger.types import UsageRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mainspring.ledger.types import Inference

_DAY_US = 86_400_000_000
_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
#: Where the sum of squares of latencies stands in a list of sums, where the histogram and the other squares begin.
_LATENCY_SQ = len(COUNTS)
_HISTOGRAM = _LATENCY_SQ + 1
_SQUARES = _HISTOGRAM + len(HISTOGRAM)
_EMPTY = [0] * len(SUMS)
#: Rows for one table: key columns, then sums.
Rows = list[list[Any]]


def is_error(row: Inference) -> bool:
    """Whether an answer counts as failed: the caller got an error status, or an error in the stream."""
    return row.status >= 400 or row.error is not None  # noqa: PLR2004 - where HTTP's errors begin


def millisecond(request_id: str) -> int:
    """The Unix millisecond of an id.

    Raises:
        ValueError: the text is not a time-ordered id.
    """
    return int(request_id[:8] + request_id[9:13], 16)


def collect(rows: Iterable[Inference]) -> tuple[Rows, Rows, Rows]:
    """The counters that a group of rows adds to.

    Returns:
        Rows for `USAGE`, `TOTALS` and `USAGE_BY_USER`, each sorted by key with every key once.
    """
    minutes: dict[tuple[Any, ...], Any] = {}
    users: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        minute = millisecond(row.id) // _MINUTE_MS
        tenant = row.tenant
        key = (minute, tenant, row.feature or "", row.route or "", row.provider or "", row.model or "")
        sums = minutes.get(key)
        if sums is None:
            sums = minutes[key] = [*_EMPTY]
        user = (minute // _DAY_MINUTES * _DAY_US, tenant, row.key_id or "", row.user or "")
        user_sums = users.get(user)
        if user_sums is None:
            user_sums = users[user] = [*_EMPTY]
        _count(row, sums, user_sums)
    tenants: dict[tuple[Any, ...], Any] = {}
    for key, sums in minutes.items():
        _put(tenants, key[:2], sums)
    return (
        _by_grain(minutes, (DAY, HOUR, MINUTE), len(SUMS)),
        _by_grain(tenants, (HOUR, MINUTE), _SQUARES),
        [[*key, *users[key][:_HISTOGRAM]] for key in sorted(users)],
    )


def _by_grain(minutes: dict[tuple[Any, ...], Sequence[Any]], grains: Sequence[int], width: int) -> Rows:
    """Sums by minute as rows by each grain, sorted by key, with the first `width` sums."""
    wide: dict[tuple[Any, ...], Sequence[Any]] = {}
    for key, sums in minutes.items():
        seconds, names = key[0] * MINUTE, key[1:]
        for grain in grains:
            _put(wide, (grain, seconds // grain * grain * 1_000_000, *names), sums)
    return [[*key, *wide[key][:width]] for key in sorted(wide)]


def _put(groups: dict[Any, Sequence[Any]], group: Any, sums: Sequence[Any]) -> None:
    there = groups.get(group)
    groups[group] = sums if there is None else list(map(add, there, sums))


def merge(pairs: Iterable[tuple[Any, Sequence[Any]]]) -> dict[Any, Sequence[Any]]:
    """Add up (group, sums) pairs by group."""
    groups: dict[Any, Sequence[Any]] = {}
    for group, sums in pairs:
        _put(groups, group, sums)
    return groups


def _count(row: Inference, sums: list[Any], user_sums: list[Any]) -> None:
    """Add one row to two lists of sums, whose order is the order of the columns."""
    latency_us = max(row.done_us - row.received_us, 0)
    cost, output = row.cost_nusd, row.output_tokens
    first_us = None
    if row.stream and row.first_byte_us is not None:
        first_us = max(row.first_byte_us - row.received_us, 0)
    counts = (
        1,
        is_error(row),
        row.cut,
        row.stream,
        row.input_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        output,
        row.reasoning_tokens,
        cost or 0,
        cost is None,
        latency_us,
        first_us is not None,
        first_us or 0,
        latency_us * latency_us / 1e6,
    )
    sums[:_HISTOGRAM] = map(add, sums, counts)
    user_sums[:_HISTOGRAM] = map(add, user_sums, counts)
    sums[_HISTOGRAM + bisect_right(BOUNDS_US, latency_us)] += 1
    if first_us:
        sums[_SQUARES] += first_us * first_us / 1e6
    if output:
        sums[_SQUARES + 1] += output * output
    if cost:
        sums[_SQUARES + 2] += cost * cost


def cover(since_us: int, until_us: int) -> Iterator[Piece]:
    """Cut an interval (widened to whole minutes) into pieces that whole rollup buckets fill, as few as can be."""
    minute = 60_000_000
    low, high = since_us // minute * minute, -(-until_us // minute) * minute
    yield from _cover(low, high, GRAINS)


def _cover(low: int, high: int, grains: Sequence[int]) -> Iterator[Piece]:
    if low >= high:
        return
    width = grains[0] * 1_000_000
    inner_low, inner_high = -(-low // width) * width, high // width * width
    if inner_low >= inner_high:
        yield from _cover(low, high, grains[1:])
        return
    yield from _cover(low, inner_low, grains[1:])
    yield Piece(grains[0], inner_low, inner_high)
    yield from _cover(inner_high, high, grains[1:])


def summarise(sums: Sequence[Any], *, group: str | None = None, bucket_us: int | None = None) -> UsageRow:
    """A row of usage from sums; without the histogram at their end there are no percentiles."""
    count = {name: int(value) for name, value in zip(COUNTS, sums, strict=False)}
    requests, first_tokens = count["requests"], count.pop("first_tokens")
    latency_ms, first_ms = count.pop("latency_us") / 1000, count.pop("first_token_us") / 1000
    row = UsageRow(group=group, bucket_us=bucket_us, **count)
    if requests:
        row.latency_mean_ms = latency_ms / requests
        row.latency_sd_ms = _deviation(requests, latency_ms, float(sums[_LATENCY_SQ]))
    if first_tokens:
        row.first_token_mean_ms = first_ms / first_tokens
    histogram = [int(value) for value in sums[_HISTOGRAM:_SQUARES]]
    if any(histogram):
        row.p50_ms, row.p95_ms, row.p99_ms = (percentile(histogram, share) for share in (0.5, 0.95, 0.99))
    return row


def _deviation(count: int, total: float, squares: float) -> float | None:
    """The sample standard deviation; None for a single value."""
    if count < 2:  # noqa: PLR2004 - one value does not vary
        return None
    return math.sqrt(max(0.0, squares - total * total / count) / (count - 1))


def percentile(histogram: Sequence[int], share: float) -> float:
    """The latency in milliseconds that a share of the answers stayed within.

    Exact to a bucket (a factor of 1.6), interpolated geometrically within it.
    """
    rank = share * sum(histogram)
    below = 0
    for bucket, count in enumerate(histogram):
        if count and below + count >= rank:
            part = (rank - below) / count
            if bucket == 0:
                return BOUNDS_US[0] / 1000 * part
            low = BOUNDS_US[bucket - 1] / 1000
            return low * float(1.6**part)
        below += count
    return BOUNDS_US[-1] / 1000
