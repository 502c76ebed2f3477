"""Who answers: providers with each of their keys, the models in the box, and the routes that lead to them."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, SecretError
from mainspring.base.secrets import fetch
from mainspring.base.settings.secrets import shown
from mainspring.cli.checking.findings import Finding, absent, doubtful, failed, good, refused
from mainspring.providers import Providers
from mainspring.providers.configured import base_url_of, configurations, header_of, labelled
from mainspring.providers.local.catalog import IN_THE_BOX, usable
from mainspring.routing import Health, Router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.base.settings import ProviderSettings, Settings

_SECONDS = 5
_REFUSED = {401, 403}
_LIMITED, _NOT_FOUND, _SERVER_ERROR = 429, 404, 500


def providers(settings: Settings) -> Iterator[Finding]:
    """Ask each provider with each key."""
    for name, provider in sorted(configurations(settings).items()):
        if provider.api != "local":
            with suppress(ConfigError):  # told already, as a mistake in the configuration
                yield from _provider(name, provider)


def _provider(name: str, provider: ProviderSettings) -> Iterator[Finding]:
    url, keys = base_url_of(name, provider), labelled(name, provider)
    if not keys:
        yield _ask(f"provider {name}", url, provider.api, _headers(name, provider, None))
    for label, reference in keys:
        subject = f"provider {name}" if len(keys) == 1 else f"provider {name}, {label}"
        try:
            headers = _headers(name, provider, reference)
        except SecretError as error:
            yield refused(subject, error)
        else:
            yield _ask(subject, url, provider.api, headers)


def local_models(settings: Settings) -> Iterator[Finding]:
    """The models in the box, and those that the configuration adds to them."""
    there = set(usable("local", settings))
    for name, weights in IN_THE_BOX.items():
        if name in there:
            yield good(f"model local/{name}", weights.title)
        else:
            yield absent(
                f"model local/{name}", weights.title, f"Run `mainspring local pull {name}` to have it."
            )
    for name in sorted(there - set(IN_THE_BOX)):
        yield good(f"model local/{name}", settings.models[f"local/{name}"].path or "")
    for name in settings.local.preload:
        if name not in there and (name in IN_THE_BOX or f"local/{name}" in settings.models):
            yield doubtful(
                "local.preload", f"the model {name} is not there yet", f"Run `mainspring local pull {name}`."
            )


def routes(settings: Settings) -> Iterator[Finding]:
    """Each route with what it leads to; a target whose price nobody knows cannot be the cheapest."""
    upstreams, there = Providers(settings), set(usable("local", settings))
    upstreams.prices.warm()
    for route in Router(settings, upstreams, Health()).routes():
        unpriced = sorted(
            {
                candidate.name
                for choice in (route.choice, *(choice for _, choice in route.rules))
                for candidate in choice.candidates
                if choice.strategy == "cheapest"
                and upstreams.prices.rates(candidate.target.provider, candidate.target.model) is None
            }
        )
        absent_here = [
            c.name
            for c in route.choice.candidates
            if c.target.provider == "local" and c.target.model not in there
        ]
        names = ", ".join(candidate.name for candidate in route.choice.candidates)
        rules = f", {len(route.rules)} rules" if route.rules else ""
        detail = f"{route.choice.strategy}: {names or 'no target'}{rules}"
        if unpriced:
            detail += f"; no price is known of {', '.join(unpriced)}"
            yield doubtful(f"route {route.name}", detail, f'Give it one in [models."{unpriced[0]}"].')
        elif absent_here:
            fetch_it = f"Run `mainspring local pull {absent_here[0].partition('/')[2]}`."
            detail += f"; {', '.join(absent_here)} {'is' if len(absent_here) == 1 else 'are'} not there yet"
            yield doubtful(f"route {route.name}", detail, fetch_it)
        elif names:
            yield good(f"route {route.name}", detail)
        else:
            yield absent(
                f"route {route.name}", detail, "Set OPENAI_API_KEY, or write [routes.default] with targets."
            )


def _headers(name: str, provider: ProviderSettings, reference: str | None) -> dict[str, str]:
    """What the provider wants to see before it lists its models.

    Raises:
        SecretError: a key is referred to, but is not there, or cannot be sent.
    """
    headers = dict(provider.headers)
    if provider.api == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    if reference is not None:
        secret = fetch(reference).value
        if not (secret.isascii() and secret.isprintable()):
            raise SecretError(
                f"{shown(reference)} holds what a header cannot carry.",
                remedy="Check it for line breaks and letters beyond ASCII.",
            )
        header, _, value = (header_of(name, provider) % secret).partition(": ")
        headers[header] = value
    return headers


def _ask(subject: str, base_url: str, api: str, headers: dict[str, str]) -> Finding:
    """Ask a provider for its models, as the cheapest thing that needs the network, the address and the key."""
    url = base_url.rstrip("/") + ("/v1/models" if api == "anthropic" else "/models")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the registry lets only http and https pass
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - as above
            return good(subject, f"{base_url} answers")
    except urllib.error.HTTPError as error:
        return _status(subject, base_url, error.code)
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Only the system's own words are shown: others quote what was sent, the key with it.
        cause = getattr(error, "reason", error)
        reason = (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__
        remedy = "Check base_url, the network and the proxy variables."
        return failed(subject, f"{base_url} cannot be reached: {reason}", remedy)


def _status(subject: str, base_url: str, status: int) -> Finding:
    if status in _REFUSED:
        return failed(subject, f"{base_url} refuses the key (status {status})", "Check the key.")
    if status == _LIMITED:
        return doubtful(subject, f"{base_url} limits the key now (status 429)", "Try again later.")
    if status >= _SERVER_ERROR:
        return failed(subject, f"{base_url} answers with status {status}", "Try again later.")
    if status == _NOT_FOUND:
        return good(subject, f"{base_url} answers, but lists no models")
    return good(subject, f"{base_url} answers, with status {status} to a question for its models")
