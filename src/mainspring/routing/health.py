"""How the targets are: one breaker, the calls under way and the times of answers for each provider's model.

There is one `Health` in a process. It outlives reloads of the configuration, and is in memory only: every process
learns for itself, from its own calls. It knows nothing of routes and sends no calls of its own.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Literal

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.routing.breaker import Breaker, State
from mainspring.routing.quantiles import Quantiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.ledger.types import Outcome
    from mainspring.routing.types import Target

#: Targets that are remembered: callers choose the names of models, and memory must not grow with them.
MOST_TARGETS = 1000
#: Seconds in which an estimate forgets most of what was before; what is faster than the estimate moves it this slowly.
_MEMORY_S = 10.0
#: Taken for the time of a target that has failed before it ever answered.
_UNKNOWN_S = 1.0
_WORST_RATE = 0.95
#: Kinds of failure that tell that the target is unwell. The others are the caller's, or have their own cure.
_FAULTS = frozenset({"unreachable", "timeout", "protocol", "cut"})
#: Statuses of a refusal that do so: the key is not taken, or the provider broke.
_FAULTY_STATUS = frozenset({401, 403, 408})
_SERVER_ERROR = 500


class TargetHealth(msgspec.Struct, kw_only=True):
    """How one target is. Times are milliseconds, None until enough was seen."""

    provider: str
    model: str
    state: State
    #: When the breaker opened (Unix microseconds), and seconds until the next probe; None while it is closed.
    opened_us: int | None
    retry_in_s: float | None
    in_flight: int
    #: The share of calls that failed in the last seconds, and failures since the last success.
    error_rate: float
    failures: int
    last_failure: str | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    whole_p50_ms: float | None
    whole_p95_ms: float | None


class _Times:
    """Times of one kind of answer: an estimate that rises at once and falls slowly, and quantiles."""

    __slots__ = ("_at", "_estimate", "quantiles")

    def __init__(self, now: float) -> None:
        self._estimate: float | None = None
        self._at = now
        self.quantiles = Quantiles(now)

    def add(self, seconds: float, now: float) -> None:
        known = self._estimate
        if known is None or seconds > known:
            self._estimate = seconds
        else:
            share = exp((self._at - now) / _MEMORY_S)
            # Two samples of one moment still count as two.
            share = min(share, 0.98)
            self._estimate = known * share + seconds * (1.0 - share)
        self._at = now
        self.quantiles.add(seconds, now)

    def now(self, now: float) -> float | None:
        """The estimate; it falls while nothing is heard, so that a slow target is tried again some day."""
        known = self._estimate
        return None if known is None else known * exp((self._at - now) / _MEMORY_S)


class _Entry:
    __slots__ = ("answered", "breaker", "first", "heard", "in_flight", "last_failure", "opened_us", "whole")

    def __init__(self, now: float) -> None:
        self.breaker = Breaker(now)
        self.in_flight = 0
        #: When content last came from it.
        self.answered = 0.0
        #: When anything, good or bad, was last heard of it.
        self.heard = now
        self.opened_us: int | None = None
        self.last_failure: str | None = None
        self.first = _Times(now)
        self.whole = _Times(now)


class Health:
    """How all targets are.

    For every `began` there is exactly one `succeeded`, `failed`, `let_go` or `outrun`, which is handed what `began`
    returned: the moment at which the call began.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}
        #: Targets whose breaker is not closed. Empty on every good day, which makes planning quick.
        self.unwell: set[tuple[str, str]] = set()

    def admits(self, target: Target) -> Literal["closed", "probe", "open"]:
        """Whether a call may go to the target now. `probe` claims the one place of a target that may be back."""
        if not self.unwell or (key := (target.provider, target.model)) not in self.unwell:
            return "closed"
        return self._entries[key].breaker.admits(self._clock())

    def began(self, target: Target) -> float:
        """A call goes out. Returns what its end is told with."""
        now = self._clock()
        entry = self._entry(target, now)
        entry.in_flight += 1
        entry.breaker.began(now)
        return now

    def answered(
        self, target: Target, *, first_token_s: float, stream: bool = True, began: float | None = None
    ) -> None:
        """Content has come: the target is well, however long the rest takes. To be followed by the call's end."""
        now = self._clock()
        entry = self._entry(target, now)
        (entry.first if stream else entry.whole).add(first_token_s, now)
        entry.answered = entry.heard = now
        entry.breaker.succeeded(now, now if began is None else began)
        if self.unwell and entry.breaker.state == "closed":
            self.unwell.discard((target.provider, target.model))
            entry.opened_us = None

    def succeeded(
        self,
        target: Target,
        *,
        first_token_s: float | None = None,
        total_s: float = 0.0,
        stream: bool = True,
        began: float | None = None,
    ) -> None:
        """A call has ended well.

        Args:
            target: who was called.
            first_token_s: seconds to the first content; None when `answered` has told it.
            total_s: seconds to the end.
            stream: whether it was streamed; whole answers have times of their own.
            began: what `began` returned.
        """
        entry = self._entries.get((target.provider, target.model))
        if entry is not None:
            entry.in_flight = max(0, entry.in_flight - 1)
            entry.heard = self._clock()
        if first_token_s is not None:
            self.answered(
                target, first_token_s=first_token_s if stream else total_s, stream=stream, began=began
            )

    def failed(
        self, target: Target, kind: Outcome, *, status: int | None = None, began: float | None = None
    ) -> None:
        """A call has failed. Only what is the provider's fault counts against it.

        Args:
            target: who was called.
            kind: how it failed.
            status: the HTTP status of a refusal.
            began: what `began` returned.
        """
        if not is_fault(kind, status):
            self.let_go(target, began=began)
            return
        now = self._clock()
        key = (target.provider, target.model)
        entry = self._entry(target, now)
        entry.in_flight = max(0, entry.in_flight - 1)
        entry.heard = now
        entry.last_failure = kind if status is None else f"{kind} {status}"
        self._failed(key, entry, now, began)

    def outrun(self, target: Target, *, waited_s: float, stream: bool = True, began: float) -> None:
        """A call was given up after this long because another target answered before it.

        If nothing has come from the target since the call began, it is silent, and that counts as a failure.
        """
        now = self._clock()
        key = (target.provider, target.model)
        entry = self._entry(target, now)
        entry.in_flight = max(0, entry.in_flight - 1)
        times = entry.first if stream else entry.whole
        usual = times.quantiles.value(0.5, now)
        # It would have taken at least this long: without it, only its quick answers would be known.
        times.add(waited_s, now)
        if usual is not None and waited_s > _SILENT * usual and entry.answered < began:
            entry.last_failure = "silent"
            self._failed(key, entry, now, began)
        else:
            entry.breaker.let_go(now, began)

    def let_go(self, target: Target, *, began: float | None = None) -> None:
        """A call has ended without a verdict on the target; frees the place of a probe."""
        entry = self._entries.get((target.provider, target.model))
        if entry is not None:
            entry.in_flight = max(0, entry.in_flight - 1)
            now = self._clock()
            entry.breaker.let_go(now, now if began is None else began)

    def expected_first_token(self, target: Target, quantile: float, *, stream: bool = True) -> float | None:
        """Seconds within which this share of answers began (or were there, if whole); None until enough was seen."""
        entry = self._entries.get((target.provider, target.model))
        if entry is None:
            return None
        return (entry.first if stream else entry.whole).quantiles.value(quantile, self._clock())

    def error_rate(self, target: Target) -> float:
        """The share of its calls that failed in the last seconds; 0 where nothing is known."""
        entry = self._entries.get((target.provider, target.model))
        return 0.0 if entry is None else entry.breaker.error_rate(self._clock())

    def silent_for(self, target: Target) -> tuple[int, float]:
        """Calls under way, and seconds since anything, good or bad, was heard of the target."""
        entry = self._entries.get((target.provider, target.model))
        return (0, 0.0) if entry is None else (entry.in_flight, self._clock() - entry.heard)

    def wait(self, target: Target) -> float:
        """Seconds until the breaker lets a call through; 0 is now."""
        if not self.unwell:
            return 0.0
        key = (target.provider, target.model)
        return self._entries[key].breaker.waits(self._clock()) if key in self.unwell else 0.0

    def load(self, target: Target, *, stream: bool) -> float:
        """What a call costs in time at this target now: its time, its errors and its calls under way in one number.

        A target of which nothing is known costs nothing while nobody asks it, so that it becomes known.
        """
        key = (target.provider, target.model)
        entry = self._entries.get(key)
        if entry is None or key in self.unwell:  # a breaker that is not closed gets its probe
            return 0.0
        now = self._clock()
        seconds = (entry.first if stream else entry.whole).now(now)
        rate = entry.breaker.error_rate(now)
        if seconds is None:
            if not entry.in_flight and not rate:
                return 0.0
            seconds = _UNKNOWN_S
        return seconds * (entry.in_flight + 1) / (1.0 - min(rate, _WORST_RATE))

    def states(self) -> list[tuple[str, str, State, int]]:
        """Provider, model, state of the breaker and calls under way, of every target that was called."""
        return [(*key, entry.breaker.state, entry.in_flight) for key, entry in self._entries.items()]

    def entries(self) -> list[TargetHealth]:
        """How every target is that was called, sorted by name."""
        now = self._clock()
        return [
            TargetHealth(
                provider=provider,
                model=model,
                state=entry.breaker.state,
                opened_us=entry.opened_us,
                retry_in_s=round(entry.breaker.waits(now), 3) if entry.breaker.state != "closed" else None,
                in_flight=entry.in_flight,
                error_rate=round(entry.breaker.error_rate(now), 4),
                failures=entry.breaker.failures,
                last_failure=entry.last_failure,
                first_token_p50_ms=_ms(entry.first.quantiles.value(0.5, now)),
                first_token_p95_ms=_ms(entry.first.quantiles.value(0.95, now)),
                whole_p50_ms=_ms(entry.whole.quantiles.value(0.5, now)),
                whole_p95_ms=_ms(entry.whole.quantiles.value(0.95, now)),
            )
            for (provider, model), entry in sorted(self._entries.items())
        ]

    def _failed(self, key: tuple[str, str], entry: _Entry, now: float, began: float | None) -> None:
        entry.breaker.failed(now, now if began is None else began)
        if entry.breaker.state != "closed":
            self.unwell.add(key)
            entry.opened_us = entry.opened_us or now_us()

    def _entry(self, target: Target, now: float) -> _Entry:
        key = (target.provider, target.model)
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= MOST_TARGETS:
                self._forget()
            entry = self._entries[key] = _Entry(now)
        return entry

    def _forget(self) -> None:
        """Make room: the target that was met first, of those that are well and idle."""
        for key, entry in self._entries.items():
            if not entry.in_flight and key not in self.unwell:
                del self._entries[key]
                return


#: A call that has waited for this many times the usual without a word is one that hangs.
_SILENT = 5.0


def is_fault(kind: Outcome, status: int | None) -> bool:
    """Whether a failure tells that the target is unwell."""
    if kind == "refused":
        return status is None or status >= _SERVER_ERROR or status in _FAULTY_STATUS
    return kind in _FAULTS


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
