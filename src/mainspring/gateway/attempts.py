"""The attempts of one request: which target next, how often, and when to give up.

Another target comes before another try at the same one. The same target is asked again only when nothing else is left,
after a pause and within the route's budget of extra calls; or at once, when the fault was a kept connection that the
other side had closed, or a key of which the provider has another. Everything together has one deadline.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from mainspring.base.clock import monotonic
from mainspring.base.errors import (
    BudgetExceeded,
    ClientGone,
    MainspringError,
    drop_frames,
)
from mainspring.gateway.account import lose, may_be_billed
from mainspring.gateway.beside import Calls
from mainspring.gateway.exchange import Interruptible
from mainspring.gateway.faults import (
    a_repeat_may_cure,
    another_key_may_cure,
    another_target_may_cure,
    is_dropped,
)
from mainspring.gateway.hedge import Outrun
from mainspring.gateway.reserve import reserve, reserve_at_once
from mainspring.gateway.retrying import pause
from mainspring.gateway.trial import Trial
from mainspring.gateway.verdict import verdict

if TYPE_CHECKING:
    from mainspring.providers import Provider
    from mainspring.routing.types import Target

#: A provider that wants to be left alone for longer than this many seconds is the caller's to wait for.
_LONGEST_WAIT = 5.0
#: A target that fails more often than this is not well: being asked in place of another costs the budget.
_UNWELL_RATE = 0.1

_Answer = TypeVar("_Answer")


class Attempts(Calls[_Answer]):
    """The attempts of one request; see `beside.Calls` for what it is made of."""

    __slots__ = ()

    async def run(self) -> _Answer:
        """Get an answer from the first target that gives one.

        Raises:
            MainspringError: what tells the caller most of why there is none.
        """
        if self._budget.empty and len(self._remaining) > 1:
            # What fails often has used up the budget: who fails less is asked first until that is earned back.
            self._remaining.sort(key=self._often)
        try:
            while True:
                side = self._side
                if side is not None and (side.answer is not None or not side.is_probe):
                    answer = await self._await_side(side)
                else:
                    chosen = await self._next()
                    answer = await (self._last_resort() if chosen is None else self._attempt(*chosen))
                if answer is not None:
                    return answer
        finally:
            if self._side is not None:
                self._leave(self._side)

    # Whom to ask

    async def _next(self) -> tuple[Target, Provider, str] | None:
        """The next target that may be asked now, and what health says to that; None where there is none."""
        upstreams = self._upstreams
        for target in tuple(self._remaining):
            self._may_go_on()
            provider = upstreams.providers.get(target.provider)
            if provider.ready(target.model) > 0 or upstreams.health.wait(target) > 0:
                continue
            if self._calls and not self._pay(target):
                continue
            admitted = upstreams.health.admits(target)
            self._remaining.remove(target)
            try:
                if not reserve_at_once(self._exchange, target):
                    await self._reserve(target)
                    self._may_go_on()
            except MainspringError as error:
                if admitted == "probe":
                    upstreams.health.let_go(target, began=upstreams.health.began(target))
                if not isinstance(error, BudgetExceeded):
                    raise
                self._failures.append((target, error))  # another may cost less
                continue
            return target, provider, admitted
        return None

    async def _reserve(self, target: Target) -> None:
        """Set aside what a call may cost; a caller who leaves ends the wait for room."""
        exchange = self._exchange
        exchange.deadline = 0.0  # how long it is waited for, the budget says
        with Interruptible(exchange):
            await reserve(exchange, target)

    def _may_go_on(self) -> None:
        """Raise where no further call may go out: the caller has left, or all of the time is up."""
        left = self._exchange.left
        if left is not None:
            raise left
        if self._calls and monotonic() >= self._total:
            raise self._verdict()

    def _pay(self, target: Target) -> bool:
        """Pay for asking a target after another; one that is well is asked in any case."""
        if self._is_immediate(target):
            self._budget.spend()
            return True
        if self._calls >= self._most:
            return False
        if self._often(target) == 0.0:
            self._budget.spend()
            return True
        return self._budget.take()

    def _is_immediate(self, target: Target) -> bool:
        """Whether a target is asked again at once: for its connection or its key, not for itself."""
        return self._called is not None and target in self._called

    def _often(self, target: Target) -> float:
        """How often a target fails, where that is often."""
        rate = self._upstreams.health.error_rate(target)
        return rate if rate > _UNWELL_RATE else 0.0

    # One call

    async def _attempt(self, target: Target, provider: Provider, admitted: str) -> _Answer | None:
        """Ask one target. None is that it failed and another may be asked; a second call may be under way."""
        exchange, upstreams, probe = self._exchange, self._upstreams, admitted == "probe"
        trial = Trial(exchange, target, upstreams.health, hedge=self._side is not None, probe=probe)
        exchange.target = target
        self._calls += 1
        if probe and self._remaining and self._side is None:
            return await self._probe(trial, provider)
        timeouts = exchange.timeouts
        assert timeouts is not None
        timer = None
        if self._remaining and self._side is None:
            timer = self._timer(target)
            exchange.waiting = self
        exchange.deadline = (
            min(self._total, trial.began + timeouts.first_token) if exchange.stream else self._total
        )
        self._now = trial
        exchange.interruptible = True
        try:
            answer = await self._call(trial, provider)
        except asyncio.CancelledError:
            reason = exchange.interruption()
            lose(exchange, trial)
            if reason is None:
                trial.let_go()
                raise
            error = reason
        except MainspringError as failure:
            error = failure
            if may_be_billed(trial, error):
                lose(exchange, trial, error)
        except BaseException:  # a bug of ours says nothing of the target
            trial.let_go()
            raise
        else:
            self._won(trial)
            return answer
        finally:
            exchange.interruptible = False
            exchange.waiting = self._now = None
            if timer is not None:
                timer.cancel()
        return self._failed(trial, error)

    def _failed(self, trial: Trial, error: MainspringError) -> _Answer | None:
        """Note a failure. Returns what the other call has brought, if it has."""
        target, side = trial.target, self._side
        if isinstance(error, Outrun):
            trial.outrun()
            return self._taken(side)
        dropped = is_dropped(error)
        again = dropped and (self._dropped is None or target not in self._dropped)
        trial.failed(error, repeated=dropped and not again)
        self._failures.append((target, error))
        if isinstance(error, ClientGone):
            raise error
        if side is not None and side.answer is not None:
            return self._taken(side)
        if not another_target_may_cure(error):
            raise error
        if again:
            self._dropped = self._dropped or set()
            self._dropped.add(target)
        if again or self._has_another_key(target, error):
            self._remaining.insert(0, target)
            self._most += 1
        self._called = self._called or Counter()
        self._called[target] += 1
        drop_frames(error)
        return None

    def _has_another_key(self, target: Target, error: MainspringError) -> bool:
        """Whether the provider has another key that may be used now; each is tried once."""
        if not another_key_may_cure(error):
            return False
        provider = self._upstreams.providers.get(target.provider)
        self._keys += 1
        usable = sum(key.usable for key in provider.pool.keys)
        return self._keys < usable and provider.ready(target.model) == 0

    # When nobody is left

    async def _last_resort(self) -> _Answer | None:
        """Wait for the second call, or ask one of the targets again after a pause."""
        if self._side is not None:
            return await self._await_side(self._side)
        chosen = self._repeatable()
        if chosen is None:
            raise self._verdict()
        target, seconds = chosen
        if not self._budget.take():
            raise self._verdict()
        await self._sleep(seconds)
        # It was paid for here, and is not asked for anything else.
        provider = self._upstreams.providers.get(target.provider)
        admitted = self._upstreams.health.admits(target)
        if admitted == "open" or provider.ready(target.model) > 0:
            raise self._verdict()
        await self._reserve(target)
        self._may_go_on()
        return await self._attempt(target, provider, admitted)

    def _repeatable(self) -> tuple[Target, float] | None:
        """The target that may be asked again soonest, and after how many seconds."""
        if self._calls >= self._most:
            return None
        best: tuple[Target, float] | None = None
        for target, error in self._failures:
            if not a_repeat_may_cure(error):
                continue
            wait = self._upstreams.wait(target)
            if error.retry_after is not None and not another_key_may_cure(error):
                wait = max(wait, error.retry_after)
            if wait > _LONGEST_WAIT:
                continue
            seconds = pause(self._called[target] if self._called else 1, self._plan.retry.backoff, wait)
            if monotonic() + seconds < self._total and (best is None or seconds < best[1]):
                best = target, seconds
        return best

    async def _sleep(self, seconds: float) -> None:
        """Pause; a caller who leaves ends it."""
        exchange = self._exchange
        exchange.deadline = self._total
        with Interruptible(exchange):
            self._may_go_on()
            await asyncio.sleep(seconds)

    def _verdict(self) -> MainspringError:
        """The error of a request that nobody answered."""
        return verdict(self._exchange, self._upstreams, self._plan, self._failures, self._remaining)
