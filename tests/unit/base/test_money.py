from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.base.money import NANO, dollars, format_usd, from_usd, to_usd

nusd = st.integers(-(10**18), 10**18)


@given(nusd)
def test_dollars_and_back_is_the_same_amount(amount: int) -> None:
    assert from_usd(to_usd(amount)) == amount


@given(nusd)
def test_written_dollars_are_exact_and_plain(amount: int) -> None:
    text = format_usd(amount)
    assert "e" not in text.lower()
    assert Decimal(text) * NANO == amount
    assert text == "0" or not text.endswith(("0", ".")) or "." not in text


@given(st.decimals(-(10**6), 10**6, places=9))
def test_nine_places_are_kept(amount: Decimal) -> None:
    assert to_usd(from_usd(amount)) == amount


@given(nusd)
def test_the_float_of_an_amount_reads_back_exactly(amount: int) -> None:
    small = amount % 10**15  # up to a million dollars, more digits than that a float does not have
    assert from_usd(float(to_usd(small))) == small


def test_floats_are_read_by_their_text() -> None:
    assert from_usd(0.1) == 100_000_000
    assert from_usd("2.5") == 2_500_000_000


def test_halves_round_to_even() -> None:
    assert from_usd(Decimal("0.0000000005")) == 0
    assert from_usd(Decimal("0.0000000015")) == 2


def test_an_unknown_price_is_not_nothing() -> None:
    assert format_usd(None) == ""
    assert format_usd(0) == "0"


@pytest.mark.parametrize("text", ["inf", "nan", "five", ""])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_usd(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (100, "$0.000000100"),
        (26_000, "$0.000026"),
        (82_000_000, "$0.0820"),
        (5 * NANO, "$5.00"),
        (1_234_567_890_123, "$1,234.57"),
    ],
)
def test_people_see_that_an_amount_is_not_nothing(amount: int, text: str) -> None:
    assert dollars(amount) == text
