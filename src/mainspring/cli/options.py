"""Options that several commands share, and how a person writes a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.base.durations import parse_instant, parse_seconds
from mainspring.base.errors import InvalidRequest

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
    """Seconds of a duration such as `90d`, `12h` or `1d12h`.

    Raises:
        InvalidRequest: it is not a duration.
    """
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{option}: {error}.", remedy="Write 90d, 12h, 30m or 45s.", param=option
        ) from None


def instant_of(text: str, option: str) -> int:
    """Unix microseconds of a point in time: a duration back from now (`7d`) or a date (`2026-11-21`, with a time too).

    Raises:
        InvalidRequest: it is neither.
    """
    try:
        return parse_instant(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{option}: {error}.",
            remedy="Write how long ago (7d, 12h) or a date (2026-11-21, 2026-11-21T09:00Z).",
            param=option,
        ) from None
