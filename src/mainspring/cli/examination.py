"""What `mainspring check` looks at: the configuration, the stores, the providers and the models in the box."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import ConfigError, MainspringError, SecretError
from mainspring.base.ids import new_id
from mainspring.base.secrets import fetch
from mainspring.base.settings import DEFAULT_FILE, ProviderSettings, Settings, located, without_password
from mainspring.cli.providers import views_of
from mainspring.gateway.heuristics import Heuristics
from mainspring.keys import ADMIN_KEY_FILE
from mainspring.providers import Providers
from mainspring.providers.configured import base_url_of, configurations, header_of, labelled
from mainspring.providers.local.catalog import IN_THE_BOX, usable
from mainspring.routing import Health, Router
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mainspring.web.management.provider_views import Drain, Provider

_PROBE_SECONDS = 5
_REFUSED = {401, 403}
_SERVER_ERROR = 500


class Finding(msgspec.Struct):
    """One thing that was looked at. `works` is None for what is absent and need not be there."""

    subject: str
    works: bool | None
    detail: str
    remedy: str = ""
    #: It works, but somebody should do something.
    warns: bool = False


def examine(config: Path | None, settings: Settings) -> list[Finding]:
    """Look at everything that the configuration names."""
    findings = [
        _configuration(config, settings),
        *asyncio.run(_stores(settings)),
        *_providers(settings),
        *_routes(config, settings),
        *_local(settings),
    ]
    return [*findings, _somebody_answers(findings)]


def _configuration(config: Path | None, settings: Settings) -> Finding:
    file = config or DEFAULT_FILE
    where = str(file) if file.exists() else "no file, defaults and the environment"
    routes = f", routes {', '.join(settings.routes)}" if settings.routes else ", no route"
    return Finding("configuration", works=True, detail=f"{where}{routes} (hash {settings.snapshot()[0]})")


async def _stores(settings: Settings) -> list[Finding]:
    where = without_password(settings.storage.database)
    try:
        runtime = await Runtime.open(settings, serve=False)
    except MainspringError as error:
        return [Finding("database", works=False, detail=f"{where}: {error.message}", remedy=error.remedy)]
    try:
        await runtime.database.ping()
        keys = await runtime.keys.list(limit=1)
        found = [Finding("database", works=True, detail=where)]
        if not keys.items:
            found.append(
                Finding(
                    "keys",
                    works=None,
                    detail="none yet",
                    remedy=f"`mainspring serve` makes one in {ADMIN_KEY_FILE}.",
                )
            )
        found += _keys(await views_of(runtime))
        name = f"check-{new_id()}"
        blobs = without_password(settings.storage.blobs)
        try:
            await runtime.blobs.put(name, b"check")
            await runtime.blobs.delete(name)
            found.append(Finding("blobs", works=True, detail=blobs))
        except MainspringError as error:
            found.append(
                Finding("blobs", works=False, detail=f"{blobs}: {error.message}", remedy=error.remedy)
            )
        for channel, problem in (await runtime.alerts.problems()).items():
            remedy = (
                "" if problem is None else f"Mend [alerts.channels.{channel}], or what its references name."
            )
            detail = problem or "its references lead to something; `mainspring alerts test` sends a message"
            found.append(Finding(f"alerts to {channel}", works=problem is None, detail=detail, remedy=remedy))
    finally:
        await runtime.close()
    return found


def _keys(views: list[Provider]) -> Iterator[Finding]:
    """What is to be said of providers and keys beside whether they answer."""
    for view in views:
        if view.drain is not None:
            yield _drained(f"provider {view.name}", view.drain, f"mainspring providers undrain {view.name}")
        for key in view.keys:
            subject = f"provider {view.name}, {key.label}"
            if key.state == "duplicate":
                yield Finding(
                    subject, works=False, detail=key.problem or "", remedy="Leave one of the two out."
                )
            if key.drain is not None:
                undrain = f"mainspring providers undrain {view.name} --key {key.label!r}"
                yield _drained(subject, key.drain, undrain)
            if key.old:
                yield Finding(
                    subject,
                    works=True,
                    detail=f"in use for {key.age_days} days",
                    remedy="Make a new key at the provider and put it in this one's place.",
                    warns=True,
                )


def _drained(subject: str, drain: Drain, command: str) -> Finding:
    why = f": {drain.reason}" if drain.reason else ""
    detail = f"taken out of use by {drain.by}{why}"
    return Finding(subject, works=True, detail=detail, remedy=f"`{command}` takes it back.", warns=True)


def _providers(settings: Settings) -> Iterator[Finding]:
    for name, provider in sorted(configurations(settings).items()):
        if provider.api == "local":
            continue
        try:
            url, keys = base_url_of(name, provider), labelled(name, provider)
            if not keys:
                yield _probe(f"provider {name}", url, provider.api, _headers(name, provider, None))
            for label, reference in keys:
                subject = f"provider {name}" if len(keys) == 1 else f"provider {name}, {label}"
                try:
                    headers = _headers(name, provider, reference)
                except SecretError as error:
                    yield Finding(subject, works=False, detail=error.message, remedy=error.remedy)
                else:
                    yield _probe(subject, url, provider.api, headers)
        except MainspringError as error:
            yield Finding(f"provider {name}", works=False, detail=error.message, remedy=error.remedy)


def _headers(name: str, provider: ProviderSettings, reference: str | None) -> dict[str, str]:
    """What the provider wants to see before it lists its models.

    Raises:
        SecretError: a key is referred to, but is not there.
    """
    headers = dict(provider.headers)
    if provider.api == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    if reference is not None:
        header, _, value = (header_of(name, provider) % fetch(reference).value).partition(": ")
        headers[header] = value
    return headers


def _probe(subject: str, base_url: str, api: str, headers: dict[str, str]) -> Finding:
    """Ask a provider for its models, as the cheapest thing that needs the network, the address and the key."""
    url = base_url.rstrip("/") + ("/v1/models" if api == "anthropic" else "/models")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the registry lets only http and https pass
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310 - as above
            return Finding(subject, works=True, detail=f"{base_url} answers")
    except urllib.error.HTTPError as error:
        if error.code in _REFUSED:
            return Finding(
                subject,
                works=False,
                detail=f"{base_url} refuses the key (status {error.code})",
                remedy="Check the key.",
            )
        if error.code >= _SERVER_ERROR:
            return Finding(
                subject,
                works=False,
                detail=f"{base_url} answers with status {error.code}",
                remedy="Try again later.",
            )
        return Finding(subject, works=True, detail=f"{base_url} answers, but lists no models")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(
            subject,
            works=False,
            detail=f"{base_url} cannot be reached: {reason}",
            remedy="Check base_url, the network and the proxy variables.",
        )


def _routes(config: Path | None, settings: Settings) -> Iterator[Finding]:
    """Each route with what it leads to; a target whose price nobody knows cannot be the cheapest."""
    try:
        providers = Providers(settings)
        providers.prices.warm()
        router = Router(settings, providers, Health())
        plans = [route.choice.plan for route in router.routes()]
        Heuristics({plan.fallback.heuristic for plan in plans if plan.fallback and plan.fallback.heuristic}).close()
    except ConfigError as error:
        told = located(error, config)
        yield Finding("routes", works=False, detail=told.message, remedy=told.remedy)
        return
    for route in router.routes():
        choices = [route.choice, *(choice for _, choice in route.rules)]
        unpriced = sorted(
            {
                c.name
                for choice in choices
                for c in choice.candidates
                if choice.strategy == "cheapest"
                and providers.prices.rates(c.target.provider, c.target.model) is None
            }
        )
        rules = f", {len(route.rules)} rules" if route.rules else ""
        names = ", ".join(c.name for c in route.choice.candidates)
        yield Finding(
            f"route {route.name}",
            works=True,
            detail=f"{route.choice.strategy}: {names}{rules}"
            + (f"; no price is known of {', '.join(unpriced)}" if unpriced else ""),
            remedy=f'Give it one in [models."{unpriced[0]}"].' if unpriced else "",
            warns=bool(unpriced),
        )


def _local(settings: Settings) -> Iterator[Finding]:
    there = set(usable("local", settings))
    for name, weights in IN_THE_BOX.items():
        works, remedy = (
            (True, "") if name in there else (None, f"Run `mainspring local pull {name}` to have it.")
        )
        yield Finding(f"model local/{name}", works=works, detail=weights.title, remedy=remedy)
    for name in sorted(there - set(IN_THE_BOX)):
        yield Finding(f"model local/{name}", works=True, detail=settings.models[f"local/{name}"].path or "")


def _somebody_answers(findings: list[Finding]) -> Finding:
    """Whether there is any model at all."""
    sources = [
        f
        for f in findings
        if f.works
        and not f.warns
        and f.subject.startswith(("provider ", "model local/"))
        and "embed" not in f.subject
    ]
    if sources:
        return Finding("models", works=True, detail=f"{len(sources)} sources of answers")
    return Finding(
        "models",
        works=False,
        detail="nothing can answer",
        remedy="Run `mainspring local pull small`, or set OPENAI_API_KEY or ANTHROPIC_API_KEY.",
    )
