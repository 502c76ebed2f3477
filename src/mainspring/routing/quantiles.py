"""Quantiles of a stream of times, in bounded memory, where what is old counts for less.

A histogram whose buckets grow by 8 % each, so that a quantile is right within 4 %. A time that is added weighs more
than those before it by as much as they have aged since; when the weights grow large, all are scaled down.
"""

from __future__ import annotations

from itertools import accumulate
from math import exp, log

_FASTEST_S = 0.0005
_GROWTH = log(1.08)
#: Up to about half an hour.
_BUCKETS = 198
#: Seconds in which what was seen loses half of its weight.
_HALF_LIFE_S = 120.0
_RATE = log(2) / _HALF_LIFE_S
_HEAVY = 1e9
#: A quantile that was worked out stands for this long.
_STALE_S = 0.25


class Quantiles:
    """Times in seconds, the newest with the most weight."""

    __slots__ = ("_answers", "_at", "_epoch", "_total", "_weights")

    def __init__(self, now: float) -> None:
        self._epoch = now
        self._weights = [0.0] * _BUCKETS
        self._total = 0.0
        self._answers: dict[float, float] = {}
        self._at = now

    def add(self, seconds: float, now: float) -> None:
        """Add a time."""
        weight = exp((now - self._epoch) * _RATE)
        if weight > _HEAVY:
            self._weights = [old / weight for old in self._weights]
            self._total /= weight
            self._epoch, weight = now, 1.0
        place = int(log(seconds / _FASTEST_S) / _GROWTH) + 1 if seconds > _FASTEST_S else 0
        self._weights[min(place, _BUCKETS - 1)] += weight
        self._total += weight

    def seen(self, now: float) -> float:
        """How many times there are, those that are old counted in part."""
        return self._total / exp((now - self._epoch) * _RATE)

    def value(self, quantile: float, now: float) -> float | None:
        """The time that this share of times does not pass; None until enough was seen to tell.

        Enough is ten times, and for a quantile near 1 as many as leave one beyond it.
        """
        if now - self._at > _STALE_S:
            self._answers.clear()
            self._at = now
        found = self._answers.get(quantile)
        if found is not None:
            return found
        if self.seen(now) < max(10.0, 0.9 / (1.0 - quantile)):
            return None
        wanted = quantile * self._total
        sums = enumerate(accumulate(self._weights))
        place = next((place for place, passed in sums if passed >= wanted), _BUCKETS - 1)
        # The middle of the bucket, as times grow.
        found = self._answers[quantile] = _FASTEST_S * exp((place - 0.5) * _GROWTH)
        return found
