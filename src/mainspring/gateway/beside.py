"""The call beside the first: when one begins, and how the two of them end.

The first call of a request runs in the request's own task, a second one in a task of its own. What the second brings
interrupts the wait for the first; who loses is cancelled at once, and what it used is noted. Why and when a second
call goes out is said in `hedge`, which target is asked at all in `attempts`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from mainspring.base.clock import monotonic
from mainspring.base.errors import MainspringError, ProviderTimeout
from mainspring.base.logging import get_logger
from mainspring.gateway import hedge
from mainspring.gateway.account import lose, may_be_billed
from mainspring.gateway.exchange import Interruptible
from mainspring.gateway.faults import another_target_may_cure
from mainspring.gateway.hedge import Outrun, Side
from mainspring.gateway.reserve import reserve
from mainspring.gateway.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.upstreams import Upstreams
    from mainspring.providers import Provider
    from mainspring.routing.types import Plan, Target

_Answer = TypeVar("_Answer")
_log = get_logger(__name__)


class Calls(Generic[_Answer]):
    """The calls of one request that may be under way at once: the first, and one beside it.

    Args:
        exchange: the request.
        upstreams: what all requests share.
        call: makes one call; returns when there is an answer, or the first content of one.
        drop: lets go of an answer that nobody wants.
        plan: who may be asked, and how often.
        rest: those who may be asked for the rest of an answer, in place of the plan's targets.
    """

    __slots__ = (
        "_budget",
        "_call",
        "_called",
        "_calls",
        "_drop",
        "_dropped",
        "_exchange",
        "_failures",
        "_keys",
        "_most",
        "_now",
        "_plan",
        "_remaining",
        "_side",
        "_total",
        "_upstreams",
    )

    def __init__(
        self,
        exchange: Exchange,
        upstreams: Upstreams,
        call: Callable[[Trial, Provider], Awaitable[_Answer]],
        drop: Callable[[_Answer], None],
        plan: Plan,
        *,
        rest: list[Target] | None = None,
    ) -> None:
        timeouts = exchange.timeouts
        assert timeouts is not None
        self._exchange = exchange
        self._upstreams = upstreams
        self._call = call
        self._drop = drop
        self._plan = plan
        self._remaining = list(plan.targets) if rest is None else rest
        self._most = plan.retry.attempts or len(self._remaining) + 1
        self._total = exchange.received + timeouts.total
        self._budget = upstreams.budget(plan)
        if rest is None:
            self._budget.earn()
        self._failures: list[tuple[Target, MainspringError]] = []
        self._calls = 0
        self._called: Counter[Target] | None = None
        self._dropped: set[Target] | None = None
        self._keys = 0
        #: The call in the request's own task, while it is under way.
        self._now: Trial | None = None
        self._side: Side[_Answer] | None = None

    def consider(self) -> None:
        """Ask the next target too, if the one that is being asked answers nobody. Called by the watch."""
        trial = self._now
        if trial is None or self._side is not None:
            return
        if hedge.hangs(self._upstreams.health, trial.target, trial.began, stream=trial.stream):
            self._hedge(paid=True)

    def _won(self, trial: Trial) -> None:
        exchange = self._exchange
        exchange.target, exchange.seen, exchange.attempt = trial.target, trial.seen, trial.record
        if not trial.stream:
            trial.succeeded()

    def _timer(self, target: Target) -> asyncio.TimerHandle | None:
        """Set the time for a hedge, where the route has them."""
        plan, upstreams = self._plan, self._upstreams
        if plan.hedge is None:
            return None
        upstreams.hedges(plan).earn()
        seconds = hedge.delay(plan.hedge, upstreams.health, target, stream=self._exchange.stream)
        if seconds is None:
            return None
        return asyncio.get_running_loop().call_later(seconds, self._hedge)

    def _hedge(self, *, paid: bool = False) -> None:
        """Begin a call beside the one that is under way, at a target that is well.

        Args:
            paid: it goes to the budget of extra calls, not to that of the route's hedges.
        """
        plan, upstreams = self._plan, self._upstreams
        if self._side is not None or self._calls >= self._most:
            return
        target = next((t for t in self._remaining if upstreams.is_well(t)), None)
        if target is None:
            return
        if paid:
            self._budget.spend()
        elif not upstreams.hedges(plan).take():
            return
        self._remaining.remove(target)
        self._calls += 1
        side: Side[_Answer] = Side()
        self._begin(side, self._hedged(side, target))

    async def _hedged(self, side: Side[_Answer], target: Target) -> None:
        try:
            await reserve(self._exchange, target)
        except MainspringError as error:
            side.error = error
            return
        trial = Trial(self._exchange, target, self._upstreams.health, hedge=True)
        provider = self._upstreams.providers.get(target.provider)
        await side.run(trial, self._call(trial, provider), self._seconds())

    async def _probe(self, trial: Trial, provider: Provider) -> _Answer | None:
        """Ask a target that may be back: for a moment alone, then beside the next one."""
        seconds = hedge.probe_seconds(
            self._upstreams.health, trial.target, stream=trial.stream, most=self._seconds()
        )
        side: Side[_Answer] = Side(trial)
        self._begin(side, side.run(trial, self._call(trial, provider), seconds))
        return await self._await_side(side, hedge.PROBE_PAUSE)

    def _begin(self, side: Side[_Answer], work: Awaitable[None]) -> None:
        self._side = side
        side.task = asyncio.ensure_future(work)
        assert side.task is not None
        hedge.when_done(side.task, lambda: self._side_done(side))

    def _side_done(self, side: Side[_Answer]) -> None:
        """The second call has ended: its answer ends the wait for the first."""
        assert side.task is not None
        bug = side.task.exception()
        if bug is not None:
            _log.error(
                "unexpected_error", request_id=self._exchange.id, error=type(bug).__name__, exc_info=bug
            )
            if side.trial is not None:
                side.trial.let_go()
        if side.answer is None:
            return
        if side.left:
            assert side.trial is not None
            self._drop(side.answer)
            side.trial.succeeded()
        elif self._now is not None:
            self._exchange.interrupt(Outrun("Another target has answered."))

    async def _await_side(self, side: Side[_Answer], seconds: float | None = None) -> _Answer | None:
        """Wait for the second call. None is that it has failed, or still runs after these seconds."""
        exchange = self._exchange
        assert side.task is not None
        if exchange.left is not None:
            raise exchange.left
        exchange.deadline = self._total
        with Interruptible(exchange):
            await asyncio.wait({side.task}, timeout=seconds)
        if not side.task.done():
            return None
        if side.answer is not None:
            return self._taken(side)
        self._side = None
        side.task.result()  # a bug of ours is no failure of the target
        if side.error is not None and side.trial is not None:
            self._failed_beside(side.trial, side.error)
        return None

    def _failed_beside(self, trial: Trial, error: MainspringError) -> None:
        self._failures.append((trial.target, error))
        if _has_used(trial, error):
            lose(self._exchange, trial, error)
        self._called = self._called or Counter()
        self._called[trial.target] += 1
        if not another_target_may_cure(error):
            raise error

    def _taken(self, side: Side[_Answer] | None) -> _Answer:
        assert side is not None
        assert side.trial is not None
        assert side.answer is not None
        self._side = None
        self._won(side.trial)
        return side.answer

    def _leave(self, side: Side[_Answer]) -> None:
        """Give up the second call; a probe goes on until health knows how it ends, unless the caller left."""
        exchange, trial, task = self._exchange, side.trial, side.task
        self._side = None
        assert task is not None
        if trial is not None and trial.open:
            lose(exchange, trial)
            if side.answer is not None:
                self._drop(side.answer)
                trial.succeeded()
                trial.record.outcome = "cancelled"
            elif trial.probe and exchange.attempt is not None:
                side.left = True
                trial.leave_behind()
                self._upstreams.keep(task)
                return
            elif exchange.attempt is None:
                trial.let_go()
            else:
                trial.outrun()
        elif trial is not None and side.error is not None and _has_used(trial, side.error):
            lose(exchange, trial, side.error)
        task.cancel()

    def _seconds(self) -> float:
        """How long a call may take from now."""
        timeouts = self._exchange.timeouts
        assert timeouts is not None
        left = max(0.0, self._total - monotonic())
        return min(left, timeouts.first_token) if self._exchange.stream else left


def _has_used(trial: Trial, error: MainspringError) -> bool:
    """Whether a call that failed has cost something: it was still at work, or had begun to answer."""
    return isinstance(error, ProviderTimeout) or may_be_billed(trial, error)
