"""What a call costs."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.base.settings import ModelSettings
from mainspring.ledger.types import Usage
from mainspring.providers import prices
from mainspring.providers.prices import FREE, PriceTable, Rates

if TYPE_CHECKING:
    import pytest

TABLE = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}


def table(**models: dict[str, float]) -> PriceTable:
    overrides = {
        name.replace("__", "/").replace("_", "-"): ModelSettings.model_validate(given)
        for name, given in models.items()
    }
    return PriceTable(overrides, TABLE)


def test_known_models() -> None:
    known = table()
    assert known.cost("openai", "gpt-4o", Usage(input=1_000_000)) == 2_500_000_000
    assert known.cost("openai", "gpt-4o", Usage(output=1_000_000)) == 10_000_000_000
    assert known.cost("openai", "gpt-4o", Usage(cache_read=1_000_000)) == 1_250_000_000
    reasoning = known.cost("openai", "gpt-5-mini", Usage(output=300, reasoning=700))
    assert reasoning == known.cost("openai", "gpt-5-mini", Usage(output=1000))
    rates = known.rates("anthropic", "claude-sonnet-4-5")
    assert rates is not None
    assert rates[0].cache_write == rates[0].input * 5 // 4
    assert rates[0].cache_read == rates[0].input // 10


def test_writes_for_an_hour_have_their_own_price() -> None:
    rates = (Rates(input=4, output=1, cache_read=1, cache_write=5, cache_write_1h=8),)
    known = table()
    known._known["p", "m"] = rates
    assert (
        known.cost("p", "m", Usage(cache_write=1_000_000, cache_write_1h=250_000))
        == 750_000 * 5 // 1_000_000 + 2 + 1
    )


def test_tiers_begin_above_their_threshold() -> None:
    known = table()
    tiers = known.rates("gemini", "gemini-2.5-pro")
    assert tiers is not None
    assert len(tiers) > 1
    edge = tiers[1].above
    low = known.cost("gemini", "gemini-2.5-pro", Usage(input=edge))
    high = known.cost("gemini", "gemini-2.5-pro", Usage(input=edge - 1, cache_read=2))
    assert low == edge * tiers[0].input // 1_000_000
    assert high == round(Fraction((edge - 1) * tiers[1].input + 2 * tiers[1].cache_read, 1_000_000))


def test_unknown_is_none_and_the_box_is_free() -> None:
    known = table()
    assert known.cost("openai", "no-such-model", Usage(input=1)) is None
    assert known.cost("mine", "gpt-4o", Usage(input=1)) is None
    assert known.cost("local", "small", Usage(input=10**9, output=10**9)) == 0
    assert known.rates("local", "anything") == FREE


def test_overrides() -> None:
    own = table(mine__m={"input_usd_per_mtok": 2, "output_usd_per_mtok": 4})
    assert own.rates("mine", "m") == (Rates(2 * 10**9, 4 * 10**9, 2 * 10**9, 2 * 10**9, 2 * 10**9),)
    cached = table(
        mine__m={"input_usd_per_mtok": 2, "output_usd_per_mtok": 0, "cache_read_usd_per_mtok": 0.2}
    )
    assert cached.cost("mine", "m", Usage(cache_read=1_000_000, output=5)) == 200_000_000


def test_an_override_leaves_the_rest_of_a_known_price() -> None:
    plain = table().rates("openai", "gpt-4o")
    assert plain is not None
    dearer = table(openai__gpt_4o={"output_usd_per_mtok": 99}).rates("openai", "gpt-4o")
    assert dearer is not None
    assert (dearer[0].input, dearer[0].cache_read, dearer[0].output) == (
        plain[0].input,
        plain[0].cache_read,
        99 * 10**9,
    )
    cheaper = table(openai__gpt_4o={"cache_read_usd_per_mtok": 0}).rates("openai", "gpt-4o")
    assert cheaper is not None
    assert (cheaper[0].input, cheaper[0].cache_read) == (plain[0].input, 0)
    inputs = table(openai__gpt_4o={"input_usd_per_mtok": 1}).rates("openai", "gpt-4o")
    assert inputs is not None
    assert (inputs[0].input, inputs[0].cache_read, inputs[0].output) == (10**9, 10**9, plain[0].output)


def test_half_a_price_is_not_taken_for_nothing() -> None:
    embeds = table(mine__m={"input_usd_per_mtok": 1})
    assert embeds.cost("mine", "m", Usage(input=1_000_000)) == 10**9
    assert embeds.cost("mine", "m", Usage(input=1, output=1)) is None
    assert table(mine__m={"output_usd_per_mtok": 1}).cost("mine", "m", Usage(input=1)) is None


def test_an_override_of_limits_alone_prices_nothing() -> None:
    overrides = {"mine/m": ModelSettings(context_tokens=100)}
    assert PriceTable(overrides, TABLE).rates("mine", "m") is None


def test_memory_does_not_grow_with_the_names_that_callers_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_MOST_KNOWN", 3)
    known = table()
    for number in range(10):
        assert known.cost("mine", f"m{number}", Usage(input=1)) is None
    assert len(known._known) == 3


counts = st.integers(0, 10**9)
rate = st.integers(0, 10**12)


@settings(deadline=None)
@given(
    st.tuples(counts, counts, counts, counts, counts),
    st.tuples(rate, rate, rate, rate, rate),
    st.floats(0, 1),
)
def test_a_cost_is_exact_and_rounded_once(
    used: tuple[int, ...], per_mtok: tuple[int, ...], share: float
) -> None:
    plain, read, write, output, reasoning = used
    hour = int(write * share)
    usage = Usage(
        input=plain,
        cache_read=read,
        cache_write=write,
        output=output,
        reasoning=reasoning,
        cache_write_1h=hour,
    )
    rates = Rates(*per_mtok)
    known = table()
    known._known["p", "m"] = (rates,)
    parts: list[tuple[int, Any]] = [
        (plain, rates.input),
        (read, rates.cache_read),
        (write - hour, rates.cache_write),
        (hour, rates.cache_write_1h),
        (output + reasoning, rates.output),
    ]
    assert known.cost("p", "m", usage) == round(
        sum(Fraction(tokens * price, 10**6) for tokens, price in parts)
    )
