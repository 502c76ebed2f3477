"""How often and when a call is made again: one budget for all requests of a route, and the pauses of one request.

A budget makes sure that a provider in trouble is not buried under repeated calls: every request earns a share of a
call, and every extra call costs one. It holds in one process, for one route.
"""

from __future__ import annotations

import random

#: Extra calls that are there before anything was earned, so that the first failures of a quiet route are mended too.
RESERVE = 10.0
#: Extra calls that can be saved up: a burst of failures after a long good time must stay a burst.
MOST = 50.0
#: The longest pause between two calls, in seconds.
_LONGEST_PAUSE = 30.0


class Budget:
    """Extra calls that a route may make: at most a share of its requests, and a few more at the start.

    Args:
        share: earned by each request; a new configuration may change it.
        reserve: what is there at the start.
    """

    __slots__ = ("_left", "_most", "share")

    def __init__(self, share: float, reserve: float = RESERVE) -> None:
        self.share = share
        self._left = reserve if share else 0.0
        self._most = max(MOST, reserve)

    @property
    def empty(self) -> bool:
        """Whether no extra call can be paid."""
        return self._left < 1.0 or not self.share

    def earn(self) -> None:
        """A request came."""
        if self._left < self._most:
            self._left += self.share

    def take(self) -> bool:
        """Pay an extra call; False where there is nothing left to pay it with, or none is allowed any more."""
        if self.empty:
            return False
        self._left -= 1.0
        return True

    def spend(self) -> None:
        """Take what is left, up to one call, for a call that is made in any case."""
        self._left = max(0.0, self._left - 1.0)


def pause(number: int, base: float, retry_after: float | None) -> float:
    """Seconds before the same target is asked again: full jitter, on top of what the provider asked for.

    Args:
        number: how often it was asked before, from 1.
        base: the longest first pause; it doubles with every call.
        retry_after: seconds that the provider wants to be left alone.
    """
    longest = min(base * 2 ** min(number - 1, 16), _LONGEST_PAUSE)
    return (retry_after or 0.0) + random.uniform(0.0, longest)  # noqa: S311 - nobody gains from guessing it
