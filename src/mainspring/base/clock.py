"""Time, in the two units that the rooms use: Unix microseconds for records, monotonic seconds for waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_us() -> int:
    """Unix time in whole microseconds. For records; it may jump when the system clock is set."""
    return time.time_ns() // 1000


#: The last second that RFC 3339 can write: of the year 9999. Nothing later can be shown, so nothing later is kept.
LATEST_US = 253_402_300_799_000_000

#: Seconds that never go back; for durations and deadlines.
monotonic = time.monotonic


def iso(us: int) -> str:
    """Microseconds as RFC 3339 in UTC: `2026-11-21T09:44:00.000000Z`."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
