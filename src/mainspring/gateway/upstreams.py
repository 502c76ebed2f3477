"""What the requests of one process share when they call targets: providers, health, and how many extra calls are left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainspring.gateway.retrying import Budget

if TYPE_CHECKING:
    from mainspring.providers import Providers
    from mainspring.routing.health import Health
    from mainspring.routing.types import Plan, Target

#: Hedges that are there before a route has earned any.
_FIRST_HEDGES = 2.0


class Upstreams:
    """The way out of one gateway.

    Args:
        providers: who answers.
        health: how the targets are.
    """

    def __init__(self, providers: Providers, health: Health) -> None:
        self.providers = providers
        self.health = health
        self._budgets: dict[str, Budget] = {}
        self._hedges: dict[str, Budget] = {}
        #: Probes whose request was answered by another target; held so that they are not collected.
        self._left_behind: set[asyncio.Task[None]] = set()

    def budget(self, plan: Plan) -> Budget:
        """The extra calls of a route; models that are named directly share those of their provider."""
        name = plan.route if plan.route is not None else f"{plan.targets[0].provider}/"
        found = self._budgets.get(name)
        if found is None:
            found = self._budgets[name] = Budget(plan.retry.budget)
        found.share = plan.retry.budget
        return found

    def hedges(self, plan: Plan) -> Budget:
        """The hedges of a route."""
        assert plan.hedge is not None
        name = plan.route or ""
        found = self._hedges.get(name)
        if found is None:
            found = self._hedges[name] = Budget(plan.hedge.max_share, _FIRST_HEDGES)
        found.share = plan.hedge.max_share
        return found

    def adopt(self, before: Upstreams) -> None:
        """Go on with the budgets of the one that this replaces: an edit of the configuration earns no extra calls."""
        self._budgets, self._hedges = before._budgets, before._hedges

    def is_well(self, target: Target) -> bool:
        """Whether a target may be asked now, without being its probe."""
        if (target.provider, target.model) in self.health.unwell:
            return False
        return self.providers.get(target.provider).ready(target.model) == 0

    def wait(self, target: Target) -> float:
        """Seconds until a target may be asked, as its keys and its breaker say."""
        return max(self.providers.get(target.provider).ready(target.model), self.health.wait(target))

    def keep(self, probe: asyncio.Task[None]) -> None:
        """Let a probe go on although its request is done."""
        self._left_behind.add(probe)
        probe.add_done_callback(self._left_behind.discard)

    async def close(self) -> None:
        """End the probes that still run."""
        probes = list(self._left_behind)
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
