"""A second call that goes out before the first has failed: when, whether it is allowed, and how it runs beside it.

Three reasons lead to one. The route hedges: the first target is slower than usual. The target hangs: of many calls
nothing comes back. The target may be back: the call is its probe, and the caller must not wait for how that ends.
The first call runs in the request's own task, the second in one of its own; who has content first, wins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from mainspring.base.clock import monotonic
from mainspring.base.errors import MainspringError
from mainspring.base.settings import QUANTILES
from mainspring.gateway.trial import silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.base.settings import HedgeSettings
    from mainspring.gateway.trial import Trial
    from mainspring.routing.health import Health
    from mainspring.routing.types import Target

#: A request that is a probe waits this long for it before the next target is asked too, in seconds.
PROBE_PAUSE = 0.02
#: A probe has at least this long to show that its target is back, and else three times what it usually needs.
_PROBE_SECONDS = 1.0
#: A target hangs when so many calls are under way and nothing was heard for so long, and for three times the usual.
_CROWD, _SILENCE_SECONDS = 5, 0.25
_TIMES = 3.0
#: Whole answers differ more in their length than streams in their beginning.
_TIMES_WHOLE = 6.0
_USUAL = 0.95

_Answer = TypeVar("_Answer")


class Outrun(MainspringError):
    """The reason for which a call is given up when another target has answered."""


class Side(Generic[_Answer]):
    """A call that runs beside the first.

    Attributes:
        trial: its record; None until it has really begun.
        answer: what it brought, once it is there.
        error: why it failed, once it has.
        left: nobody waits for it any more.
    """

    __slots__ = ("answer", "error", "left", "task", "trial")

    def __init__(self, trial: Trial | None = None) -> None:
        self.trial = trial
        self.answer: _Answer | None = None
        self.error: MainspringError | None = None
        self.left = False
        self.task: asyncio.Task[None] | None = None

    @property
    def is_probe(self) -> bool:
        """Whether it is to find out if its target is back, so that nobody should wait for it."""
        return self.trial is not None and self.trial.probe

    async def run(self, trial: Trial, call: Awaitable[_Answer], seconds: float) -> None:
        """Make the call.

        Args:
            trial: its record.
            call: what brings the answer.
            seconds: how long it may take.
        """
        self.trial = trial
        try:
            async with asyncio.timeout(seconds):
                answer = await call
        except TimeoutError:
            error: MainspringError = silent(trial.target, round(seconds, 3))
        except MainspringError as failure:
            error = failure
        except asyncio.CancelledError:
            trial.let_go()  # without effect where whoever cancelled it has told how it ended
            raise
        else:
            self.answer = answer
            return
        trial.failed(error)
        self.error = error


def delay(settings: HedgeSettings, health: Health, target: Target, *, stream: bool) -> float | None:
    """Seconds after which a route asks the next target too; None while too little is known of this one."""
    after = settings.after
    if isinstance(after, str):
        return health.expected_first_token(target, QUANTILES[after], stream=stream)
    return float(after)


def probe_seconds(health: Health, target: Target, *, stream: bool, most: float) -> float:
    """How long a probe may take before its target counts as still away."""
    usual = health.expected_first_token(target, _USUAL, stream=stream) or 0.0
    return min(most, max(_PROBE_SECONDS, _TIMES * usual))


def hangs(health: Health, target: Target, began: float, *, stream: bool) -> bool:
    """Whether a call that began then waits for a target that answers nobody."""
    if health.wait(target) > 0:
        return True  # the others that wait for it have found out
    in_flight, quiet = health.silent_for(target)
    if in_flight < _CROWD:
        return False
    usual = health.expected_first_token(target, _USUAL, stream=stream)
    if usual is None:
        return False
    limit = max(_SILENCE_SECONDS, (_TIMES if stream else _TIMES_WHOLE) * usual)
    return min(quiet, monotonic() - began) >= limit


def when_done(task: asyncio.Task[None], then: Callable[[], None]) -> None:
    """Call something when a task has come to its end by itself."""

    def done(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled():
            then()

    task.add_done_callback(done)
