"""Which providers there are: the known names in one table, and the open ones of this process.

Adding a provider that speaks a known wire protocol is one line in `KNOWN`; a new protocol is one file and one line in
`_BUILDERS`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from mainspring.base.errors import ConfigError, NotFound
from mainspring.base.settings import ProviderSettings, Settings, resolve, without_password
from mainspring.providers.prices import PriceTable
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mainspring.providers.types import Provider

#: How long a provider has to list its models.
_LIST_SECONDS = 15
_CHAT = frozenset({Operation.CHAT, Operation.EMBEDDINGS})
_CHAT_COMPLETIONS = _CHAT | {Operation.COMPLETIONS}
_OPENAI = _CHAT_COMPLETIONS | {Operation.RESPONSES}
_ANTHROPIC = frozenset({Operation.MESSAGES, Operation.COUNT_TOKENS})


class Known(msgspec.Struct, frozen=True):
    """A provider that people know by name.

    Attributes:
        api: its wire protocol.
        base_url: where it is; None when every customer has another address.
        key_variable: the variable whose presence switches it on; None for servers that need no key.
        url_variable: the variable that names or replaces the address.
        operations: what it serves natively.
        prices: its name in the price table, if it is in there.
        stream_usage: whether it understands `stream_options.include_usage`.
    """

    api: Literal["openai", "anthropic", "local"]
    base_url: str | None
    key_variable: str | None
    operations: frozenset[Operation]
    url_variable: str | None = None
    prices: str | None = None
    stream_usage: bool = True


KNOWN: dict[str, Known] = {
    "openai": Known(
        "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", _OPENAI, "OPENAI_BASE_URL", prices="openai"
    ),
    "anthropic": Known(
        "anthropic",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        _ANTHROPIC,
        "ANTHROPIC_BASE_URL",
        prices="anthropic",
    ),
    "azure": Known("openai", None, "AZURE_OPENAI_API_KEY", _OPENAI, "AZURE_OPENAI_ENDPOINT", prices="azure"),
    "together": Known(
        "openai", "https://api.together.xyz/v1", "TOGETHER_API_KEY", _CHAT_COMPLETIONS, prices="together"
    ),
    "groq": Known(
        "openai",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        _CHAT | {Operation.RESPONSES},
        prices="groq",
    ),
    "mistral": Known(
        # It reports usage by itself and refuses fields that it does not know.
        "openai",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        _CHAT,
        prices="mistral",
        stream_usage=False,
    ),
    "deepseek": Known(
        "openai",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        frozenset({Operation.CHAT}),
        prices="deepseek",
    ),
    "openrouter": Known(
        "openai",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        _OPENAI,
        prices="openrouter",
    ),
    "gemini": Known(
        "openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        _CHAT,
        prices="google",
    ),
    "ollama": Known("openai", "http://127.0.0.1:11434/v1", None, _CHAT_COMPLETIONS, "OLLAMA_BASE_URL"),
    "vllm": Known("openai", "http://127.0.0.1:8000/v1", None, _OPENAI, "VLLM_BASE_URL"),
    "llamacpp": Known("openai", "http://127.0.0.1:8081/v1", None, _CHAT_COMPLETIONS, "LLAMACPP_BASE_URL"),
}


class Providers:
    """The open providers by name, and the prices of their models.

    Args:
        settings: the configuration; a known provider whose key variable is set need not stand in it.
    """

    def __init__(self, settings: Settings) -> None:
        configured = configurations(settings)
        self._open = {name: _build(name, provider, settings) for name, provider in configured.items()}
        table = {
            name: KNOWN[name].prices or ""
            for name, provider in configured.items()
            if name in KNOWN and KNOWN[name].prices and _is_original(name, provider)
        }
        self.prices = PriceTable(settings.models, table)
        #: Providers whose streams are to be asked for usage.
        self.asks_usage = frozenset(
            name for name in self._open if name not in KNOWN or KNOWN[name].stream_usage
        )
        self._listed: dict[str, list[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._open.values())

    def get(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._open[name]
        except KeyError:
            raise NotFound(
                f"There is no provider {name!r} here.",
                remedy=f"Configured are: {', '.join(sorted(self._open))}.",
                param="model",
            ) from None

    async def start(self) -> None:
        """Open every pool."""
        await asyncio.gather(*(provider.start() for provider in self))

    async def warm(self) -> None:
        """Connect ahead of the first call, learn the providers' model names and read the price table.

        A provider that is away only lists no models.
        """
        await asyncio.to_thread(self.prices.warm)
        await asyncio.gather(*(self._list(provider) for provider in self))

    async def _list(self, provider: Provider) -> None:
        with suppress(TimeoutError):  # one that is silent must not hide what the others tell
            async with asyncio.timeout(_LIST_SECONDS):
                self._listed[provider.name] = await provider.models()

    def models(self) -> list[str]:
        """`provider/model` of every model that a provider has told of."""
        return [f"{name}/{model}" for name, models in sorted(self._listed.items()) for model in models]

    async def close(self) -> None:
        """Close every pool."""
        await asyncio.gather(*(provider.close() for provider in self))


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
            f"providers.{name} has no base_url.", remedy='Give it one, such as "https://host/v1".'
        )
    if not _is_address(url):
        raise ConfigError(
            f"providers.{name}: base_url {without_password(url)!r} is not an http or https URL without a query.",
            remedy='Write it as "https://host/v1".',
        )
    return url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no port
        return False
    return usable and not parts.query and not parts.fragment and url.isascii() and url.isprintable()


def _is_original(name: str, provider: ProviderSettings) -> bool:
    """Whether a known name still means the known provider, so that the table's prices hold for it."""
    known = KNOWN[name]
    if known.base_url is None:
        return True
    host = known.base_url.split("/")[2]
    return base_url_of(name, provider).split("/")[2] == host


