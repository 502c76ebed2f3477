from __future__ import annotations

import pytest

from mainspring.web.console import formatting as f

SECOND = 1_000_000
NOW = 1_795_255_481 * SECOND


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, f.NONE),
        (0, "0"),
        (1234, "1,234"),
        (999_999, "999,999"),
        (1_234_567, "1.23 M"),
        (5e12, "5.00 T"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert f.count(value) == text


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (None, f.NONE),
        (0, "$0"),
        (5, "$0.000000005"),
        (350_000, "$0.000350"),
        (42_100_000, "$0.0421"),
        (12_300_000_000, "$12.30"),
        (1_204_400_000_000, "$1,204"),
    ],
)
def test_money_keeps_the_digits_that_matter(nusd: int | None, text: str) -> None:
    assert f.usd(nusd) == text


def test_money_on_an_axis_is_short() -> None:
    assert [f.short_usd(n) for n in (0, 250_000, 500_000_000, 4_000_000_000, 25_000_000_000_000)] == [
        "$0",
        "$0.00025",
        "$0.5",
        "$4",
        "$25k",
    ]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, f.NONE),
        (0, "0 ms"),
        (0.42, "0.42 ms"),
        (245.4, "245 ms"),
        (1250, "1.25 s"),
        (125_000, "2 min 5 s"),
    ],
)
def test_durations(milliseconds: float | None, text: str) -> None:
    assert f.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0"), (0.5, "0.5 ms"), (250, "250 ms"), (20_000, "20 s"), (80_000, "80 s"), (1_200_000, "20 min")],
)
def test_durations_of_an_axis(milliseconds: float, text: str) -> None:
    assert f.short_duration(milliseconds) == text


def test_shares_and_changes() -> None:
    assert [f.percent(0, 0), f.percent(0, 9), f.percent(1, 3000), f.percent(3, 20)] == [
        f.NONE,
        "0%",
        "0.033%",
        "15%",
    ]
    assert [
        f.change(5, 0),
        f.change(112, 100),
        f.change(97, 100),
        f.change(100, 100),
        f.change(500, 10),
        f.change(5000, 10),
    ] == [
        None,
        "+12%",
        "-3%",
        "±0%",
        "\u00d750",
        None,
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (42, "42 s ago"),
        (300, "5 min ago"),
        (7300, "2 h ago"),
        (90_000, "1 d ago"),
        (30 * 86_400, "22 Oct 2026"),
        (-200, "in 3 min"),
        (-90 * 86_400, "in 90 d"),
    ],
)
def test_how_long_ago(seconds: int, text: str) -> None:
    assert f.ago(NOW - seconds * SECOND, NOW) == text


def test_instants_and_sizes() -> None:
    assert f.moment(NOW) == "2026-11-21 10:04:41 UTC"
    assert f.stamp(NOW) == "2026-11-21T10:04:41Z"
    assert [f.size(812), f.size(3400), f.size(1_200_000), f.size(5_000_000_000)] == [
        "812 B",
        "3.4 kB",
        "1.2 MB",
        "5 GB",
    ]
    assert [f.short_count(950), f.short_count(1200), f.short_count(3e6)] == ["950", "1.2k", "3M"]
