"""Routes as they stand in the configuration, made ready: targets with what their models can do, rules, and settings.

Whatever is wrong with a route is found here, when the configuration is read, not at the first call.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mainspring.base.errors import ConfigError, Mistakes
from mainspring.base.settings import ConditionSettings, HedgeSettings, RouteSettings, Settings
from mainspring.base.settings.places import Location, written
from mainspring.base.settings.routes import Strategy
from mainspring.providers.known import KNOWN
from mainspring.routing.candidates import Candidate, candidate, roomy_bytes
from mainspring.routing.conditions import Rule
from mainspring.routing.types import Plan, target

if TYPE_CHECKING:
    from collections.abc import Collection

    from mainspring.base.settings import DefaultsSettings
    from mainspring.base.settings.section import Section
    from mainspring.providers import Providers
    from mainspring.providers.capabilities import Capabilities

    SectionT = TypeVar("SectionT", bound=Section)

#: What the route `default` means where the configuration does not say: the first of these that is there.
_USUAL_TARGETS = ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "local/small")


class Choice(msgspec.Struct, frozen=True):
    """Targets of a route or of one of its rules, and how one of them is chosen."""

    candidates: tuple[Candidate, ...]
    strategy: Strategy
    #: What its plans have in common; while nothing speaks against any target and none is chosen, the plan itself.
    plan: Plan
    #: The rule that it belongs to; None is the route itself.
    rule: Rule | None
    #: Whether what a request needs may speak against one of them, and whether the length of its answer may.
    picky: bool
    limits_answers: bool
    #: Up to this size a request fits all of them.
    roomy_bytes: float


class Route(msgspec.Struct):
    """A route, ready for requests.

    Attributes:
        choice: where no rule holds.
        rules: in order, each with its own choice.
        plain: the plan is always the same while all targets are well and the request fits.
    """

    name: str
    settings: RouteSettings
    choice: Choice
    rules: tuple[tuple[Rule, Choice], ...]
    plain: bool


def routes(settings: Settings, providers: Providers, capabilities: Capabilities) -> dict[str, Route]:
    """All routes of a configuration; `default` is there whether it is configured or not.

    Raises:
        ConfigError: some of them cannot be.
    """
    configured = dict(settings.routes)
    if "default" not in configured:
        usual = [name for name in _USUAL_TARGETS if name.split("/")[0] in providers]
        configured["default"] = RouteSettings(targets=usual)
    # What the default fallback leads to cannot have it as its own fallback.
    last = _chain(settings.defaults, configured)
    found: dict[str, Route] = {}
    mistakes = Mistakes()
    for name, route in configured.items():
        with mistakes.gathered():
            found[name] = _route(name, route, settings, providers, capabilities, inherits=name not in last)
    mistakes.tell()
    _check_fallbacks(found)
    return found


def common(settings: Settings, route: RouteSettings, *, inherits: bool = True) -> Plan:
    """What all plans of a route have in common. What it does not set is as in the defaults."""
    defaults = settings.defaults
    fallback = route.fallback
    if fallback is None and inherits:
        fallback = defaults.fallback
    hedge = defaults.hedge if route.hedge is None else route.hedge
    payloads = (route.payloads, defaults.payloads, settings.ledger.payloads)
    return Plan(
        targets=(),
        route=None,
        why="named by the caller",
        timeouts=_merged(route.timeouts, defaults.timeouts),
        payloads=next(choice for choice in payloads if choice is not None),
        retry=_merged(route.retry, defaults.retry),
        hedge=hedge or None,
        resume=defaults.resume if route.resume is None else route.resume,
        fallback=fallback or None,
    )


def _route(
    name: str,
    route: RouteSettings,
    settings: Settings,
    providers: Providers,
    capabilities: Capabilities,
    *,
    inherits: bool,
) -> Route:
    place: Location = ("routes", name)
    base = msgspec.structs.replace(
        common(settings, route, inherits=inherits), route=name, why=f"route {name}"
    )
    found = _candidates(place, route, providers, capabilities)
    choice = _choice(found, route.strategy, base)
    rules = []
    for number, when in enumerate(route.when, 1):
        rule = Rule(number, when)
        strategy = when.strategy or ("weighted" if when.weights is not None else route.strategy)
        found = _candidates((*place, "when", number - 1), when, providers, capabilities)
        rules.append((rule, _choice(found, strategy, base, rule)))
    _check_rules(place, [rule for rule, _ in rules])
    if isinstance(route.hedge, HedgeSettings) and all(
        len(some.candidates) == 1 for some in (choice, *(other for _, other in rules))
    ):
        raise ConfigError(
            f"{written(place)}.hedge: there is never a second target to ask.",
            remedy="Add a target, or take the hedge out.",
            place=(*place, "hedge"),
        )
    plain = not rules and not choice.picky and choice.strategy == "failover"
    return Route(name=name, settings=route, choice=choice, rules=tuple(rules), plain=plain)


def _choice(found: list[Candidate], strategy: Strategy, base: Plan, rule: Rule | None = None) -> Choice:
    """A choice among candidates; among one there is none, whatever the strategy is called."""
    plan = msgspec.structs.replace(base, targets=tuple(c.target for c in found))
    if rule is not None:
        lines = [{"target": c.name} for c in found]
        detail = {"strategy": strategy, "rule": rule.says, "candidates": lines}
        plan = msgspec.structs.replace(plan, why=f"{plan.why}, {rule.says}", detail=detail)
    limits_answers = any(c.capability.max_output_tokens is not None for c in found)
    return Choice(
        candidates=tuple(found),
        strategy=strategy if len(found) > 1 else "failover",
        plan=plan,
        rule=rule,
        picky=any(c.lacks for c in found) or limits_answers,
        limits_answers=limits_answers,
        roomy_bytes=roomy_bytes(found),
    )


def _candidates(
    place: Location,
    described: RouteSettings | ConditionSettings,
    providers: Providers,
    capabilities: Capabilities,
) -> list[Candidate]:
    weights = described.weights or [1.0] * len(described.targets)
    whole = sum(weights)
    found = []
    mistakes = Mistakes()
    for text, weight in zip(described.targets, weights, strict=True):
        with mistakes.gathered():
            provider, model = _checked(text, place, providers)
            found.append(candidate(target(provider, model), weight, whole, capabilities.of(provider, model)))
    mistakes.tell()
    return found


def _checked(text: str, place: Location, providers: Providers) -> tuple[str, str]:
    """The provider and the model of a target."""
    provider, slash, model = text.partition("/")
    if not slash or not model:
        raise ConfigError(
            f"{written(place)}: the target {text!r} is not a model of a provider.",
            remedy='Write it as "provider/model".',
            place=(*place, "targets"),
        )
    if provider not in providers:
        raise ConfigError(
            f"{written(place)}: the target {text!r} names a provider that is not configured.",
            remedy=how_to_have(provider, providers),
            place=(*place, "targets"),
        )
    return provider, model


def how_to_have(name: str, providers: Providers) -> str:
    """What to do about a provider that is not there."""
    if name in KNOWN:
        known = KNOWN[name]
        variables = [v for v in (known.key_variable, known.url_variable) if v is not None]
        if known.key_variable is not None and known.base_url is not None:
            variables = [known.key_variable]  # its address is known
        return f"Set {' and '.join(variables)}, or add [providers.{name}]."
    there = sorted(p.name for p in providers)
    near = difflib.get_close_matches(name, [*there, *KNOWN], 1, 0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Add [providers.{name}]; there are: {', '.join(there)}."


def _check_rules(place: Location, rules: list[Rule]) -> None:
    """A rule after one that takes all of its requests is a mistake."""
    for later, rule in enumerate(rules):
        for earlier in range(later):
            if rules[earlier].takes_all_of(rule):
                raise ConfigError(
                    f"{written((*place, 'when', later))} can never hold: "
                    f"rule {earlier + 1} takes every request that it would.",
                    remedy="Put the narrower rule first, or take one of them out.",
                    place=(*place, "when", later),
                )


def _check_fallbacks(found: dict[str, Route]) -> None:
    """Every fallback route is there, and none leads back to where it began."""
    for name in found:
        chain = [name]
        while (fallback := found[chain[-1]].choice.plan.fallback) is not None and fallback.route is not None:
            if fallback.route not in found:
                raise ConfigError(
                    f"routes.{chain[-1]}.fallback.route: there is no route {fallback.route!r}.",
                    remedy=f"There are: {', '.join(sorted(found))}.",
                    place=("routes", chain[-1], "fallback", "route"),
                )
            if fallback.route in chain:
                raise ConfigError(
                    f"routes.{name}.fallback.route: the fallbacks go in a circle, "
                    f"{' to '.join([*chain[chain.index(fallback.route) :], fallback.route])}.",
                    remedy="Let the last of them have no fallback route.",
                    place=("routes", name, "fallback", "route"),
                )
            chain.append(fallback.route)


def _chain(defaults: DefaultsSettings, configured: dict[str, RouteSettings]) -> Collection[str]:
    """The routes that the default fallback leads to."""
    names: list[str] = []
    step = defaults.fallback.route if defaults.fallback is not None else None
    if step is not None and step not in configured:
        raise ConfigError(
            f"defaults.fallback.route: there is no route {step!r}.",
            remedy=f"There are: {', '.join(sorted(configured))}.",
            place=("defaults", "fallback", "route"),
        )
    while step is not None and step in configured and step not in names:
        names.append(step)
        fallback = configured[step].fallback
        step = fallback.route if fallback else None
    return names


def _merged(own: SectionT, defaults: SectionT) -> SectionT:
    """A section with the defaults in place of what it does not set."""
    return defaults.model_copy(update={field: getattr(own, field) for field in own.model_fields_set})
