"""Who answers: providers with each of their keys, the models in the box, and the routes that lead to them."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.base.errors import ConfigError, SecretError
from mainspring.base.secrets import fetch
from mainspring.base.settings.secrets import shown, without_password
from mainspring.cli.checking.findings import Finding, absent, doubtful, failed, good, refused
from mainspring.providers import Providers
from mainspring.providers.configured import base_url_of, configurations, header_of, labelled, unfit
from mainspring.providers.local.catalog import IN_THE_BOX, usable
from mainspring.routing import Health, Router

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from mainspring.base.settings import ProviderSettings, Settings

_SECONDS = 5
_REFUSED = {401, 403}
#: Clocks that differ by less are usual.
_CLOCK_MINUTES = 2
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
        rules = f", {len(route.rules)} {'rule' if len(route.rules) == 1 else 'rules'}" if route.rules else ""
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
        if (wrong := unfit(secret)) is not None:
            raise SecretError(f"{shown(reference)} {wrong[0]}.", remedy=wrong[1])
        header, _, value = (header_of(name, provider) % secret).partition(": ")
        headers[header] = value
    return headers


def _ask(subject: str, base_url: str, api: str, headers: dict[str, str]) -> Finding:
    """Ask a provider for its models, as the cheapest thing that needs the network, the address and the key."""
    url = base_url.rstrip("/") + ("/v1/models" if api == "anthropic" else "/models")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the registry lets only http and https pass
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            return _clock(subject, answer.headers) or good(subject, f"{base_url} answers")
    except urllib.error.HTTPError as error:
        found = _status(subject, base_url, error.code)
        if error.code == _NOT_FOUND and api == "openai" and _lacks_version(base_url):
            return _unversioned(subject, base_url, found, headers)
        return found if found.works is False else _clock(subject, error.headers) or found
    except (OSError, ValueError, http.client.HTTPException) as error:
        what, remedy = _unreachable(getattr(error, "reason", error), base_url)
        return failed(subject, f"{base_url} cannot be reached: {what}", remedy)


def _unreachable(cause: object, base_url: str) -> tuple[str, str]:
    """Why an address does not answer. Only the system's own words are shown: others quote what was sent, and the key."""
    remedy = "Check base_url, the network and the proxy variables."
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted", "Check the host, or add its authority with SSL_CERT_FILE."
    if isinstance(cause, ssl.SSLError):
        there = base_url.replace("https://", "http://", 1)
        return "it does not speak TLS", f"If it speaks plain HTTP, write {without_password(there)!r}."
    if isinstance(cause, TimeoutError):
        return f"it is silent for {_SECONDS} s", remedy
    if isinstance(cause, (http.client.HTTPException, ConnectionResetError)):
        return "what is there does not speak HTTP", "Check host and port, and whether it wants https."
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__, remedy


def _lacks_version(base_url: str) -> bool:
    return not urllib.parse.urlsplit(base_url).path.strip("/")


def _unversioned(subject: str, base_url: str, found: Finding, headers: dict[str, str]) -> Finding:
    """A provider that knows no models where it was asked: under /v1, where most have them, it may."""
    with_version = f"{base_url.rstrip('/')}/v1"
    request = urllib.request.Request(f"{with_version}/models", headers=headers)  # noqa: S310 - as above
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - as above
            pass
    except (OSError, ValueError, http.client.HTTPException):
        return found
    remedy = f"Write base_url = {without_password(with_version)!r}."
    return failed(subject, f"{base_url} answers, but not there: its API is below /v1", remedy)


def _clock(subject: str, headers: Message) -> Finding | None:
    """A word on clocks that differ, which keys that expire and signed messages do not forgive."""
    if "age" in headers:
        return None  # a cache has answered
    try:
        theirs = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    minutes = round((now_us() / 1_000_000 - theirs) / 60)
    if abs(minutes) < _CLOCK_MINUTES:
        return None
    way = "ahead of" if minutes > 0 else "behind"
    detail = f"it answers, but the clock here is {abs(minutes)} minutes {way} its own"
    return doubtful(subject, detail, "Let this machine keep its time by NTP.")


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
