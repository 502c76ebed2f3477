"""What a token costs: the price table of genai-prices, with overrides from `[models]`.

Rates are kept as whole nano-dollars per million tokens, so that a cost is one integer sum, rounded once.
A model that the table does not know has no price: its cost is None, never 0. Models in the box cost 0.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.money import from_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.base.settings import ModelSettings
    from mainspring.ledger.types import Usage

_MILLION = 1_000_000
_PER_MTOK = ("input", "cache_read", "cache_write", "cache_write_1h", "output")


class Rates(msgspec.Struct, frozen=True):
    """Nano-dollars per million tokens, in force when the whole prompt has at least `from_tokens` tokens."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    from_tokens: int = 0


#: A model in the box: its price is known, and it is nothing.
FREE = (Rates(0, 0, 0, 0, 0),)


class PriceTable:
    """Prices by provider and model, looked up once and remembered.

    Args:
        overrides: `[models]` of the settings, by "provider/model".
        table_names: for each provider whose prices the built-in table knows, its name there.
    """

    def __init__(self, overrides: Mapping[str, ModelSettings], table_names: Mapping[str, str]) -> None:
        self._overrides = overrides
        self._table_names = table_names
        self._known: dict[tuple[str, str], tuple[Rates, ...] | None] = {}

    def rates(self, provider: str, model: str) -> tuple[Rates, ...] | None:
        """The tiers of a model, lowest first, or None when its price is unknown."""
        key = (provider, model)
        if key not in self._known:
            self._known[key] = self._look_up(provider, model)
        return self._known[key]

    def cost(self, provider: str, model: str, usage: Usage) -> int | None:
        """The cost of a call in nano-dollars, rounded half to even; None when the price is unknown."""
        tiers = self.rates(provider, model)
        if tiers is None:
            return None
        prompt = usage.input + usage.cache_read + usage.cache_write
        rates = tiers[0]
        for tier in tiers[1:]:
            if prompt >= tier.from_tokens:
                rates = tier
        short_writes = usage.cache_write - usage.cache_write_1h
        total = (
            usage.input * rates.input
            + usage.cache_read * rates.cache_read
            + short_writes * rates.cache_write
            + usage.cache_write_1h * rates.cache_write_1h
            + (usage.output + usage.reasoning) * rates.output
        )
        whole, rest = divmod(total, _MILLION)
        half = _MILLION // 2
        return whole + (rest > half or (rest == half and whole % 2 == 1))

    def warm(self) -> None:
        """Read the built-in table (0.2 s of CPU time) before the first request needs it. Runs in a thread."""
        if self._table_names:
            _find("openai", "gpt-4o")

    def _look_up(self, provider: str, model: str) -> tuple[Rates, ...] | None:
        override = self._overrides.get(f"{provider}/{model}")
        if override is not None and (
            override.input_usd_per_mtok is not None or override.output_usd_per_mtok is not None
        ):
            return (_from_override(override),)
        if provider == "local":
            return FREE
        table_name = self._table_names.get(provider)
        if table_name is None:
            return None
        prices = _find(table_name, model)
        return None if prices is None else _from_table(prices)


def _from_override(model: ModelSettings) -> Rates:
    price_in = from_usd(model.input_usd_per_mtok or 0)
    read, write = model.cache_read_usd_per_mtok, model.cache_write_usd_per_mtok
    # A cache price that is not given is the input price: never cheaper than the bill.
    return Rates(
        input=price_in,
        output=from_usd(model.output_usd_per_mtok or 0),
        cache_read=price_in if read is None else from_usd(read),
        cache_write=price_in if write is None else from_usd(write),
        cache_write_1h=price_in if write is None else from_usd(write),
    )


def _find(provider: str, model: str) -> Any | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 10 MB of table, only for providers in it

    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return found.get_prices(datetime.now(UTC))


def _from_table(prices: Any) -> tuple[Rates, ...] | None:
    """Tiers from a price of the table; None when it has no price for plain input."""
    names = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")
    values = [getattr(prices, name, None) for name in names]
    if values[0] is None:
        return None
    starts = {0}
    for value in values:
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
    return tuple(_tier(values, start) for start in sorted(starts))


def _tier(values: list[Any], start: int) -> Rates:
    amounts: dict[str, int] = {}
    for name, value in zip(_PER_MTOK, values, strict=True):
        price = getattr(value, "base", value)
        for tier in getattr(value, "tiers", ()):
            if tier.start <= start:
                price = tier.price
        if price is not None:
            amounts[name] = from_usd(price)
    amounts.setdefault("cache_read", amounts["input"])
    amounts.setdefault("cache_write", amounts["input"])
    amounts.setdefault("cache_write_1h", amounts["cache_write"])
    amounts.setdefault("output", 0)
    return Rates(**amounts, from_tokens=start)
