"""The open providers of this process.

A new wire protocol is one file and one line in `_BUILDERS`; a provider that speaks a known one is a line in `known`.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, Mistakes, NotFound
from mainspring.base.logging import get_logger
from mainspring.base.secrets import Secrets
from mainspring.base.settings.secrets import kind_of, shown
from mainspring.providers.configured import base_url_of, configurations, header_of, is_original, labelled
from mainspring.providers.known import ANTHROPIC, KNOWN, OPENAI
from mainspring.providers.pool import KeyPool, PooledKey
from mainspring.providers.prices import PriceTable
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mainspring.base.settings import ProviderSettings, Settings
    from mainspring.providers.drains import Drains
    from mainspring.providers.types import Provider

_log = get_logger(__name__)
#: How long a provider has to list its models.
_LIST_SECONDS = 15


class Providers:
    """The open providers by name, and the prices of their models.

    Args:
        settings: the configuration; a known provider whose key variable is set need not stand in it.
        secrets: what keys' references stand for, followed from here on; what is kept on the network was read before.

    Raises:
        ConfigError: some of them cannot be.
    """

    def __init__(self, settings: Settings, secrets: Secrets | None = None) -> None:
        self._secrets = Secrets() if secrets is None else secrets
        self.configured = configured = configurations(settings)
        self._open: dict[str, Provider] = {}
        mistakes = Mistakes()
        for name, provider in configured.items():
            with mistakes.gathered():
                self._open[name] = _build(name, provider, settings, self._pool(name, provider))
        mistakes.tell()
        self._secrets.listen(self._rotated)
        table = {
            name: KNOWN[name].prices or ""
            for name, provider in configured.items()
            if name in KNOWN and KNOWN[name].prices and is_original(name, provider)
        }
        self.prices = PriceTable(settings.models, table)
        #: Providers whose streams are to be asked for usage.
        self.asks_usage = frozenset(
            name for name in self._open if name not in KNOWN or KNOWN[name].stream_usage
        )
        self._listed: dict[str, list[str]] = {}
        self._listing: set[asyncio.Task[None]] = set()

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
        self._complain()
        await asyncio.to_thread(self.prices.warm)
        await asyncio.gather(*(self._list(provider) for provider in self))

    def _complain(self) -> None:
        """Tell the log of keys that will not be used. None of it keeps the others from working."""
        for pool in self.pools():
            for key in pool.keys:
                if key.twin is not None:
                    _log.warning(
                        "provider_key_duplicate",
                        provider=pool.provider,
                        key_label=key.label,
                        same_as=key.twin,
                        remedy="Leave one of the two out.",
                    )
            missing = [key for key in pool.keys if key.reference and key.secret is None]
            if missing and len(missing) == len(pool.keys):
                problem = missing[0].problem
                _log.warning(
                    "provider_without_key",
                    provider=pool.provider,
                    keys=[key.label for key in missing],
                    reason=f"{problem.message if problem else ''} Calls to it fail until one of its keys is there.",
                    remedy=problem.remedy if problem else "",
                )

    async def _list(self, provider: Provider) -> None:
        with suppress(TimeoutError):  # one that is silent must not hide what the others tell
            async with asyncio.timeout(_LIST_SECONDS):
                self._listed[provider.name] = await provider.models()

    def models(self) -> list[str]:
        """`provider/model` of every model that a provider has told of."""
        return [f"{name}/{model}" for name, models in sorted(self._listed.items()) for model in models]

    def pools(self) -> list[KeyPool]:
        """The keys of every provider."""
        return [provider.pool for provider in self]

    def apply(self, drains: Drains) -> None:
        """Take out of use what is drained, and nothing else."""
        for provider in self:
            provider.pool.drain = drains.find(provider.name)
            for key in provider.pool.keys:
                key.drain = drains.find(provider.name, key.label) if key.label else None
            provider.pool.settle()

    def adopt(self, before: Providers) -> None:
        """Go on with what the providers of the configuration before have learnt of their keys."""
        for provider in self:
            if provider.name in before:
                provider.pool.adopt(before.get(provider.name).pool)

    def _pool(self, name: str, provider: ProviderSettings) -> KeyPool:
        """The keys of a provider.

        Raises:
            ConfigError: a key that stands in the configuration cannot be sent.
        """
        keys = [PooledKey(label, reference) for label, reference in labelled(name, provider)]
        pool = KeyPool(name, keys, header=header_of(name, provider), renew=self._secrets.renew)
        for key in pool.keys:
            if not key.reference:
                continue
            pool.put(key.reference, self._secrets.get(key.reference), self._secrets.problem(key.reference))
            if key.secret is None and key.problem is not None and kind_of(key.reference) == "literal":
                raise ConfigError(
                    f"providers.{name}: {key.label}{key.problem.message.removeprefix(shown(key.reference))}",
                    remedy=key.problem.remedy,
                    place=("providers", name, "api_keys"),
                )
        return pool

    def _rotated(self, reference: str) -> None:
        for provider in self:
            before = provider.ready()
            provider.pool.put(reference, self._secrets.get(reference), self._secrets.problem(reference))
            if (
                before == math.inf and provider.ready() == 0
            ):  # its first key has come: it can tell of its models now
                listing = asyncio.create_task(self._list(provider))
                self._listing.add(listing)
                listing.add_done_callback(self._listing.discard)

    async def close(self) -> None:
        """Close every pool."""
        self._secrets.ignore(self._rotated)
        for listing in self._listing:
            listing.cancel()
        await asyncio.gather(*(provider.close() for provider in self))


def _headers(name: str, headers: dict[str, str]) -> dict[str, str]:
    """Headers that can be sent.

    Raises:
        ConfigError: one of them cannot; its value is not shown.
    """
    for key, value in headers.items():
        if not (key.isascii() and key.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(
                f"providers.{name}: the header {key!r} holds what a header cannot carry.",
                remedy="Check headers for line breaks and letters beyond ASCII.",
                place=("providers", name, "headers", key),
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
            place=("providers", name, "operations"),
        ) from None


def _build(name: str, provider: ProviderSettings, settings: Settings, pool: KeyPool) -> Provider:
    return _BUILDERS[provider.api](name, provider, settings, pool)


def _openai(name: str, provider: ProviderSettings, _: Settings, pool: KeyPool) -> Provider:
    from mainspring.providers.openai import OpenAIProvider  # noqa: PLC0415 - each protocol is loaded where it is used

    url, operations = base_url_of(name, provider), _operations(name, provider, OPENAI)
    return OpenAIProvider(
        name, url, _headers(name, provider.headers), operations, provider.connections, pool=pool
    )


def _anthropic(name: str, provider: ProviderSettings, _: Settings, pool: KeyPool) -> Provider:
    from mainspring.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - see _openai

    url, operations = base_url_of(name, provider), _operations(name, provider, ANTHROPIC)
    return AnthropicProvider(
        name, url, _headers(name, provider.headers), operations, provider.connections, pool=pool
    )


def _local(name: str, provider: ProviderSettings, settings: Settings, pool: KeyPool) -> Provider:
    from mainspring.providers.local import LocalProvider  # noqa: PLC0415 - the engines behind it are an extra

    del provider
    return LocalProvider(name, settings, pool)


_BUILDERS: dict[str, Callable[[str, ProviderSettings, Settings, KeyPool], Provider]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "local": _local,
}