def _key_of(name: str, provider: ProviderSettings) -> str | None:
    known = KNOWN.get(name)
    references = list(provider.api_keys)
    if not references and known is not None and known.key_variable is not None:
        references = [f"env:{known.key_variable}"]
    for reference in references:
        if secret := (
            resolve(reference) or ""
        ).strip():  # a line break at its end is easily kept with a secret
            return secret
    return None


def _headers(name: str, headers: dict[str, str]) -> dict[str, str]:
    """Headers that can be sent.

    Raises:
        ConfigError: one of them cannot; its value is not shown.
    """
    for key, value in headers.items():
        if not (key.isascii() and key.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(
                f"providers.{name}: the header {key!r} holds what a header cannot.",
                remedy="Check api_keys and headers for line breaks and letters beyond ASCII.",
            )
    return headers


def _operations(name: str, provider: ProviderSettings, usual: frozenset[Operation]) -> frozenset[Operation]:
    if provider.operations is None:
        known = KNOWN.get(name)
        return known.operations if known is not None and known.api == provider.api else usual
    try:
        return frozenset(Operation(operation) for operation in provider.operations)
    except ValueError:
        raise ConfigError(
            f"providers.{name}.operations: {provider.operations} names something unknown.",
            remedy=f"Known are: {', '.join(Operation)}.",
        ) from None


def _build(name: str, provider: ProviderSettings, settings: Settings) -> Provider:
    if "/" in name:
        raise ConfigError(f"providers.{name}: a provider's name has no slash.", remedy="Rename it.")
    return _BUILDERS[provider.api](name, provider, settings)


def _openai(name: str, provider: ProviderSettings, _: Settings) -> Provider:
    from mainspring.providers.openai import OpenAIProvider  # noqa: PLC0415 - each protocol is loaded where it is used

    key, url = _key_of(name, provider), base_url_of(name, provider)
    credentials: dict[str, str] = {}
    if key is not None:
        credentials = {"api-key": key} if name == "azure" else {"authorization": f"Bearer {key}"}
    operations = _operations(name, provider, _OPENAI)
    headers = _headers(name, {**credentials, **provider.headers})
    return OpenAIProvider(name, url, headers, operations, provider.connections)


def _anthropic(name: str, provider: ProviderSettings, _: Settings) -> Provider:
    from mainspring.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - see _openai

    key, url = _key_of(name, provider), base_url_of(name, provider)
    credentials = {} if key is None else {"x-api-key": key}
    operations = _operations(name, provider, _ANTHROPIC)
    headers = _headers(name, {**credentials, **provider.headers})
    return AnthropicProvider(name, url, headers, operations, provider.connections)


def _local(name: str, provider: ProviderSettings, settings: Settings) -> Provider:
    from mainspring.providers.local import LocalProvider  # noqa: PLC0415 - the engines behind it are an extra

    del provider
    return LocalProvider(name, settings)


_BUILDERS: dict[str, Callable[[str, ProviderSettings, Settings], Provider]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "local": _local,
}
