"""A breaker: it opens when a target keeps failing, and finds out by single probes when the target is back.

closed     calls go through
open       no calls, for 1 s at first; twice as long each time that a probe fails, 8 s at most
half-open  one call at a time goes through as the probe: it closes the breaker or opens it again

It opens when half of the calls of the last seconds failed, or the last fifteen in a row. Calls under way count as not
failed, so that failures that are quick do not outvote answers that are slow. A probe that is silent for 4 s gives its
place to another, since a target that hung may be back while the old call still hangs.

What began before the breaker last changed tells of the time before: such verdicts do not move it.
"""

from __future__ import annotations

from math import exp, log
from typing import Literal

State = Literal["closed", "open", "half-open"]

_OPEN_S = 1.0
_LONGEST_OPEN_S = 8.0
_PROBE_S = 4.0
#: A breaker that has stayed closed for this long begins with the shortest time again.
_FORGIVEN_S = 30.0
_RUN = 5
_LONG_RUN = 15
_FEWEST = 20.0
_SHARE = 0.5
_RATE = log(2) / 5.0


class Breaker:
    """The breaker of one target. Times are monotonic seconds, given by the caller."""

    __slots__ = ("_bad", "_begun", "_changed", "_decayed", "_opens", "_run", "_run_begun", "_until", "state")

    def __init__(self, now: float) -> None:
        self.state: State = "closed"
        self._changed = now
        #: How often it opened in a row.
        self._opens = 0
        self._until = 0.0
        # Failures since the last success, and calls begun since then.
        self._run = 0
        self._run_begun = 0
        # Calls begun and failed in the last seconds, decaying.
        self._begun = self._bad = 0.0
        self._decayed = now

    def admits(self, now: float) -> Literal["closed", "probe", "open"]:
        """Whether a call may go through now; `probe` claims the one place that there is."""
        if self.state == "closed":
            return "closed"
        if now < self._until:
            return "open"
        # The time is up, or the probe was silent for too long.
        self.state, self._changed, self._until = "half-open", now, now + _PROBE_S
        return "probe"

    def waits(self, now: float) -> float:
        """Seconds until a call may go through; 0 is now."""
        return 0.0 if self.state == "closed" else max(0.0, self._until - now)

    def began(self, now: float) -> None:
        """A call goes out."""
        self._decay(now)
        self._begun += 1.0
        self._run_begun += 1

    def succeeded(self, now: float, began: float) -> None:
        """A call was answered. One that was made although the breaker was open closes it as a probe does."""
        self._run = self._run_begun = 0
        if self.state != "closed" and began >= self._changed:
            self.state, self._changed = "closed", now
            self._begun = self._bad = 0.0

    def failed(self, now: float, began: float) -> None:
        """A call failed, and the target was at fault."""
        if began < self._changed:
            return
        if self.state == "half-open":
            self._open(now)
            return
        self._decay(now)
        self._bad += 1.0
        self._run += 1
        if self.state == "closed" and self._is_down():
            self._open(now)

    def let_go(self, now: float, began: float) -> None:
        """A call ended without a verdict: a probe gives its place to the next."""
        if self.state == "half-open" and began >= self._changed:
            self._until = now

    def error_rate(self, now: float) -> float:
        """The share of calls that failed in the last seconds."""
        self._decay(now)
        # One call more, so that the rate of a target that nobody asks goes down.
        return min(1.0, self._bad / (self._begun + 1.0))

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._run

    def _is_down(self) -> bool:
        half_failed = self._bad >= _SHARE * self._begun
        if half_failed and self._begun >= _FEWEST:
            return True
        in_a_row = self._run >= _RUN and self._run >= _SHARE * self._run_begun
        return in_a_row and (half_failed or self._run >= _LONG_RUN)

    def _open(self, now: float) -> None:
        if self.state == "closed" and now - self._changed > _FORGIVEN_S:
            self._opens = 0
        wait = min(_OPEN_S * 2**self._opens, _LONGEST_OPEN_S)
        self._opens = min(self._opens + 1, 8)
        self.state, self._changed, self._until = "open", now, now + wait
        self._run = self._run_begun = 0

    def _decay(self, now: float) -> None:
        passed = now - self._decayed
        if passed > 0:
            factor = exp(-passed * _RATE)
            self._begun *= factor
            self._bad *= factor
            self._decayed = now
