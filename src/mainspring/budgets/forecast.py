"""How a budget goes on if it goes on as lately: a straight line, and how far off it may be.

The pace is that of the most recent slices, a quarter of those that have passed. Between them it swings; from how much,
a margin is taken that eight in ten windows stay within if slices are as independent as they look. Less than four slices
tell nothing, and nothing is said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Fewer than these many slices are no pace.
ENOUGH = 4
_PART = 4
#: Eight in ten of a normal distribution lie within so many standard deviations.
_MARGIN = 1.2816


class Forecast(NamedTuple):
    """Amounts at the end of the horizon, and when the cap is reached: at the earliest, likely, at the latest.

    None is "not before the end". Amounts are in the unit of the slices, times in Unix microseconds.
    """

    likely: float
    low: float
    high: float
    pace: float
    full_us: int | None
    full_early_us: int | None
    full_late_us: int | None


def forecast(
    amounts: Sequence[int], *, slice_us: int, now_us: int, ends_us: int, cap: int
) -> Forecast | None:
    """Look ahead.

    Args:
        amounts: of every slice of the window that has passed, oldest first, with noughts; the last is under way.
        slice_us: the length of a slice.
        now_us: where we are.
        ends_us: to when.
        cap: of the budget.

    Returns:
        What is to be expected; None where there is too little to tell.
    """
    passed = amounts[:-1]
    recent = passed[-max(ENOUGH, len(passed) // _PART) :]
    if len(recent) < ENOUGH or not any(recent):
        return None
    pace = sum(recent) / len(recent)
    spread = math.sqrt(sum((one - pace) ** 2 for one in recent) / (len(recent) - 1))
    spent, steps = sum(amounts), max(0.0, (ends_us - now_us) / slice_us)
    # The swing of the slices to come, and that the pace itself is only known from a few.
    off = _MARGIN * spread * math.sqrt(steps + steps * steps / len(recent))
    likely = spent + pace * steps
    doubt = _MARGIN * spread / math.sqrt(len(recent))
    full = [
        _full(cap - spent, each, slice_us, now_us, ends_us) for each in (pace, pace + doubt, pace - doubt)
    ]
    return Forecast(likely, max(float(spent), likely - off), likely + off, pace, *full)


def _full(left: int, pace: float, slice_us: int, now_us: int, ends_us: int) -> int | None:
    """When what is left is gone at a pace."""
    if left <= 0:
        return now_us
    if pace <= 0 or left / pace * slice_us > ends_us - now_us:
        return None
    return now_us + round(left / pace * slice_us)
