"""Second step: what `model` means, as an ordered list of targets.

Today a plan is a route's list as it stands in the configuration, or the one model that was named. The reason goes into
the ledger, so that "why this model" has an answer.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, NotFound, PermissionDenied
from mainspring.base.settings import RouteSettings
from mainspring.routing import Plan, target

if TYPE_CHECKING:
    from mainspring.base.settings import Settings
    from mainspring.gateway.exchange import Exchange
    from mainspring.keys.types import Principal
    from mainspring.providers import Providers

#: What the route `default` means where the configuration does not say: the first of these that is there.
_USUAL_TARGETS = ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "local/small")


class Planner:
    """The routes of one configuration.

    Args:
        settings: the configuration.
        providers: the open providers; a route to one that is not there is an error now, not at the first call.

    Raises:
        ConfigError: a target is not `provider/model`, or its provider is unknown.
    """

    def __init__(self, settings: Settings, providers: Providers) -> None:
        self._settings = settings
        self._providers = providers
        routes = dict(settings.routes)
        if "default" not in routes:
            usual = [name for name in _USUAL_TARGETS if name.split("/")[0] in providers]
            routes["default"] = RouteSettings(targets=usual)
        self._routes = {name: self._route(name, route) for name, route in routes.items()}
        self._direct: dict[str, Plan] = {}

    def route_names(self) -> list[str]:
        """The names of all routes, sorted."""
        return sorted(self._routes)

    def plan(self, model: str) -> Plan:
        """The plan for a route name or `provider/model`.

        Raises:
            NotFound: it is neither.
        """
        found = self._routes.get(model) or self._direct.get(model)
        if found is not None:
            return found
        provider, slash, name = model.partition("/")
        if not slash or not name or provider not in self._providers:
            raise self._unknown(model)
        settings = self._settings
        plan = Plan(
            targets=(target(provider, name),),
            route=None,
            why="named by the caller",
            timeouts=settings.defaults.timeouts,
            payloads=_first(settings.defaults.payloads, settings.ledger.payloads),
        )
        if len(self._direct) < 10_000:  # noqa: PLR2004 - callers choose these names; memory must not grow with them
            self._direct[model] = plan
        return plan

    def _route(self, name: str, route: RouteSettings) -> Plan:
        targets = []
        for text in route.targets:
            provider, slash, model = text.partition("/")
            if not slash or not model:
                raise ConfigError(
                    f"routes.{name}: the target {text!r} is not a model of a provider.",
                    remedy='Write it as "provider/model".',
                )
            if provider not in self._providers:
                known = sorted(p.name for p in self._providers)
                raise ConfigError(
                    f"routes.{name}: the target {text!r} names a provider that is not configured.",
                    remedy=f"Configured are: {', '.join(known)}. A known provider appears when its key is set.",
                )
            targets.append(target(provider, model))
        # What a route does not set of its timeouts is as in the defaults.
        own = {field: getattr(route.timeouts, field) for field in route.timeouts.model_fields_set}
        return Plan(
            targets=tuple(targets),
            route=name,
            why=f"route {name}",
            timeouts=self._settings.defaults.timeouts.model_copy(update=own),
            payloads=_first(route.payloads, self._settings.defaults.payloads, self._settings.ledger.payloads),
        )

    def _unknown(self, model: str) -> NotFound:
        provider = model.partition("/")[0]
        names = [*self._routes, *self._providers.models()]
        near = difflib.get_close_matches(model, names, 1, 0.6)
        near = near or [name for name in names if name.endswith(f"/{model}")][:1]
        if near:
            remedy = f"Did you mean {near[0]!r}?"
        elif "/" in model and provider not in self._providers:
            known = ", ".join(sorted(p.name for p in self._providers))
            remedy = f"There is no provider {provider!r}; configured are: {known}."
        else:
            remedy = f"Name a route ({', '.join(self.route_names())}) or a model as `provider/model`."
        return NotFound(f"There is no model or route {model[:200]!r} here.", remedy=remedy, param="model")


def plan(exchange: Exchange, planner: Planner) -> None:
    """Decide where a request may go.

    Raises:
        NotFound: the model is unknown.
        PermissionDenied: the key may not use it.
    """
    principal = exchange.principal
    assert principal is not None, "authenticate comes first"
    name = exchange.envelope.model
    found = planner.plan(name)
    if not allowed(principal, name):
        raise PermissionDenied(
            f"This key may not use {name!r}.",
            remedy="Ask for a key that lists it, or use one that it lists.",
            param="model",
        )
    exchange.plan = found
    exchange.timeouts = found.timeouts
    exchange.store_payloads = found.payloads if principal.payloads is None else principal.payloads


def allowed(principal: Principal, name: str) -> bool:
    """Whether a key may use a route or model; `provider/*` in its list allows all models of a provider."""
    models = principal.models
    if models is None or name in models:
        return True
    provider, slash, _ = name.partition("/")
    return bool(slash) and f"{provider}/*" in models


def _first(*choices: bool | None) -> bool:
    return next((choice for choice in choices if choice is not None), True)
