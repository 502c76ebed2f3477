from __future__ import annotations

import pytest

from mainspring.base.clock import iso, now_us
from mainspring.base.durations import parse_instant, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 7_776_000),
        ("12h", 43_200),
        ("30m", 1800),
        ("45s", 45),
        ("1d12h", 129_600),
        ("0.5m", 30),
        ("2w", 1_209_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "90 d", "-1d", "1y", "1d ", "999999999w", "1d!2h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_seconds(text)


def test_instants() -> None:
    assert iso(parse_instant("2026-11-21")) == "2026-11-21T00:00:00.000000Z"
    assert iso(parse_instant("2026-11-21T09:44:00+01:00")) == "2026-11-21T08:44:00.000000Z"
    assert abs(now_us() - 3_600_000_000 - parse_instant("1h")) < 5_000_000
    assert abs(now_us() + 3_600_000_000 - parse_instant("1h", ahead=True)) < 5_000_000
    assert parse_instant("100w") >= 0


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "7", "10000-01-01"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)
