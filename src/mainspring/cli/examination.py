"""What `mainspring check` looks at: the configuration, the stores, the providers and the models in the box."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import MainspringError
from mainspring.base.ids import new_id
from mainspring.base.settings import DEFAULT_FILE, ProviderSettings, Settings, resolve, without_password
from mainspring.keys import ADMIN_KEY_FILE
from mainspring.providers.configured import base_url_of, configurations
from mainspring.providers.known import KNOWN
from mainspring.providers.local.catalog import IN_THE_BOX, usable
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PROBE_SECONDS = 5
_REFUSED = {401, 403}
_SERVER_ERROR = 500


class Finding(msgspec.Struct):
    """One thing that was looked at. `works` is None for what is absent and need not be there."""

    subject: str
    works: bool | None
    detail: str
    remedy: str = ""


def examine(config: Path | None, settings: Settings) -> list[Finding]:
    """Look at everything that the configuration names."""
    findings = [
        _configuration(config, settings),
        *asyncio.run(_stores(settings)),
        *_providers(settings),
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
    finally:
        await runtime.close()
    return found


def _providers(settings: Settings) -> Iterator[Finding]:
    for name, provider in sorted(configurations(settings).items()):
        if provider.api == "local":
            continue
        try:
            yield _probe(
                f"provider {name}", base_url_of(name, provider), provider.api, _headers(name, provider)
            )
        except MainspringError as error:
            yield Finding(f"provider {name}", works=False, detail=error.message, remedy=error.remedy)


def _headers(name: str, provider: ProviderSettings) -> dict[str, str]:
    """What the provider wants to see before it lists its models.

    Raises:
        MainspringError: a key is referred to, but is not there.
    """
    known = KNOWN.get(name)
    references = provider.api_keys or ([f"env:{known.key_variable}"] if known and known.key_variable else [])
    keys = [key for reference in references if (key := resolve(reference))]
    if references and not keys:
        raise MainspringError(
            f"None of its keys is there: {', '.join(references)}.",
            remedy="Set the variable, or put the key into the file.",
        )
    headers = dict(provider.headers)
    if keys and provider.api == "anthropic":
        headers |= {"x-api-key": keys[0], "anthropic-version": "2023-06-01"}
    elif keys:
        headers |= {"api-key": keys[0]} if name == "azure" else {"authorization": f"Bearer {keys[0]}"}
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
        if f.works and f.subject.startswith(("provider ", "model local/")) and "embed" not in f.subject
    ]
    if sources:
        return Finding("models", works=True, detail=f"{len(sources)} sources of answers")
    return Finding(
        "models",
        works=False,
        detail="nothing can answer",
        remedy="Run `mainspring local pull small`, or set OPENAI_API_KEY or ANTHROPIC_API_KEY.",
    )
