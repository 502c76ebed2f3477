"""What the configuration and the environment say of each provider: that it is there, its address, its keys."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from mainspring.base.errors import ConfigError
from mainspring.base.settings import ProviderSettings, Settings, without_password
from mainspring.base.settings.secrets import kind_of
from mainspring.providers.known import KNOWN

#: How a key is sent in each protocol, and by providers that do it in a way of their own.
_HEADER = {"openai": "authorization: Bearer %s", "anthropic": "x-api-key: %s", "local": ""}
_OPERATION = re.compile(r"/(chat/completions|completions|responses|embeddings|messages|models)/?$")
_BARE = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)*)(?P<port>:\d+)?(?:/v1)?/?", re.ASCII)
_QUOTES = ("'", '"', "`")
_CREDENTIALS = {"azure": "api-key: %s"}


def configurations(settings: Settings) -> dict[str, ProviderSettings]:
    """What is configured, plus the known providers whose key is in the environment, plus the models in the box."""
    found: dict[str, ProviderSettings] = {}
    for name, known in KNOWN.items():
        switch = known.key_variable or known.url_variable
        if name not in settings.providers and switch is not None and os.environ.get(switch):
            # Without an address of its own (Azure) a key alone is not enough.
            if known.base_url is None and not os.environ.get(known.url_variable or ""):
                continue
            found[name] = ProviderSettings(api=known.api)
    for name, provider in settings.providers.items():
        found[name] = provider
        api = "local" if name == "local" else KNOWN[name].api if name in KNOWN else provider.api
        if "api" not in provider.model_fields_set and api != provider.api:
            # Who writes only a key for a known provider means its own protocol, not the usual one.
            found[name] = provider.model_copy(update={"api": api})
    found.setdefault("local", ProviderSettings(api="local"))
    return found


def base_url_of(name: str, provider: ProviderSettings) -> str:
    """The address of a provider: configured, from its variable, or the known one.

    Raises:
        ConfigError: it has none.
    """
    known = KNOWN.get(name)
    url = provider.base_url
    if url is None and known is not None:
        url = (os.environ.get(known.url_variable) if known.url_variable else None) or known.base_url
        if url is not None and name == "azure" and "/openai/" not in f"{url}/":
            url = f"{url.rstrip('/')}/openai/v1"
    if url is None:
        raise ConfigError(
            f"providers.{name} has no base_url.",
            remedy='Give it one, such as "https://host/v1".',
            place=("providers", name),
        )
    # In Anthropic's protocol the version is part of every path, and other clients want it here.
    own_version = "" if provider.api == "anthropic" else "/v1"
    place: tuple[str, ...] = ("providers", name, "base_url")
    subject = f"providers.{name}: base_url"
    if provider.base_url is None and known is not None:
        place, subject = (), f"The environment variable {known.url_variable}:"
    if not _is_address(url):
        raise ConfigError(
            f"{subject} {without_password(url)!r} is not an http or https URL without a query.",
            remedy=f'Write it as "{_meant_address(url) or "https://host"}{own_version}".',
            place=place,
        )
    if (operation := _OPERATION.search(url)) is not None:
        address = url[: operation.start()] if own_version else url[: operation.start()].removesuffix("/v1")
        raise ConfigError(
            f"{subject} ends with {operation[0]}, which is the path of one operation.",
            remedy=f"Leave it out: {without_password(address)!r}.",
            place=place,
        )
    return url if own_version else url.rstrip("/").removesuffix("/v1")


def _meant_address(url: str) -> str | None:
    """The scheme, host and port that are meant by an address that has no scheme; None where that is not clear."""
    bare = _BARE.fullmatch(url)
    if bare is None:
        return None
    is_near = bare["host"] in {"localhost", "host.docker.internal"} or bare["host"][0].isdigit()
    return f"{'http' if is_near else 'https'}://{bare['host']}{bare['port'] or ''}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no port
        return False
    return usable and not parts.query and not parts.fragment and url.isascii() and url.isprintable()


def is_original(name: str, provider: ProviderSettings) -> bool:
    """Whether a known name still means the known provider, so that the table's prices hold for it."""
    known = KNOWN[name]
    if known.base_url is None:
        return True
    host = known.base_url.split("/")[2]
    return base_url_of(name, provider).split("/")[2] == host


def labelled(name: str, provider: ProviderSettings) -> list[tuple[str, str]]:
    """The keys of a provider: what each is called, and what it refers to. None where its calls carry no key.

    A known provider without `api_keys` has the key of its usual variable. Where that is not set, the provider may still
    be a server of one's own in its place, which needs none; its own service always needs one.
    """
    own = header_of(name, provider).partition(":")[0]
    if provider.api == "local" or own in {header.lower() for header in provider.headers}:
        return []  # who writes that header means it
    known = KNOWN.get(name)
    references = list(provider.api_keys)
    if not references and known is not None and known.key_variable is not None:
        there = bool(os.environ.get(known.key_variable, "").strip())
        references = [f"env:{known.key_variable}"] if there or is_original(name, provider) else []
    return [
        (f"key {number}" if kind_of(reference) == "literal" else reference, reference)
        for number, reference in enumerate(references, 1)
    ]


def header_of(name: str, provider: ProviderSettings) -> str:
    """The header that carries a key, with `%s` in its place."""
    return _CREDENTIALS.get(name) or _HEADER[provider.api]


def unfit(key: str) -> tuple[str, str] | None:
    """Why a key cannot be sent as it is, and what to do; None where it can be. The key is not shown."""
    if not (key.isascii() and key.isprintable()):
        return "holds what a header cannot carry", "Check it for line breaks and letters beyond ASCII."
    if key[:1] in _QUOTES and key[-1:] == key[:1]:
        return (
            "has quotes around the key",
            "Take them away; files of variables keep what stands behind the =.",
        )
    if key[:7].lower() == "bearer ":
        return "begins with the word Bearer, which is put before every key", "Leave only the key."
    return None


def references(settings: Settings) -> list[str]:
    """Every reference that some provider's key needs."""
    return [
        reference
        for name, provider in configurations(settings).items()
        if provider.api != "local"
        for _, reference in labelled(name, provider)
    ]
