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
from mainspring.ledger.tables import BOUNDS_US, COUNTS, GRAINS, HISTOGRAM, SQUARES
from mainspring.ledger.types import UsageRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mainspring.ledger.types import Inference

_DAY_US = 86_400_000_000
_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
#: Where the sums of squares and the histogram begin in a list of sums.
_SQUARES = len(COUNTS)
_HISTOGRAM = _SQUARES + len(SQUARES)
_EMPTY = [0] * _SQUARES + [0.0] * len(SQUARES) + [0] * len(HISTOGRAM)


def is_error(row: Inference) -> bool:
    """Whether an answer counts as failed: the caller got an error status, or an error in the stream."""
    return row.status >= 400 or row.error is not None  # noqa: PLR2004 - where HTTP's errors begin


def millisecond(request_id: str) -> int:
    """The Unix millisecond of an id.

    Raises:
        ValueError: the text is not a time-ordered id.
    """
    return int(request_id[:8] + request_id[9:13], 16)


def collect(rows: Iterable[Inference]) -> tuple[list[list[Any]], list[list[Any]]]:
    """The counters that a group of rows adds to.

    Returns:
        Rows for `USAGE` and rows for `USAGE_BY_USER`, each sorted by key with every key once.
    """
    minutes: dict[tuple[Any, ...], list[Any]] = {}
    users: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        milliseconds = millisecond(row.id)
        minute = milliseconds // _MINUTE_MS
        tenant = row.tenant
        key = (minute, tenant, row.feature or "", row.route or "", row.provider or "", row.model or "")
        sums = minutes.get(key)
        if sums is None:
            sums = minutes[key] = [*_EMPTY]
        user = (minute // _DAY_MINUTES, tenant, row.key_id or "", row.user or "")
        user_sums = users.get(user)
        if user_sums is None:
            user_sums = users[user] = [*_EMPTY]
        _count(row, sums, user_sums)
    usage: dict[tuple[Any, ...], list[Any]] = {}
    for key, sums in minutes.items():
        for grain in GRAINS:
            wide = (grain, key[0] * 60 // grain * grain * 1_000_000, *key[1:])
            there = usage.get(wide)
            usage[wide] = sums if there is None else list(map(add, there, sums))
    return (
        [[*key, *usage[key]] for key in sorted(usage)],
        [[key[0] * _DAY_US, *key[1:], *users[key][:_HISTOGRAM]] for key in sorted(users)],
    )


def _count(row: Inference, *targets: list[Any]) -> None:
    """Add one row to lists of sums, whose order is the order of the columns."""
    latency_us = row.done_us - row.received_us
    latency_us = max(latency_us, 0)
    failed, cost, output = is_error(row), row.cost_nusd, row.output_tokens
    bucket = _HISTOGRAM + bisect_right(BOUNDS_US, latency_us)
    first_us = -1
    if row.stream and row.first_byte_us is not None:
        first_us = max(row.first_byte_us - row.received_us, 0)
    for sums in targets:
        sums[0] += 1
        if failed:
            sums[1] += 1
        if row.cut:
            sums[2] += 1
        if row.stream:
            sums[3] += 1
        sums[4] += row.input_tokens
        if row.cache_read_tokens:
            sums[5] += row.cache_read_tokens
        if row.cache_write_tokens:
            sums[6] += row.cache_write_tokens
        sums[7] += output
        if row.reasoning_tokens:
            sums[8] += row.reasoning_tokens
        if cost is None:
            sums[10] += 1
        else:
            sums[9] += cost
            sums[17] += float(cost) * cost
        sums[11] += latency_us
        sums[14] += latency_us * latency_us / 1e6
        if first_us >= 0:
            sums[12] += 1
            sums[13] += first_us
            sums[15] += first_us * first_us / 1e6
        sums[16] += float(output * output)
        sums[bucket] += 1


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


def merge(rows: Iterable[tuple[Any, Sequence[Any]]]) -> dict[Any, list[Any]]:
    """Add up (group, sums) pairs by group."""
    groups: dict[Any, list[Any]] = {}
    for group, sums in rows:
        there = groups.get(group)
        groups[group] = list(sums) if there is None else list(map(add, there, sums))
    return groups


def summarise(sums: Sequence[Any], *, group: str | None = None, bucket_us: int | None = None) -> UsageRow:
    """A row of usage from sums; without the histogram at their end there are no percentiles."""
    count = {name: int(value) for name, value in zip(COUNTS, sums, strict=False)}
    requests, first_tokens = count["requests"], count.pop("first_tokens")
    latency_ms, first_ms = count.pop("latency_us") / 1000, count.pop("first_token_us") / 1000
    row = UsageRow(group=group, bucket_us=bucket_us, **count)
    if requests:
        row.latency_mean_ms = latency_ms / requests
        row.latency_sd_ms = _deviation(requests, latency_ms, float(sums[_SQUARES]))
    if first_tokens:
        row.first_token_mean_ms = first_ms / first_tokens
    histogram = [int(value) for value in sums[_HISTOGRAM:]]
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
