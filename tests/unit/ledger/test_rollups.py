"""Rollups are the sums over the rows, whatever the rows are."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.answers import answer

from mainspring.base.ids import id_at
from mainspring.ledger import Attempt, rollups
from mainspring.ledger.tables import (
    BOUNDS_US,
    COUNTS,
    DAY,
    FIRST_TOKENS,
    HISTOGRAM,
    HOUR,
    MINUTE,
    SUMS,
    USAGE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mainspring.ledger import Inference
    from mainspring.store.types import Sheet

BASE_US = 1_795_000_000_000_000


@st.composite
def answers(draw: st.DrawFn) -> Inference:
    received = BASE_US + draw(st.integers(0, 3 * 86_400_000_000))
    latency = draw(st.integers(0, 700_000_000))
    stream = draw(st.booleans())
    provider, model = (
        draw(st.sampled_from(["openai", "other"])),
        draw(st.sampled_from([None, "large", "small"])),
    )
    attempts = [
        Attempt(
            provider=draw(st.sampled_from(["openai", "other"])),
            model=draw(st.sampled_from(["large", "small"])),
            started_us=received,
            outcome=draw(st.sampled_from(["cancelled", "refused", "timeout", "failed"])),
            status=draw(st.sampled_from([None, 400, 429, 500])),
            error=draw(st.sampled_from([None, "context_length_exceeded"])),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    if draw(st.booleans()):
        attempts.append(Attempt(provider=provider, model=model or "large", started_us=received))
    return answer(
        id=id_at(received),
        received_us=received,
        first_byte_us=draw(st.none() | st.just(received + latency // 2)),
        done_us=received + latency,
        tenant=draw(st.sampled_from(["a", "b"])),
        feature=draw(st.sampled_from([None, "search"])),
        provider=provider,
        model=model,
        attempts=attempts,
        user=draw(st.sampled_from([None, "ann", "bob"])),
        key_id=draw(st.sampled_from(["k1", "k2"])),
        status=draw(st.sampled_from([200, 400, 499, 502])),
        error=draw(st.none() | st.just("stream_cut")),
        cut=draw(st.booleans()),
        stream=stream,
        input_tokens=draw(st.integers(0, 10**6)),
        cache_read_tokens=draw(st.integers(0, 10**6)),
        cache_write_tokens=draw(st.integers(0, 10**6)),
        output_tokens=draw(st.integers(0, 10**6)),
        reasoning_tokens=draw(st.integers(0, 10**6)),
        cost_nusd=draw(st.none() | st.integers(0, 10**12)),
    )


def named(row: Sequence[Any], keys: int) -> dict[str, Any]:
    return dict(zip(SUMS, row[keys:], strict=False))


def expected(rows: list[Inference]) -> dict[str, float]:
    latencies = [row.done_us - row.received_us for row in rows]
    firsts = [
        row.first_byte_us - row.received_us for row in rows if row.stream and row.first_byte_us is not None
    ]
    tried = [attempt for row in rows for attempt in row.attempts if attempt.outcome != "cancelled"]
    costs = [row.cost_nusd for row in rows if row.cost_nusd is not None]
    return {
        "requests": len(rows),
        "errors": sum(row.status >= 400 or row.error is not None for row in rows),
        "cut": sum(row.cut for row in rows),
        "streams": sum(row.stream for row in rows),
        **{
            name: sum(getattr(row, name) for row in rows)
            for name in (
                "input_tokens",
                "cache_read_tokens",
                "cache_write_tokens",
                "output_tokens",
                "reasoning_tokens",
            )
        },
        "cost_nusd": sum(costs),
        "unpriced": len(rows) - len(costs),
        "latency_us": sum(latencies),
        "first_tokens": len(firsts),
        "first_token_us": sum(firsts),
        "attempts": len(tried),
        "attempt_errors": sum(attempt.is_error for attempt in tried),
        **{
            name: sum(bisect_right(BOUNDS_US, value) == bucket for value in firsts)
            for bucket, name in enumerate(FIRST_TOKENS)
        },
        "latency_sq": math.fsum((value / 1000) ** 2 for value in latencies),
        "first_token_sq": math.fsum((value / 1000) ** 2 for value in firsts),
        "output_tokens_sq": sum(row.output_tokens**2 for row in rows),
        "cost_sq": sum(value**2 for value in costs),
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(answers(), min_size=1, max_size=30))
def test_every_grain_and_table_sums_the_rows(rows: list[Inference]) -> None:
    usage, totals, by_user = (_named(sheet, table) for sheet, table in rollups.collect(rows))
    wanted = expected(rows)
    for grain in (DAY, HOUR, MINUTE):
        sums = _together(row for row in usage if row["grain"] == grain)
        assert sums | wanted == pytest.approx(sums | {name: sums.get(name, 0) for name in wanted})
        assert sum(sums[name] for name in HISTOGRAM) == len(rows)
        # Attempts stand under the target that was called, whoever answered in the end.
        for provider in ("openai", "other"):
            tried = [
                a for row in rows for a in row.attempts if a.provider == provider and a.outcome != "cancelled"
            ]
            of_it = _together(row for row in usage if row["grain"] == grain and row["provider"] == provider)
            assert (of_it.get("attempts", 0), of_it.get("attempt_errors", 0)) == (
                len(tried), sum(attempt.is_error for attempt in tried),
            )  # fmt: skip
    for grain in (HOUR, MINUTE):
        for tenant in {row.tenant for row in rows}:
            sums = _together(row for row in totals if row["grain"] == grain and row["tenant"] == tenant)
            mine = expected([row for row in rows if row.tenant == tenant])
            assert sums == pytest.approx({name: mine.get(name, value) for name, value in sums.items()})
    for user in {row.user for row in rows}:
        sums = _together(row for row in by_user if row["user"] == (user or ""))
        mine = expected([row for row in rows if row.user == user])
        assert [sums[name] for name in COUNTS] == [mine[name] for name in COUNTS]


def _named(sheet: Sheet, table: rollups.Rows) -> list[dict[str, Any]]:
    return [dict(zip((name for name, _ in sheet.columns), row, strict=True)) for row in table]


def _together(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for row in rows:
        for name in SUMS:
            if name in row:
                sums[name] = sums.get(name, 0) + row[name]
    return sums


@given(st.lists(answers(), max_size=30))
def test_keys_are_sorted_and_occur_once(rows: list[Inference]) -> None:
    for sheet, table in rollups.collect(rows):
        keys = [tuple(row[: sheet.keys]) for row in table]
        assert keys == sorted(set(keys))
        assert all(len(row) == len(sheet.columns) for row in table)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_cover_fills_the_interval_without_gap_or_overlap(start: int, length: int) -> None:
    since, until = BASE_US + start * 1_000_000, BASE_US + (start + length) * 1_000_000
    pieces = list(rollups.cover(since, until))
    at = since // 60_000_000 * 60_000_000
    for grain, low, high in pieces:
        assert low == at
        assert low % (grain * 1_000_000) == high % (grain * 1_000_000) == 0
        at = high
    assert at == -(-until // 60_000_000) * 60_000_000 or not pieces
    assert len(pieces) <= 5


@given(st.lists(st.integers(0, 900_000_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_right_to_a_bucket(latencies_us: list[int], share: float) -> None:
    (_, usage), *_ = rollups.collect(
        answer(received_us=BASE_US, done_us=BASE_US + latency) for latency in latencies_us
    )
    sums = rollups.merge(("", row[USAGE.keys :]) for row in usage if row[0] == DAY)[""]
    row = rollups.summarise(sums)
    estimate = {0.5: row.p50_ms, 0.95: row.p95_ms, 0.99: row.p99_ms}[share]
    assert estimate is not None
    exact = sorted(latencies_us)[math.ceil(share * len(latencies_us)) - 1] / 1000
    exact = min(exact, BOUNDS_US[-1] * 1.6 / 1000)
    assert exact / 1.61 - 1 <= estimate <= exact * 1.61 + 1


def test_the_time_to_the_first_token_has_percentiles() -> None:
    firsts = [120] * 90 + [4_000] * 10
    (_, usage), *_ = rollups.collect(
        answer(
            received_us=BASE_US,
            first_byte_us=BASE_US + first * 1000,
            done_us=BASE_US + 9_000_000,
            stream=True,
        )
        for first in firsts
    )
    row = rollups.summarise(rollups.merge(("", row[USAGE.keys :]) for row in usage if row[0] == DAY)[""])
    assert row.first_token_p50_ms == pytest.approx(120, rel=0.6)
    assert row.first_token_p95_ms == pytest.approx(4_000, rel=0.6)
    assert row.p50_ms == pytest.approx(9_000, rel=0.6)


def test_mean_and_deviation() -> None:
    latencies = [100, 250, 900, 12, 43]
    (_, usage), *_ = rollups.collect(
        answer(received_us=BASE_US, done_us=BASE_US + latency * 1000) for latency in latencies
    )
    sums = rollups.merge(("", row[USAGE.keys :]) for row in usage if row[0] == DAY)[""]
    row = rollups.summarise(sums, group="g")
    assert row.group == "g"
    assert row.latency_mean_ms == pytest.approx(statistics.mean(latencies))
    assert row.latency_sd_ms == pytest.approx(statistics.stdev(latencies))


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    (_, usage), *_ = rollups.collect([answer(received_us=BASE_US, done_us=BASE_US - 5_000_000)])
    assert named(usage[0], USAGE.keys)["latency_us"] == 0
