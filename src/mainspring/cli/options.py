"""Options that several commands share, and how a person writes a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_LONGEST_SECONDS = 100 * 366 * 86_400

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="MAINSPRING_CONFIG",
        help="The configuration file; by default mainspring.toml if it is there.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]


def seconds_of(text: str, option: str) -> float:
    """Seconds of a duration such as `90d`, `12h`, `30m`, `45s`, `2w`, or a sum of them: `1d12h`.

    Raises:
        InvalidRequest: it is not a duration.
    """
    parts = _DURATION.findall(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != text or total > _LONGEST_SECONDS:
        raise InvalidRequest(
            f"{option}: {text!r} is not a duration.", remedy="Write 90d, 12h, 30m or 45s.", param=option
        )
    return total


def instant_of(text: str, option: str) -> int:
    """Unix microseconds of a point in time: a duration back from now (`7d`) or a date (`2026-11-21`, with a time too).

    Raises:
        InvalidRequest: it is neither.
    """
    if _DURATION.match(text):
        return now_us() - int(seconds_of(text, option) * 1_000_000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"{option}: {text!r} is not a time.",
            remedy="Write how long ago (7d, 12h) or a date (2026-11-21, 2026-11-21T09:00Z).",
            param=option,
        ) from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000_000)
