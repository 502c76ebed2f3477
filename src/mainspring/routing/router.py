"""Every request's question: what does this name mean now?

A plain name (a model of a provider, or a route that has nothing to choose) has its answer ready. Everything else is
decided for each request, from the rules, what the request needs, the strategy and the state of the breakers; the
reason goes with the plan.
"""

from __future__ import annotations

import difflib
import random
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import ContextLengthExceeded, NotFound, NothingFits, RequestError
from mainspring.base.settings import RouteSettings
from mainspring.providers.capabilities import Capabilities
from mainspring.providers.known import KNOWN
from mainspring.routing.candidates import objection
from mainspring.routing.routes import Route, common, how_to_have, routes
from mainspring.routing.strategies import Order, cheapest, failover, fastest, weighted
from mainspring.routing.types import Plan, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.base.settings import Settings
    from mainspring.providers import Providers
    from mainspring.routing.candidates import Candidate, Objection
    from mainspring.routing.health import Health
    from mainspring.routing.routes import Choice
    from mainspring.routing.types import Needs, Target

#: Plans for models that were named directly: callers choose these names, and memory must not grow with them.
_MOST_DIRECT = 10_000


class Router:
    """The routes of one configuration.

    Args:
        settings: the configuration.
        providers: the open providers; a route to one that is not there is an error now, not at the first call.
        health: how the targets are; it outlives this router.
        draw: random numbers from 0 to 1.

    Raises:
        ConfigError: a route cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Providers,
        health: Health,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._providers = providers
        self._health = health
        self._draw = draw
        self._capabilities = Capabilities(settings, providers.prices)
        self._complete = self._capabilities.complete
        self._routes = routes(settings, providers, self._capabilities)
        self._quick = self._quick_plans()
        self._common = common(settings, RouteSettings.model_construct(targets=[]))
        self._direct: dict[str, Plan] = {}

    def plan(self, name: str, needs: Callable[[], Needs]) -> Plan:
        """Where a request may go.

        Args:
            name: a route, or `provider/model`.
            needs: asked only where the answer depends on the request.

        Raises:
            NotFound: the name is neither.
            RequestError: no target of the route can serve the request.
        """
        quick = self._quick.get(name)
        if quick is not None and not self._health.unwell:
            plan, roomy = quick
            if roomy == _ENDLESS:
                return plan
            asked = needs()
            if asked.size <= roomy:
                return plan
        elif (found := self._direct.get(name)) is not None:
            return found
        else:
            route = self._routes.get(name)
            if route is None:
                return self._named(name)
            asked = needs()
        return self._decide(self._route(name), asked)

    def explain(self, name: str, needs: Needs) -> Plan:
        """The plan for a request, with the whole reason even where there was nothing to choose.

        Raises:
            NotFound: there is no such route.
            RequestError: no target of the route can serve the request.
        """
        if name not in self._routes:
            plan = self._named(name)
            detail = {"candidates": [{"target": str(plan.targets[0])}]}
            return msgspec.structs.replace(plan, detail=detail)
        return self._decide(self._route(name), needs, explain=True)

    def must_know(self, name: str) -> None:
        """Make sure that there is something of that name.

        Raises:
            NotFound: there is not.
        """
        if name not in self._routes and name not in self._direct:
            self._named(name)

    def route_names(self) -> list[str]:
        """The names of all routes, sorted."""
        return sorted(self._routes)

    def routes(self) -> list[Route]:
        """All routes, sorted by name."""
        self._learn()
        return [self._routes[name] for name in sorted(self._routes)]

    def _named(self, name: str) -> Plan:
        provider, slash, model = name.partition("/")
        if not slash or not model or provider not in self._providers:
            raise self._unknown(name)
        plan = msgspec.structs.replace(self._common, targets=(target(provider, model),))
        if len(self._direct) < _MOST_DIRECT:
            self._direct[name] = plan
        return plan

    def _route(self, name: str) -> Route:
        if not self._complete:
            self._learn()
        return self._routes[name]

    def _learn(self) -> None:
        """Take in what the price table knows, once it has been read."""
        if not self._complete and self._capabilities.complete:
            self._complete = True
            self._routes = routes(self._settings, self._providers, self._capabilities)
            self._quick = self._quick_plans()

    def _quick_plans(self) -> dict[str, tuple[Plan, float]]:
        """Plans that stand while all targets are well, and up to which size of a request."""
        if not self._complete:
            return {}
        return {
            name: (route.choice.plan, route.choice.roomy_bytes)
            for name, route in self._routes.items()
            if route.plain
        }

    def _decide(self, route: Route, needs: Needs, *, explain: bool = False) -> Plan:
        choice = route.choice
        for rule, other in route.rules:
            if rule.holds(needs):
                choice = other
                break
        fit, doubtful, passed = _fitting(choice, needs)
        if not fit and not doubtful:
            raise _nothing_fits(route.name, choice, passed)
        well, unwell = self._split(fit)
        order = self._order(choice, well, needs)
        if not (order.why or doubtful or passed or unwell or explain):
            return choice.plan
        last = [(c, against.reason) for c, against in doubtful] + [(c, "breaker open") for c in unwell]
        targets = [c.target for c in order.candidates]
        why = f"{choice.plan.why}, {order.why}" if order.why else choice.plan.why
        for c, against in passed:
            why += f", passed over {c.name} ({against.reason})"
        for c, reason in last:
            targets.append(c.target)
            why += f", {c.name} last ({reason})"
        return _as(choice.plan, tuple(targets), why, _detail(choice, order, last, passed))

    def _order(self, choice: Choice, well: Sequence[Candidate], needs: Needs) -> Order:
        if len(well) < 2 or choice.strategy == "failover":  # noqa: PLR2004 - one is no choice
            return failover(well)
        if choice.strategy == "weighted":
            return weighted(well, self._draw)
        if choice.strategy == "cheapest":
            return cheapest(well, needs, self._providers.prices)
        return fastest(well, needs, self._health, self._draw)

    def _split(self, candidates: Sequence[Candidate]) -> tuple[Sequence[Candidate], list[Candidate]]:
        """Those that may be called now, and those whose breaker is open."""
        health = self._health
        if not health.unwell:
            return candidates, []
        well: list[Candidate] = []
        unwell: list[Candidate] = []
        for c in candidates:
            (unwell if health.wait(c.target) > 0 else well).append(c)
        return well, unwell

    def _unknown(self, model: str) -> NotFound:
        provider = model.partition("/")[0]
        names = [*self._routes, *self._providers.models()]
        near = difflib.get_close_matches(model, names, 1, 0.6)
        near = near or [name for name in names if name.endswith(f"/{model}")][:1]
        if near:
            remedy = f"Did you mean {near[0]!r}?"
        elif "/" in model and provider in KNOWN and provider not in self._providers:
            remedy = f"There is no provider {provider!r}. {how_to_have(provider, self._providers)}"
        elif "/" in model and provider not in self._providers:
            known = ", ".join(sorted(p.name for p in self._providers))
            remedy = f"There is no provider {provider!r}; configured are: {known}."
        else:
            remedy = f"Name a route ({', '.join(self.route_names())}) or a model as `provider/model`."
        return NotFound(f"There is no model or route {model[:200]!r} here.", remedy=remedy, param="model")


_ENDLESS = float("inf")
_Doubts = list[tuple["Candidate", "Objection"]]


def _fitting(choice: Choice, needs: Needs) -> tuple[Sequence[Candidate], _Doubts, _Doubts]:
    """Those that can serve the request, those that may, and those that surely cannot."""
    if needs.size <= choice.roomy_bytes and not (choice.picky and _may_object(choice, needs)):
        return choice.candidates, [], []
    fit: list[Candidate] = []
    doubtful: _Doubts = []
    passed: _Doubts = []
    for c in choice.candidates:
        # A backup that is in doubt may stay so; who is asked first must be known to fit.
        against = objection(c, needs, count=not fit or choice.strategy != "failover")
        if against is None:
            fit.append(c)
        else:
            (passed if against.sure else doubtful).append((c, against))
    return fit, doubtful, passed


def _may_object(choice: Choice, needs: Needs) -> bool:
    return bool(needs.kinds) or choice.limits_answers


def _as(plan: Plan, targets: tuple[Target, ...], why: str, detail: dict[str, Any]) -> Plan:
    return Plan(
        targets=targets,
        route=plan.route,
        why=why,
        timeouts=plan.timeouts,
        payloads=plan.payloads,
        retry=plan.retry,
        hedge=plan.hedge,
        resume=plan.resume,
        fallback=plan.fallback,
        detail=detail,
    )


def _detail(
    choice: Choice, order: Order, last: list[tuple[Candidate, str]], passed: _Doubts
) -> dict[str, Any]:
    """How it was decided, as it stands in the ledger: candidates in order, each with what decided about it."""
    lines: list[dict[str, Any]] = [{"target": c.name} for c in order.candidates]
    for line, value in zip(lines, order.values, strict=False):  # a strategy without a choice has no values
        line[order.measure] = value
    lines += [{"target": c.name, "note": reason} for c, reason in last]
    detail: dict[str, Any] = {"strategy": choice.strategy, "candidates": lines}
    if choice.rule is not None:
        detail["rule"] = choice.rule.says
    if passed:
        detail["passed_over"] = [{"target": c.name, "note": against.reason} for c, against in passed]
    return detail


def _nothing_fits(route: str, choice: Choice, passed: _Doubts) -> RequestError:
    where = f"the route {route!r}" + (f", {choice.rule.says}," if choice.rule is not None else "")
    reasons = "; ".join(f"{c.name}: {against.reason}" for c, against in passed)
    needs = {against.need for _, against in passed}
    if needs == {"context"}:
        return ContextLengthExceeded(
            f"No target of {where} takes a request of this length ({reasons}).",
            remedy="Send less, or choose a model with a longer context.",
            param="messages",
        )
    return NothingFits(
        f"No target of {where} can serve this request ({reasons}).",
        remedy="Choose a model that can; what a model can do is corrected in its [models] section.",
        param="model",
    )
