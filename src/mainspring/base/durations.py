"""How people write a time: `90d`, `1d12h`, `2026-11-21`, `2026-11-21T09:44:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mainspring.base.clock import LATEST_US, now_us

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])")
_LONGEST_SECONDS = 100 * 366 * 86_400


def parse_seconds(text: str) -> float:
    """Seconds of a duration: a number with s, m, h, d or w, or a sum of such: `1d12h`.

    Raises:
        ValueError: it is not a duration, or longer than a century.
    """
    parts = _PART.findall(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != text or total > _LONGEST_SECONDS:
        raise ValueError(f"{text!r} is not a duration")
    return total


def parse_instant(text: str, *, ahead: bool = False) -> int:
    """Unix microseconds of a date, a date with a time (UTC unless it says otherwise), or a duration from now.

    Args:
        text: what was written.
        ahead: whether a duration counts forward from now instead of back.

    Raises:
        ValueError: it is neither, or far outside of the calendar.
    """
    if _PART.match(text):
        distance = int(parse_seconds(text) * 1_000_000)
        return now_us() + distance if ahead else max(0, now_us() - distance)
    try:
        when = datetime.fromisoformat(text)
        # In UTC it must be a time as well: the last hours of the year 9999 are none further west.
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        return min(int(when.timestamp() * 1_000_000), LATEST_US)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time") from None
