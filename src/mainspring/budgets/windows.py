"""Where the windows of budgets begin and end. All in UTC.

A row belongs to the bucket of its id's time, whenever it is written. A bucket of a daily or monthly budget is its
window. A rolling window is made of slices, sixty to a period; it counts a slice until all of it has left, so that the
cap holds over every interval of that length.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mainspring.budgets.types import Budget

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
SLICES = 60
_NEVER = 1 << 62


class Span(NamedTuple):
    """A bucket.

    Attributes:
        bucket_us: where it begins: under this it is counted.
        ends_us: where the next begins.
        room_us: under this leases are held: of a rolling budget all of them under 0.
    """

    bucket_us: int
    ends_us: int
    room_us: int


def span(budget: Budget, time_us: int) -> Span:
    """The bucket of an instant."""
    match budget.window:
        case "day":
            start = time_us // DAY_US * DAY_US
            return Span(start, start + DAY_US, start)
        case "month":
            start, end = _month(time_us)
            return Span(start, end, start)
        case "rolling":
            width = slice_us(budget)
            start = time_us // width * width
            return Span(start, start + width, 0)
        case _:
            return Span(0, _NEVER, 0)


def slice_us(budget: Budget) -> int:
    """The length of a slice of a rolling window."""
    return max(SECOND_US, (budget.period_us or DAY_US) // SLICES)


def lowest_bucket(budget: Budget, room_us: int, now_us: int) -> int:
    """The first bucket that counts towards the cap now."""
    if budget.window == "rolling":
        return now_us - (budget.period_us or DAY_US) - slice_us(budget) + 1
    return room_us


def highest_bucket(budget: Budget, room_us: int) -> int:
    """The last one."""
    return _NEVER if budget.window == "rolling" else room_us


def begins(budget: Budget, now_us: int) -> int:
    """Where the current window begins."""
    if budget.window == "rolling":
        return max(budget.starts_us, now_us - (budget.period_us or DAY_US))
    return max(budget.starts_us, span(budget, now_us).bucket_us)


def ends(budget: Budget, now_us: int) -> int | None:
    """When the current window turns over; None where it never does so at once."""
    return span(budget, now_us).ends_us if budget.window in ("day", "month") else None


def key_of_window(budget: Budget, now_us: int) -> int:
    """What tells windows apart in which thresholds are crossed once: rolling ones turn over with their period."""
    if budget.window == "rolling":
        period = budget.period_us or DAY_US
        return now_us // period * period
    return span(budget, now_us).bucket_us


def _month(time_us: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(time_us // SECOND_US, UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    end = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * SECOND_US, int(end.timestamp()) * SECOND_US
