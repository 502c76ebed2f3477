"""What a provider says of its rate limits in the headers of an answer: how much is left, and when it is whole again.

OpenAI's names (also Azure, Groq, DeepInfra and many others), Anthropic's, the plain `x-ratelimit-remaining` and the
IETF draft's `ratelimit-remaining`. A header that cannot be read says nothing.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import now_us

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names of what is left, of the limit and of the reset, the most telling first.
_REQUESTS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
    ),
    ("x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-limit", "ratelimit-reset"),
)
_TOKENS = (
    ("x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-reset",
    ),
    (
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-reset",
    ),
)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: A number above this is an instant (Unix seconds, or milliseconds above the second one), not a number of seconds.
_INSTANT, _INSTANT_MS = 1e8, 1e11
_MICRO = 1_000_000


class Allowance(msgspec.Struct, frozen=True):
    """One limit of a provider.

    Attributes:
        remaining: how many are left.
        limit: how many there are at most, if it said so.
        resets_s: seconds from the answer until all of it is there again, if it said so.
    """

    remaining: int
    limit: int | None = None
    resets_s: float | None = None


class Headroom(msgspec.Struct, frozen=True):
    """What is left of requests and of tokens; None where the provider does not say."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def read_headroom(headers: Mapping[str, str]) -> Headroom:
    """Read the headers of an answer, names in lower case."""
    return Headroom(_allowance(headers, _REQUESTS), _allowance(headers, _TOKENS))


def seconds_to_reset(headroom: Headroom) -> float | None:
    """Seconds until what is used up is there again; None where nothing is used up or the provider does not say."""
    waits = [
        allowance.resets_s
        for allowance in (headroom.requests, headroom.tokens)
        if allowance is not None and allowance.remaining <= 0 and allowance.resets_s is not None
    ]
    return max(waits, default=None)


def _allowance(headers: Mapping[str, str], names: tuple[tuple[str, str, str], ...]) -> Allowance | None:
    for remaining, limit, reset in names:
        text = headers.get(remaining)
        if text is None:
            continue
        left = _number(text)
        if left is not None:
            return Allowance(left, _number(headers.get(limit)), _seconds(headers.get(reset)))
    return None


def _number(text: str | None) -> int | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return int(value) if math.isfinite(value) else None


def _seconds(text: str | None) -> float | None:
    """Seconds from now of a duration (`6m0s`, `20ms`), a number of seconds, or an instant (RFC 3339 or Unix)."""
    if not text:
        return None
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    now = now_us() / _MICRO
    try:
        value = float(text)
    except ValueError:
        try:
            return max(0.0, datetime.fromisoformat(text).timestamp() - now)
        except (ValueError, OverflowError):
            return None
    if not math.isfinite(value):
        return None
    if value > _INSTANT_MS:
        value /= 1000
    return max(0.0, value - now if value > _INSTANT else value)
