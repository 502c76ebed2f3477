"""Money as whole nano-dollars (1 USD = 1,000,000,000), so that sums are exact.

A price of 0.15 USD per million tokens is 150 nano-dollars a token; prices below one nano-dollar a token exist
(cached input of small models), so a cost is computed in rationals over all tokens and rounded once, half to even.
An unknown price is `None`, never 0.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

NANO = 1_000_000_000


def from_usd(amount: Decimal | float | str) -> int:
    """Nano-dollars of an amount in dollars, rounded half to even.

    Floats are read by their shortest text (0.1 is a tenth), since they come from configuration files.

    Raises:
        ValueError: the amount is not a finite number.
    """
    try:
        value = amount if isinstance(amount, Decimal) else Decimal(str(amount))
        return int((value * NANO).to_integral_value(ROUND_HALF_EVEN))
    except ArithmeticError as error:
        raise ValueError(f"{amount!r} is not an amount of dollars") from error


def to_usd(nusd: int) -> Decimal:
    """The exact amount in dollars."""
    return Decimal(nusd) / NANO


def format_usd(nusd: int | None) -> str:
    """Dollars in plain digits, for headers and JSON: `0.000123`, `0`, or an empty string when unknown."""
    if nusd is None:
        return ""
    sign, value = ("-", -nusd) if nusd < 0 else ("", nusd)
    whole, rest = divmod(value, NANO)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"


def dollars(nusd: int) -> str:
    """An amount for people: cents, and below a dollar as many digits as it takes to see it."""
    amount = nusd / NANO
    if nusd % 10_000_000 == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}"
    if abs(amount) >= 0.01:  # noqa: PLR2004 - a cent
        return f"${amount:,.4f}"
    return f"${amount:.6f}" if abs(amount) >= 1e-6 else f"${amount:.9f}"  # noqa: PLR2004 - a micro-dollar
