"""Figures as people read them. Pure functions; what is unknown is shown as unknown, never as nought."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mainspring.base.money import NANO

#: Stands where there is no figure.
NONE = "–"  # noqa: RUF001 - an en dash is the typographic sign for an empty cell

_THOUSAND = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def count(value: float | None) -> str:
    """A whole number: `1,234`, and from a million on `1.23 M`."""
    if value is None:
        return NONE
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """A number for an axis: `950`, `1.2k`, `3M`."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def usd(nusd: float | None) -> str:
    """Nano-dollars as dollars with the digits that matter: `$0.000123`, `$0.0421`, `$12.30`, `$1,204`."""
    if nusd is None:
        return NONE
    dollars = nusd / NANO
    size = abs(dollars)
    if size == 0:
        return "$0"
    if size >= _THOUSAND:
        return f"${dollars:,.0f}"
    if size >= 1:
        return f"${dollars:.2f}"
    if size >= 0.01:  # noqa: PLR2004 - a cent
        return f"${dollars:.4f}"
    return f"${dollars:.6f}" if size >= 1e-6 else f"${dollars:.9f}"  # noqa: PLR2004 - a micro-dollar


def short_usd(nusd: float) -> str:
    """Nano-dollars for an axis: `$4`, `$0.5`, `$0.00025`."""
    if abs(nusd) >= NANO * _THOUSAND:
        return f"${short_count(nusd / NANO)}"
    text = f"{nusd / NANO:.9f}".rstrip("0").rstrip(".")
    return f"${text}"


def duration(milliseconds: float | None) -> str:
    """A length of time: `0.4 ms`, `245 ms`, `1.25 s`, `2 min 5 s`."""
    if milliseconds is None:
        return NONE
    if milliseconds < 10:  # noqa: PLR2004 - below it a tenth is worth showing
        return f"{milliseconds:.2g} ms"
    if milliseconds < _THOUSAND:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / _THOUSAND
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"


def short_duration(milliseconds: float) -> str:
    """A length of time for an axis, whose steps are decimal: `0`, `250 ms`, `20 s`, `80 s`, `20 min`."""
    if milliseconds >= 1_000_000:  # noqa: PLR2004 - a thousand seconds
        return f"{milliseconds / 60_000:.3g} min"
    if milliseconds >= _THOUSAND:
        return f"{milliseconds / _THOUSAND:.3g} s"
    return f"{milliseconds:.3g} ms" if milliseconds else "0"


def size(octets: int) -> str:
    """Bytes in decimal units: `812 B`, `3.4 kB`, `1.2 MB`."""
    value = float(octets)
    for unit in ("B", "kB", "MB"):
        if value < _THOUSAND:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= _THOUSAND
    return f"{value:.3g} GB"


def percent(part: float, whole: float) -> str:
    """A share: `0%`, `0.03%`, `1.5%`, `12%`; an en dash of nothing."""
    if not whole:
        return NONE
    share = 100 * part / whole
    return f"{share:.2g}%" if 0 < share < 10 else f"{share:.0f}%"  # noqa: PLR2004 - two digits are enough


def change(now: float | None, before: float | None) -> str | None:
    """How a figure moved against the period before: `+12%`, `-3%`, `±0%`, a factor; None where there was next to nothing."""
    if not before or now is None or now / before >= 100:  # noqa: PLR2004 - a start is no movement
        return None
    moved = round(100 * (now - before) / before)
    if moved >= _THOUSAND:
        return f"×{now / before:.0f}"  # noqa: RUF001 - the multiplication sign is meant
    return f"{moved:+d}%" if moved else "±0%"


def ago(us: int, now_us: int) -> str:
    """How long ago an instant was: `just now`, `42 s ago`, `5 min ago`, `3 h ago`, `6 d ago`, then the date."""
    seconds = (now_us - us) // 1_000_000
    if seconds < 0:
        return until(us, now_us)
    if seconds < 2:  # noqa: PLR2004 - a blink
        return "just now"
    for limit, unit, name in (
        (_MINUTE, 1, "s"),
        (_HOUR, _MINUTE, "min"),
        (_DAY, _HOUR, "h"),
        (7 * _DAY, _DAY, "d"),
    ):
        if seconds < limit:
            return f"{seconds // unit} {name} ago"
    return day(us)


def until(us: int, now_us: int) -> str:
    """How far off an instant is: `in 5 min`, `in 3 h`, `in 89 d`."""
    seconds = (us - now_us) // 1_000_000
    if seconds < _HOUR:
        return f"in {max(1, seconds // _MINUTE)} min"
    if seconds < _DAY:
        return f"in {seconds // _HOUR} h"
    return f"in {seconds // _DAY} d"


def day(us: int) -> str:
    """A date: `21 Nov 2026`."""
    moment = datetime.fromtimestamp(us / 1_000_000, UTC)
    return f"{moment.day} {moment:%b %Y}"


def moment(us: int) -> str:
    """An instant to the second: `2026-11-21 10:04:41 UTC`."""
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def stamp(us: int) -> str:
    """An instant for the `datetime` attribute: `2026-11-21T10:04:41Z`."""
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def routing_note(line: dict[str, Any]) -> str:
    """What decided about a candidate of a route, in words: its weight, its price, its load or what speaks against it."""
    match line:
        case {"note": note}:
            return str(note)
        case {"weight": weight}:
            return f"weight {weight:g}" if weight else "only a backup"
        case {"cost_nusd": cost}:
            return "price unknown" if cost is None else f"about {usd(cost)}"
        case {"load_ms": load}:
            return "to become known" if load is None else f"load {duration(load)}"
    return ""
