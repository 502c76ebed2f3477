"""What a terminal and a script get to see: aligned tables and JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import typer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON; `indent` 0 puts it on one line."""
    text = msgspec.json.encode(value)
    typer.echo((msgspec.json.format(text, indent=indent) if indent else text).decode())


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = ()
) -> None:
    """Print rows in columns as wide as their longest cell.

    Args:
        headers: one per column.
        rows: cells; None is shown as a dash.
        right: names of the columns whose cells are numbers and stand on the right.
    """
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [headers, *cells]) for column in range(len(headers))]
    numeric = [header in right for header in headers]
    for line in [list(headers), *cells]:
        fitted = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(fitted).rstrip())


def short_time(us: int | None) -> str | None:
    """Unix microseconds as a person reads them, in UTC: `2026-11-21 09:44:00`."""
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
