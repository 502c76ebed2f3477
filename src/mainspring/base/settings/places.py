"""Where in the file something stands: the path of a key as people write it, and its line."""

from __future__ import annotations

import re
import tomllib
from types import UnionType
from typing import Any, Union, get_args, get_origin

Location = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)(.+?)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def walk(shape: Any, location: Location) -> tuple[Location, list[Any]]:
    """Go from a section to a place in it.

    Args:
        shape: the section.
        location: as pydantic tells it, with the names of the alternatives that it tried.

    Returns:
        The place without these names, and what may stand there.
    """
    options, kept = _alternatives(shape), []
    for part in location:
        inner = _inside(options, part)
        if inner is not None:
            options = inner
        elif any(getattr(option, "__name__", None) == part for option in options):
            options = [option for option in options if getattr(option, "__name__", None) == part]
            continue
        elif "[" in str(part) or not any(hasattr(option, "model_fields") for option in options):
            continue  # how pydantic names a check or an alternative
        kept.append(part)
    return tuple(kept), options


def written(location: Location) -> str:
    """A place as people write it; the entries of a list are counted from 1."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += f".{part}" if text else part
    return text


def line_of(text: str, location: Location) -> int | None:
    """The line of a file, from 1, on which a place stands, or the nearest place around it; None when it is not there."""
    best, line_found = 0, None
    table: Location = ()
    counts: dict[Location, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            names = _path(header[2])
            if names is None:
                continue
            table = _resolved(names, counts, is_entry=header[1] == "[[")
            here = table
        elif (key := _KEY.match(line)) and (names := _path(key[1])) is not None:
            here = (*table, *names)
        else:
            continue
        shared = _shared(here, location)
        # A table that only begins like the place is not around it.
        if shared == min(len(here), len(location)) and shared > best:
            best, line_found = shared, number
    return line_found


def _inside(options: list[Any], part: str | int) -> list[Any] | None:
    for option in options:
        fields = getattr(option, "model_fields", None)
        if fields is not None and part in fields:
            return _alternatives(fields[part].annotation)
        kind = get_origin(option)
        if (kind is dict and isinstance(part, str)) or (kind is list and isinstance(part, int)):
            return _alternatives(get_args(option)[-1])
    return None


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in {Union, UnionType}:
        return [inner for option in get_args(annotation) for inner in _alternatives(option)]
    return [annotation]


def _path(text: str) -> tuple[str, ...] | None:
    """The parts of a dotted key, read as TOML reads them."""
    try:
        document: Any = tomllib.loads(f"{text}=0")
    except tomllib.TOMLDecodeError:
        return None
    parts = []
    while isinstance(document, dict):
        name, document = next(iter(document.items()))
        parts.append(name)
    return tuple(parts)


def _resolved(names: tuple[str, ...], counts: dict[Location, int], *, is_entry: bool) -> Location:
    """A header's place, with the numbers of the entries that it stands in."""
    place: Location = ()
    for depth, name in enumerate(names):
        place = (*place, name)
        if is_entry and depth == len(names) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _shared(one: Location, other: Location) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
