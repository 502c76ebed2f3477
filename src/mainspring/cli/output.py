"""What a terminal and a script get to see: aligned tables and JSON."""

from __future__ import annotations

import shutil
import sys
import unicodedata
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
    """Print rows in columns; on a terminal so that they fit it, elsewhere as wide as they are.

    Args:
        headers: one per column.
        rows: cells; None is shown as a dash.
        right: names of the columns whose cells are numbers and stand on the right.
    """
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(headers, rows, right=right, most=most):
        typer.echo(line)


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Collection[str] = (),
    most: int | None = None,
) -> list[str]:
    """The lines of a table.

    Columns are as wide as their longest cell. Where that is more than `most`, long cells are cut, ids never; where
    even that is too much, each row takes several lines, the later ones indented.
    """
    cells = [[_plain(cell) for cell in row] for row in rows]
    lines = [list(headers), *cells]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headers))]
    if most is not None and _total(widths) > most:
        widths = _narrowed(headers, widths, most)
    groups = _folded(widths, most)
    out = []
    for line in lines:
        for group in groups:
            fitted = (_fit(line[i], widths[i], right=headers[i] in right) for i in group)
            out.append((_INDENT if group[0] else "") + _GAP.join(fitted).rstrip())
    return out


_GAP, _INDENT = "  ", "    "
#: Cells are cut to the first length if the table then fits into one line a row, else to the second.
_SHORTEST, _SHORT = 16, 40
#: Columns of this width, such as times, are not cut at all.
_FREE = 24


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _narrowed(headers: Sequence[str], widths: list[int], most: int) -> list[int]:
    """Widths with long columns cut: as little as makes the table fit, if anything does.

    What is told at length stands last. It is whole as long as it fits into a line of its own.
    """
    last = len(widths) - 1
    cut = [i for i, header in enumerate(headers) if header != "ID" and i != last and widths[i] > _FREE]
    narrow = list(widths)
    while cut and _total(narrow) > most:
        widest = max(cut, key=lambda i: narrow[i])
        if narrow[widest] <= _SHORTEST:
            break
        narrow[widest] -= 1
    if _total(narrow) <= most:
        return narrow
    short = [min(width, _SHORT) if i in cut else width for i, width in enumerate(widths)]
    short[last] = min(short[last], most - len(_INDENT))
    return short


def _folded(widths: Sequence[int], most: int | None) -> list[list[int]]:
    """The columns of each line of a row."""
    groups: list[list[int]] = [[]]
    for i in range(len(widths)):
        together = [widths[one] for one in [*groups[-1], i]]
        indent = len(_INDENT) if len(groups) > 1 else 0
        if groups[-1] and most is not None and _total(together) + indent > most:
            groups.append([])
        groups[-1].append(i)
    return groups


def _plain(cell: Any) -> str:
    return "-" if cell is None else str(cell)


def _width(text: str) -> int:
    """Columns that a terminal takes for a text: two for wide letters, none for marks on the letter before."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _fit(text: str, width: int, *, right: bool) -> str:
    """A cell of exactly this width, with an ellipsis where something was cut."""
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    space = " " * (width - _width(text))
    return space + text if right else text + space


def short_time(us: int | None) -> str | None:
    """Unix microseconds as a person reads them, in UTC: `2026-11-21 09:44:00`."""
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
