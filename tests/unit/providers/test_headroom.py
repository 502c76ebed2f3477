"""What providers say of their rate limits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.providers.headroom import Allowance, Headroom, read_headroom, seconds_to_reset


def test_openai() -> None:
    told = read_headroom(
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "29000",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )
    assert told == Headroom(Allowance(499, 500, 0.12), Allowance(29_000, 30_000, 360.0))


def test_anthropic() -> None:
    reset = (datetime.now(UTC) + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    told = read_headroom(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": reset,
            "anthropic-ratelimit-input-tokens-remaining": "1000",
        }
    )
    assert told.requests is not None
    assert told.requests.resets_s is not None
    assert 28 < told.requests.resets_s <= 30
    assert told.tokens == Allowance(1000)
    assert 28 < (seconds_to_reset(told) or 0) <= 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("7", 7.0),
        ("0.5", 0.5),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("5 s", None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    told = read_headroom({"x-ratelimit-remaining": "0", "x-ratelimit-reset": text}).requests
    assert told is not None
    assert told.resets_s == (None if seconds is None else pytest.approx(seconds))


def test_instants() -> None:
    for text in (f"{time.time() + 20:.0f}", f"{(time.time() + 20) * 1000:.0f}"):
        told = read_headroom({"ratelimit-remaining": "3", "ratelimit-reset": text}).requests
        assert told is not None
        assert told.resets_s == pytest.approx(20, abs=2)


def test_nothing_told() -> None:
    assert read_headroom({}) == Headroom()
    assert read_headroom({"x-ratelimit-remaining-requests": "many"}) == Headroom()
    assert seconds_to_reset(Headroom(Allowance(5, 10, 3.0))) is None
