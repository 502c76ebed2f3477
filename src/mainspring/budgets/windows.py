"""Where the windows of budgets begin and end. All in UTC.

A row is counted in the slice of its id's time, whenever it is written: half an hour of a day, eight hours of a month,
a day of a budget without end, a sixtieth of a rolling period. The slices of a window add up to what is spent in it, and
show how that came about. A rolling window counts a slice until all of it has left, so that its cap holds over every
interval of that length.
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
    """A slice.

    Attributes:
        bucket_us: where it begins: under this it is counted.
        ends_us: where the next begins.
        room_us: where its window begins: under this leases are held; 0 for rolling and total ones.
    """

    bucket_us: int
    ends_us: int
    room_us: int


def span(budget: Budget, time_us: int) -> Span:
    """The slice of an instant."""
    width = slice_us(budget)
    start = time_us // width * width
    return Span(start, start + width, window(budget, time_us)[0])


def slice_us(budget: Budget) -> int:
    """The length of a slice. Those of days and months divide a day."""
    match budget.window:
        case "day":
            return DAY_US // 48
        case "month":
            return DAY_US // 3
        case "rolling":
            return max(SECOND_US, (budget.period_us or DAY_US) // SLICES)
        case _:
            return DAY_US


def window(budget: Budget, time_us: int) -> tuple[int, int]:
    """The window of an instant, from and to; of rolling and total ones everything."""
    if budget.window == "day":
        start = time_us // DAY_US * DAY_US
        return start, start + DAY_US
    return _month(time_us) if budget.window == "month" else (0, _NEVER)


def lowest_bucket(budget: Budget, room_us: int, now_us: int) -> int:
    """The first slice that counts towards the cap now."""
    if budget.window == "rolling":
        return now_us - (budget.period_us or DAY_US) - slice_us(budget) + 1
    return room_us


def highest_bucket(budget: Budget, room_us: int) -> int:
    """The last instant at which one may begin."""
    return window(budget, room_us)[1] - 1


def begins(budget: Budget, now_us: int) -> int:
    """Where the current window begins."""
    if budget.window == "rolling":
        return max(budget.starts_us, now_us - (budget.period_us or DAY_US))
    return max(budget.starts_us, window(budget, now_us)[0])


def ends(budget: Budget, now_us: int) -> int | None:
    """When the current window turns over; None where it never does so at once."""
    return window(budget, now_us)[1] if budget.window in ("day", "month") else None


def key_of_window(budget: Budget, now_us: int) -> int:
    """What tells windows apart in which thresholds are crossed once: rolling ones turn over with their period."""
    if budget.window == "rolling":
        period = budget.period_us or DAY_US
        return now_us // period * period
    return window(budget, now_us)[0]


def _month(time_us: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(time_us // SECOND_US, UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    end = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * SECOND_US, int(end.timestamp()) * SECOND_US
