"""What is told of a request that nobody answered: the most useful error, and the soonest time to come back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mainspring.base.errors import (
    MainspringError,
    NoTargetAvailable,
    ProviderCoolingDown,
    ProviderTimeout,
)
from mainspring.gateway.faults import a_repeat_may_cure, usefulness

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.upstreams import Upstreams
    from mainspring.routing.types import Plan, Target

    Failures = list[tuple[Target, MainspringError]]

#: When a target that has failed, and does not say when, may be asked again at the earliest.
_AGAIN_SECONDS = 1.0


def verdict(
    exchange: Exchange, upstreams: Upstreams, plan: Plan, failures: Failures, resting: list[Target]
) -> MainspringError:
    """The error that says most to the caller.

    Args:
        exchange: the request.
        upstreams: the way to the targets.
        plan: who could be asked.
        failures: who was asked, and what came of it.
        resting: who was not asked.
    """
    every = [*failures, *_reasons(upstreams, resting)]
    if every:
        target, error = max(every, key=lambda failure: usefulness(failure[1]))
        exchange.target = target
    else:
        error = NoTargetAvailable(
            f"No target of {exchange.envelope.model!r} can be asked now: every one of them failed too often.",
            remedy="Try again later; `mainspring providers` says how they are.",
        )
    soonest = min((_back_in(target, upstreams, failures) for target in plan.targets), default=math.inf)
    told = error.retry_after is not None or isinstance(error, NoTargetAvailable)
    if error.retryable and soonest < math.inf and (soonest > 1 or told):
        error.retry_after = max(1, math.ceil(soonest))
    return error


def _reasons(upstreams: Upstreams, resting: list[Target]) -> Failures:
    """What the providers say that were not called because none of their keys may be used."""
    reasons: Failures = []
    for target in resting:
        provider = upstreams.providers.get(target.provider)
        if provider.ready(target.model) > 0:
            try:
                provider.pool.choose(target.model)
            except ProviderCoolingDown as error:
                reasons.append((target, error))
    return reasons


def _back_in(target: Target, upstreams: Upstreams, failures: Failures) -> float:
    """Seconds until a target that did not answer may answer."""
    wait = upstreams.wait(target)
    for failed, error in failures:
        if failed == target:
            if not a_repeat_may_cure(error) and not isinstance(error, ProviderTimeout):
                return math.inf
            wait = max(wait, error.retry_after or _AGAIN_SECONDS)
    return wait
