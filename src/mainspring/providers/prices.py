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
#: Prices remembered: callers choose the names of models, and memory must not grow with them.
_MOST_KNOWN = 10_000
_PER_MTOK = ("input", "cache_read", "cache_write", "cache_write_1h", "output")


class Rates(msgspec.Struct, frozen=True):
    """Nano-dollars per million tokens, in force when the whole prompt has more than `above` tokens.

    `output` is None where only the price of input is known, as for a model that embeds.
    """

    input: int
    output: int | None
    cache_read: int
    cache_write: int
    cache_write_1h: int
    above: int = 0


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
        #: Whether the built-in table was read, so that looking something up takes microseconds.
        self.is_warm = not table_names

    def rates(self, provider: str, model: str) -> tuple[Rates, ...] | None:
        """The tiers of a model, lowest first, or None when its price is unknown."""
        key = (provider, model)
        if key in self._known:
            return self._known[key]
        found = self._look_up(provider, model)
        if len(self._known) < _MOST_KNOWN:
            self._known[key] = found
        return found

    def cost(self, provider: str, model: str, usage: Usage) -> int | None:
        """The cost of a call in nano-dollars, rounded half to even; None when the price is unknown."""
        tiers = self.rates(provider, model)
        if tiers is None:
            return None
        prompt = usage.input + usage.cache_read + usage.cache_write
        rates = tiers[0]
        for tier in tiers[1:]:
            if prompt > tier.above:
                rates = tier
        written = usage.output + usage.reasoning
        if written and rates.output is None:
            return None
        short_writes = usage.cache_write - usage.cache_write_1h
        total = (
            usage.input * rates.input
            + usage.cache_read * rates.cache_read
            + short_writes * rates.cache_write
            + usage.cache_write_1h * rates.cache_write_1h
            + written * (rates.output or 0)
        )
        whole, rest = divmod(total, _MILLION)
        half = _MILLION // 2
        return whole + (rest > half or (rest == half and whole % 2 == 1))

    def context_tokens(self, provider: str, model: str) -> int | None:
        """The context window that the built-in table has for a model; None where it has none."""
        table_name = self._table_names.get(provider)
        found = None if table_name is None else _entry(table_name, model)
        return None if found is None else found.context_window

    def warm(self) -> None:
        """Read the built-in table (0.2 s of CPU time) before the first request needs it. Runs in a thread."""
        if self._table_names:
            _find("openai", "gpt-4o")
        self.is_warm = True

    def _look_up(self, provider: str, model: str) -> tuple[Rates, ...] | None:
        built_in = self._built_in(provider, model)
        override = self._overrides.get(f"{provider}/{model}")
        return built_in if override is None else _overridden(built_in, override)

    def _built_in(self, provider: str, model: str) -> tuple[Rates, ...] | None:
        if provider == "local":
            return FREE
        table_name = self._table_names.get(provider)
        if table_name is None:
            return None
        prices = _find(table_name, model)
        return None if prices is None else _from_table(prices)


def _overridden(built_in: tuple[Rates, ...] | None, model: ModelSettings) -> tuple[Rates, ...] | None:
    """Built-in prices with those that the settings give in their place; a price that neither gives stays unknown.

    Who gives the price of input or output sets one price for prompts of every length.
    """
    price_in, price_out = _nusd(model.input_usd_per_mtok), _nusd(model.output_usd_per_mtok)
    read, write = _nusd(model.cache_read_usd_per_mtok), _nusd(model.cache_write_usd_per_mtok)
    tiers = built_in or ()
    if price_in is not None or price_out is not None:
        tiers = tiers[:1]
    if price_in is not None:
        # Cache prices belong to the price of input; one that is not given is that price: never cheaper than the bill.
        output = tiers[0].output if tiers else None
        tiers = (Rates(price_in, output, price_in, price_in, price_in),)
    return (
        tuple(
            Rates(
                input=tier.input,
                output=tier.output if price_out is None else price_out,
                cache_read=tier.cache_read if read is None else read,
                cache_write=tier.cache_write if write is None else write,
                cache_write_1h=tier.cache_write_1h if write is None else write,
                above=tier.above,
            )
            for tier in tiers
        )
        or None
    )


def _nusd(price: float | None) -> int | None:
    return None if price is None else from_usd(price)


def _find(provider: str, model: str) -> Any | None:
    found = _entry(provider, model)
    return None if found is None else found.get_prices(datetime.now(UTC))


def _entry(provider: str, model: str) -> Any | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 10 MB of table, only for providers in it

    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return found


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
    return Rates(output=amounts.pop("output", None), **amounts, above=start)
