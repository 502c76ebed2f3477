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
from mainspring.ledger.tables import (
    ATTEMPTS,
    BOUNDS_US,
    COUNTS,
    DAY,
    FIRST_TOKENS,
    GRAINS,
    HISTOGRAM,
    HOUR,
    MINUTE,
    SUMS,
    TOTALS,
    TOTALS_WHOLE,
    USAGE,
    USAGE_BY_USER,
    USAGE_WHOLE,
)
from mainspring.ledger.types import UsageRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mainspring.ledger.types import Inference
    from mainspring.store.types import Sheet

_DAY_US = 86_400_000_000
_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
#: Where the sum of squares of latencies stands in a list of sums, and where what comes after it begins.
_LATENCY_SQ = len(COUNTS)
_ATTEMPTS = _LATENCY_SQ + 1
_HISTOGRAM = _ATTEMPTS + len(ATTEMPTS)
_FIRST_TOKENS = _HISTOGRAM + len(HISTOGRAM)
_SQUARES = _FIRST_TOKENS + len(FIRST_TOKENS)
_EMPTY = [0] * len(SUMS)
_FIRST_TOKEN_COUNT = COUNTS.index("first_tokens")
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


def collect(rows: Iterable[Inference]) -> list[tuple[Sheet, Rows]]:
    """The counters that a group of rows adds to.

    Returns:
        Rows for `usage_rollups`, `usage_totals` and `usage_by_user`, each sorted by key with every key once.
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
        _count_attempts(row, key, minutes)
    tenants: dict[tuple[Any, ...], Any] = {}
    for key, sums in minutes.items():
        _put(tenants, key[:2], sums)
    usage, totals = _by_grain(minutes, (DAY, HOUR, MINUTE)), _by_grain(tenants, (HOUR, MINUTE))
    by_user = [[*key, *users[key][:_ATTEMPTS]] for key in sorted(users)]
    if any(sums[_FIRST_TOKEN_COUNT] for sums in tenants.values()):
        for sums in totals:
            del sums[TOTALS.keys + _SQUARES :]
        return [(USAGE, usage), (TOTALS, totals), (USAGE_BY_USER, by_user)]
    # Without a stream, a third of the columns would be noughts.
    for sums in usage:
        del sums[USAGE.keys + _FIRST_TOKENS : USAGE.keys + _SQUARES]
    for sums in totals:
        del sums[TOTALS.keys + _FIRST_TOKENS :]
    return [(USAGE_WHOLE, usage), (TOTALS_WHOLE, totals), (USAGE_BY_USER, by_user)]


def _by_grain(minutes: dict[tuple[Any, ...], Sequence[Any]], grains: Sequence[int]) -> Rows:
    """Sums by minute as rows by each grain, sorted by key."""
    wide: dict[tuple[Any, ...], Sequence[Any]] = {}
    for key, sums in minutes.items():
        seconds, names = key[0] * MINUTE, key[1:]
        for grain in grains:
            _put(wide, (grain, seconds // grain * grain * 1_000_000, *names), sums)
    return [[*key, *wide[key]] for key in sorted(wide)]


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
    sums[:_ATTEMPTS] = map(add, sums, counts)
    user_sums[:_ATTEMPTS] = map(add, user_sums, counts)
    sums[_HISTOGRAM + bisect_right(BOUNDS_US, latency_us)] += 1
    if first_us is not None:
        sums[_FIRST_TOKENS + bisect_right(BOUNDS_US, first_us)] += 1
        sums[_SQUARES] += first_us * first_us / 1e6
    if output:
        sums[_SQUARES + 1] += output * output
    if cost:
        sums[_SQUARES + 2] += cost * cost


def _count_attempts(row: Inference, key: tuple[Any, ...], minutes: dict[tuple[Any, ...], Any]) -> None:
    """Add the calls of one row to the sums of the targets that were called."""
    for attempt in row.attempts:
        if (outcome := attempt.outcome) == "cancelled":
            continue
        called = key
        if attempt.provider != row.provider or (outcome != "ok" and attempt.model != row.model):
            called = (*key[:4], attempt.provider, attempt.model)  # it did not become the answer
            if called not in minutes:
                minutes[called] = [*_EMPTY]
        sums = minutes[called]
        sums[_ATTEMPTS] += 1
        if outcome != "ok" and attempt.is_error:
            sums[_ATTEMPTS + 1] += 1


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
    """A row of usage from sums; without the histograms at their end there are no percentiles."""
    count = {name: int(value) for name, value in zip(COUNTS, sums, strict=False)}
    requests, first_tokens = count["requests"], count.pop("first_tokens")
    latency_ms, first_ms = count.pop("latency_us") / 1000, count.pop("first_token_us") / 1000
    row = UsageRow(group=group, bucket_us=bucket_us, **count)
    if requests:
        row.latency_mean_ms = latency_ms / requests
        row.latency_sd_ms = _deviation(requests, latency_ms, float(sums[_LATENCY_SQ]))
    if first_tokens:
        row.first_token_mean_ms = first_ms / first_tokens
    if len(sums) > _ATTEMPTS:
        row.attempts, row.attempt_errors = int(sums[_ATTEMPTS]), int(sums[_ATTEMPTS + 1])
    row.p50_ms, row.p95_ms, row.p99_ms = _percentiles(sums[_HISTOGRAM:_FIRST_TOKENS])
    row.first_token_p50_ms, row.first_token_p95_ms, row.first_token_p99_ms = _percentiles(
        sums[_FIRST_TOKENS:_SQUARES]
    )
    return row


def _percentiles(counts: Sequence[Any]) -> tuple[float | None, ...]:
    """The 50th, 95th and 99th; None where there is nothing."""
    histogram = [int(value) for value in counts]
    return tuple(percentile(histogram, share) if any(histogram) else None for share in (0.5, 0.95, 0.99))


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
