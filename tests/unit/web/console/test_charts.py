from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from mainspring.web.console.charts import Series, axis, bars, lines, span, x_ticks, y_ticks

HOUR_US = 3_600_000_000
TIMES = [1_760_000_400_000_000 // HOUR_US * HOUR_US + i * HOUR_US for i in range(24)]


@given(st.floats(min_value=0, max_value=1e18), st.booleans())
def test_an_axis_holds_the_largest_value_in_few_round_steps(largest: float, whole: bool) -> None:
    top, step = axis(largest, whole=whole)
    assert top >= largest * 0.999
    assert 1 <= round(top / step) <= 5
    assert math.isclose(top / step, round(top / step))
    if whole:
        assert step == int(step)


def test_an_axis_in_round_numbers() -> None:
    assert axis(930) == (1000, 250)
    assert axis(2.1) == (3, 1)
    assert axis(3, whole=True) == (3, 1)
    assert axis(0, whole=True) == (4, 1)


def test_ticks_go_up_the_plot() -> None:
    assert [(tick.at, tick.label) for tick in y_ticks(30, 10, str)] == [
        (100.0, "0"),
        (66.67, "10"),
        (33.33, "20"),
        (0.0, "30"),
    ]


def test_times_are_labelled_at_round_hours_and_days() -> None:
    labels = [tick.label for tick in x_ticks(TIMES)]
    assert 3 <= len(labels) <= 4
    assert all(re.fullmatch(r"(00|06|12|18):00", label) for label in labels)
    days = [tick.label for tick in x_ticks([us * 1 for us in range(0, 30 * 24 * HOUR_US, 24 * HOUR_US)])]
    assert days == ["1 Jan", "8 Jan", "15 Jan", "22 Jan", "29 Jan"][: len(days)]
    assert x_ticks([]) == x_ticks(TIMES[:1]) == []


def test_bars_stack_and_leave_out_what_is_nothing() -> None:
    good = Series("Answered", "c1", [3, 0, 1])
    bad = Series("Errors", "cbad", [1, None, 0])
    chart = bars("Requests", TIMES[:3], [good, bad], label=str, columns=(1, 2), whole=True)
    assert chart.shapes[0].path == "M166.7 25v75M833.3 75v25"
    assert chart.shapes[1].path == "M166.7 0v25"
    assert not chart.empty
    assert "Answered: 4.0 in all" in chart.summary
    assert chart.columns == [1, 2]


def test_lines_break_where_nothing_is_known() -> None:
    series = Series("p50", "c1", [1, 2, None, 4, None, 2, 4])
    path = lines("Latency", TIMES[:7], [series], label=str, columns=()).shapes[0].path
    assert path.count("M") == 3
    assert path.count("L") == 2
    assert path.count("h") == 1


def test_an_empty_chart_says_so() -> None:
    series = [Series("p50", "c1", [None] * 24)]
    assert lines("Latency", TIMES, series, label=str, columns=()).empty
    assert "none" in lines("Latency", TIMES, series, label=str, columns=()).summary
    assert bars("Spend", TIMES, series, label=str, columns=()).empty
    assert bars("Tokens", TIMES, [], label=str, columns=()).empty
    # A scale of nothing would show labels that mean nothing.
    assert [tick.label for tick in bars("Spend", TIMES, series, label=str, columns=()).y] == ["", ""]


@given(
    st.integers(0, 10**9),
    st.integers(1, 10**9),
    st.integers(-10, 10**9),
    st.none() | st.integers(0, 2 * 10**9),
    st.integers(0, 10**9),
)
def test_a_span_stays_in_its_picture(
    begin: int, length: int, offset: int, first: int | None, took: int
) -> None:
    times = (begin + offset, first, begin + offset + took)
    bar = span("x", "ok", (begin, begin + length), times, label="", detail="")
    assert 0 <= bar.start <= 100
    assert bar.waited + bar.streamed > 0
    assert bar.waited >= 0
    assert bar.streamed >= 0
