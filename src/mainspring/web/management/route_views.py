"""How routes look in JSON: what is asked, by which strategy and rules, what the models can do, and how they are.

Used by the API and `--json` of the command line. Breakers are in the memory of one process: with several workers each
tells of the calls that it made itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.routing import Plan, Router, TargetHealth
    from mainspring.routing.candidates import Candidate
    from mainspring.routing.routes import Choice
    from mainspring.routing.routes import Route as StoredRoute


class RouteTarget(msgspec.Struct, kw_only=True):
    """A target, what is known of its model, and its breaker as this process has seen it.

    None is "not known", which never speaks against a target. `breaker` is `closed`, `open` or `half-open`, and None
    where nothing was called yet. `weight` is there where the strategy is `weighted`.
    """

    target: str
    weight: float | None
    context_tokens: int | None
    max_output_tokens: int | None
    tools: bool | None
    vision: bool | None
    json_schema: bool | None
    breaker: str | None


class RouteRule(msgspec.Struct, kw_only=True):
    """One rule: when it holds, its targets are used in place of the route's."""

    rule: str
    strategy: str
    targets: list[RouteTarget]


class Route(msgspec.Struct, kw_only=True):
    """A route. `hedge` says after which time a second target is asked too; `fallback` what answers when nobody does."""

    name: str
    strategy: str
    targets: list[RouteTarget]
    rules: list[RouteRule]
    hedge: str | float | None
    resume: bool
    fallback: list[str]


class Explanation(msgspec.Struct, kw_only=True):
    """Where a request would go: the targets in the order in which they would be asked, and why."""

    route: str | None
    why: str
    targets: list[str]
    detail: dict[str, Any]


def route_views(router: Router, health: Iterable[TargetHealth]) -> list[Route]:
    """Every route, sorted by name."""
    states = {f"{one.provider}/{one.model}": one.state for one in health}
    return [_route(route, states) for route in router.routes()]


def explanation(plan: Plan) -> Explanation:
    """A plan as JSON."""
    return Explanation(
        route=plan.route,
        why=plan.why,
        targets=[str(target) for target in plan.targets],
        detail=plan.detail or {},
    )


def _route(route: StoredRoute, states: dict[str, Any]) -> Route:
    plan = route.choice.plan
    fallback = plan.fallback
    said = [] if fallback is None else [("route", fallback.route), ("heuristic", fallback.heuristic)]
    return Route(
        name=route.name,
        strategy=route.choice.strategy,
        targets=_targets(route.choice, states),
        rules=[
            RouteRule(rule=rule.says, strategy=choice.strategy, targets=_targets(choice, states))
            for rule, choice in route.rules
        ],
        hedge=plan.hedge.after if plan.hedge is not None and len(plan.targets) > 1 else None,
        resume=plan.resume,
        fallback=[f"{kind} {name}" for kind, name in said if name is not None]
        + (["message"] if fallback is not None and fallback.message is not None else []),
    )


def _targets(choice: Choice, states: dict[str, Any]) -> list[RouteTarget]:
    is_weighted = choice.strategy == "weighted"
    return [_target(c, states.get(c.name), is_weighted=is_weighted) for c in choice.candidates]


def _target(candidate: Candidate, breaker: str | None, *, is_weighted: bool) -> RouteTarget:
    known = candidate.capability
    return RouteTarget(
        target=candidate.name,
        weight=candidate.weight if is_weighted else None,
        context_tokens=known.context_tokens,
        max_output_tokens=known.max_output_tokens,
        tools=known.tools,
        vision=known.vision,
        json_schema=known.json_schema,
        breaker=breaker,
    )
