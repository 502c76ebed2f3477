"""What is wrong with a configuration that can be read: where it stands, what is wrong, and what to do.

A value is never shown: a secret may stand in the wrong place.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel

from mainspring.base.errors import ConfigError
from mainspring.base.settings.foreign import key_meant, value_meant
from mainspring.base.settings.places import Location, line_of, walk, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

DEFAULT_FILE = Path("mainspring.toml")
PREFIX = "MAINSPRING_"
REFERENCE = "docs/reference/configuration.md lists every key."
DESCRIPTION = "docs/reference/configuration.md describes it."
#: How pydantic calls a number out of bounds, the bound in words, and what to choose.
_BOUNDS = {
    "greater_than_equal": ("at least", "larger"),
    "greater_than": ("more than", "larger"),
    "less_than_equal": ("at most", "smaller"),
    "less_than": ("less than", "smaller"),
}
_QUOTED = re.compile(r"`(\w+)`")
_NAME = r"[\w./:-]+"
#: The rank of a place that stands neither in the file nor in a variable.
_NOWHERE = (False, 0)


def not_valid(error: ValidationError, root: type[BaseModel], file: Path, text: str) -> list[ConfigError]:
    """Everything that is wrong, one error for each place: that of the file from top to bottom, then the variables'.

    Args:
        error: what pydantic says of it.
        root: the whole configuration.
        file: where it was read.
        text: what stands there.
    """
    found: dict[Location, ErrorDetails] = {}
    for details in error.errors(include_url=False):
        found.setdefault(walk(root, details["loc"])[0], details)
    # Where several kinds of values may stand, pydantic tells of each; what is wrong inside the one that is meant counts.
    around = {location[:depth] for location in found for depth in range(len(location))}
    meant: dict[Location, ErrorDetails] = {}
    for place, details in found.items():
        if place not in around:  # of a list the first wrong entry is enough
            is_entry = bool(place) and isinstance(place[-1], int)
            meant.setdefault(place[:-1] if is_entry else place, details)
    told = [_mistake(details, root, file, text) for details in meant.values()]
    told.sort(key=lambda mistake: mistake[0])
    return [mistake for _, mistake in told]


def _mistake(
    details: ErrorDetails, root: type[BaseModel], file: Path, text: str
) -> tuple[tuple[bool, int], ConfigError]:
    """One thing that is wrong, and its rank among the others."""
    kind, given, context = details["type"], details.get("input"), details.get("ctx", {})
    location, shapes = walk(root, details["loc"])
    pointed = location
    if kind == "extra_forbidden":
        what, remedy = _unknown(root, details["loc"], location)
    elif kind == "value_error":
        location, what, remedy, pointed = _own_words(details["msg"], location, shapes)
        place = written(location)
        what = f"{place}: {what}." if place else f"{what}."
    else:
        what, remedy = _typed(kind, given, context, location, _field(root, location))
        what = f"{written(location)} {what}."
    source, rank = _source(file, text, pointed)
    return rank, ConfigError(f"{source}: {what}", remedy=remedy, place=location)


def not_json(field: str, root: type[BaseModel]) -> ConfigError:
    """A variable that sets a list or a table, and holds neither."""
    head = f"{PREFIX}{field.upper()}"
    for variable, value in os.environ.items():
        path = tuple(variable.upper().removeprefix(PREFIX).lower().split("__"))
        if not variable.upper().startswith(PREFIX) or path[0] != field or not value:
            continue
        shape = _kind_at(root, path)
        if shape is not None and not _is_json(value):
            example = '["..."]' if shape is list else '{"name": "..."}'
            return ConfigError(
                f"The environment variable {variable} is not JSON, and sets a {'list' if shape is list else 'table'}.",
                remedy=f"Write it as {example}, or keep it in the file.",
            )
    return ConfigError(
        f"The environment variable {head} is not JSON.",
        remedy="Write JSON into it, or set single keys with __ between the parts of the name.",
    )


def unknown_variables(root: type[BaseModel], others: Iterable[str]) -> Iterator[ConfigError]:
    """pydantic-settings ignores unknown variables with our prefix; a misspelt one must not pass in silence.

    Args:
        root: the whole configuration.
        others: variables that are not settings.
    """
    known = [*(f"{PREFIX}{name.upper()}" for name in root.model_fields), *others]
    for variable in sorted(os.environ):
        name = variable.upper()
        head = f"{PREFIX}{name.removeprefix(PREFIX).lstrip('_').partition('__')[0]}"
        is_ours = name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_")
        if is_ours and (head not in known or name.startswith(f"{PREFIX}_")):
            yield ConfigError(
                f"The environment variable {variable} is not a setting.{_variable_meant(root, name, known)}",
                remedy="Unset or rename it.",
            )


def located(error: ConfigError, file: Path | None) -> ConfigError:
    """An error that names where its place was set: the variable, or the line of the file; as it is where neither is.

    The others that came with it are treated likewise, and of all of them the first is returned, as `not_valid` sorts.
    """
    file = file or DEFAULT_FILE
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        text = ""
    told = []
    for one in (error, *error.others):
        source, rank = _source(file, text, one.place)
        is_told = rank == _NOWHERE or one.message.startswith(source)
        message = one.message if is_told else f"{source}: {one.message}"
        told.append((rank, ConfigError(message, remedy=one.remedy, place=one.place)))
    first, *others = (one for _, one in sorted(told, key=lambda pair: pair[0]))
    first.others = others
    return first


def _variable_meant(root: type[BaseModel], name: str, known: list[str]) -> str:
    """A sentence that helps: of a key of a section, the section is named with the separator."""
    name = f"{PREFIX}{name.removeprefix(PREFIX).lstrip('_')}"
    head, separator, rest = name.partition("__")
    if head in known:
        return f" Did you mean {name!r}?"
    meant = [f"{section}__{head[len(section) + 1 :]}" for section in known if head.startswith(f"{section}_")]
    meant += [
        f"{PREFIX}{place.replace('.', '__').upper()}"
        for place in _elsewhere(root, head.removeprefix(PREFIX).lower())
    ]
    if separator or not meant:
        names = [section.removeprefix(PREFIX) for section in known]
        near = difflib.get_close_matches(head.removeprefix(PREFIX), names, 1, 0.6)
        meant = [f"{PREFIX}{section}{separator}{rest}" for section in near]
    return f" Did you mean {meant[0]!r}?" if meant else ""


def _source(file: Path, text: str, location: Location) -> tuple[str, tuple[bool, int]]:
    """The variable that set this place, or else its line in the file; and its rank: lines first, then variables."""
    variable = _variable_for(location)
    if variable is not None:
        return f"The environment variable {variable}", (True, 0)
    line = line_of(text, location)
    return (str(file), _NOWHERE) if line is None else (f"{file}, line {line}", (False, line))


def _own_words(message: str, location: Location, shapes: list[Any]) -> tuple[Location, str, str, Location]:
    """What a check of ours says: its place, what is wrong, what to do, and the place to point at.

    `KEY: what; what to do` is about one key of the section, `SECTION.NAME: ...` about one of its tables.
    """
    message = message.removeprefix("Value error, ").rstrip(".")
    fields = {name for shape in shapes for name in getattr(shape, "model_fields", ())}
    key, colon, rest = message.partition(": ")
    head, dot, name = key.partition(".")
    if colon and head in fields and re.fullmatch(_NAME, key.replace('"', "")):
        location, message = (*location, head, *((name,) if dot else ())), rest
    quoted = _QUOTED.search(message)
    pointed = (*location, quoted[1]) if quoted is not None and quoted[1] in fields else location
    what, semicolon, remedy = message.rpartition("; ")
    if not semicolon:
        return location, message, DESCRIPTION, pointed
    return location, what, f"{remedy[:1].upper()}{remedy[1:]}{'' if remedy.endswith('?') else '.'}", pointed


def _typed(
    kind: str, given: object, context: dict[str, Any], location: Location, field: FieldInfo | None
) -> tuple[str, str]:
    """What is wrong with a value of the wrong kind or size, and what to do."""
    name = str(location[-1]) if location and not isinstance(location[-1], int) else "it"
    default = (
        field.get_default(call_default_factory=True)
        if field is not None and not field.is_required()
        else None
    )
    usual = f"{name} = {json.dumps(default)}" if isinstance(default, (bool, int, float, str)) else ""
    such_as = f", such as {usual}" if usual else ""
    table = f"[{_header(location)}]"
    quote = "Write one text in quotes" if isinstance(given, (dict, list)) else "Put it in quotes"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        near = difflib.get_close_matches(value_meant(given) or str(given), known, 1, 0.6)
        return (
            f"must be {context['expected']}",
            f"Did you mean {near[0]!r}?" if near else f"Choose one{such_as}.",
        )
    if kind in _BOUNDS:
        word, other = _BOUNDS[kind]
        remedy = f"The usual is {usual}." if usual else f"Choose a {other} number."
        return f"must be {word} {next(iter(context.values())):g}", remedy
    if (
        kind == "list_type"
        and isinstance(given, dict)
        and "Settings" in str(getattr(field, "annotation", ""))
    ):
        return "must be a list of tables", f"Write {table[:1]}{table}{table[-1:]}, with double brackets."
    if kind == "missing":
        around = f"[{_header(location[:-1])}]"
        if isinstance(location[-2], int):
            around = f"[{around}]"
        return "is missing", f"Add a line {name} = ... to {around}."
    for beginning, what, remedy in (
        ("int_", "must be a whole number", f"Write it in digits{such_as}."),
        ("float_", "must be a number", f"Write it in digits, without a unit{such_as}."),
        ("finite_number", "must be a finite number", f"Write one{such_as}."),
        ("bool_", "must be true or false", f"Write one of the two, without quotes{such_as}."),
        ("string_too_short", "must not be empty", "Write something into it, or leave it out."),
        ("string_", "must be a text", f"{quote}{such_as}."),
        ("list_", "must be a list", f'Put it in brackets, as in {name} = ["..."].'),
        ("dict_", "must be a table", f"Write {table} on a line of its own, and its keys below."),
        ("model_", "must be a table", f"Write {table} on a line of its own, and its keys below."),
    ):
        if kind.startswith(beginning):
            return what, remedy
    return f"cannot be used ({kind.replace('_', ' ')})", DESCRIPTION


def _unknown(root: type[BaseModel], told: Location, location: Location) -> tuple[str, str]:
    """A key that does not exist."""
    place, name = written(location), str(location[-1])
    _, shapes = walk(root, told[:-1])
    known = [field for shape in shapes for field in getattr(shape, "model_fields", ())]
    if (remedy := key_meant(location)) is not None:
        return f"{place} is not a setting.", remedy
    if location[0] == "models" and len(location) > 2 and "/" not in str(location[1]):  # noqa: PLR2004 - models, name, key
        return (
            f"{place} is not a setting.",
            f'Write the name of a model in quotes: [models."{location[1]}/{name}"].',
        )
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if not near and (elsewhere := _elsewhere(root, name)):
        return f"{place} is not a setting. Did you mean {' or '.join(elsewhere)}?", REFERENCE
    return f"{place} is not a setting.{_nearest(name, known)}", REFERENCE


def _elsewhere(root: type[BaseModel], name: str) -> list[str]:
    """The sections that have a key of this name, as the place that it has there."""
    found = []
    for section, field in root.model_fields.items():
        shape = field.annotation
        if isinstance(shape, type) and issubclass(shape, BaseModel) and name in shape.model_fields:
            found.append(f"{section}.{name}")
    return found


def _nearest(name: str, known: list[str]) -> str:
    """A sentence that helps: the nearest name, or all there are."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known here: {', '.join(sorted(known))}." if known else ""


def _header(location: Location) -> str:
    """A place as the header of a table, names with other characters than letters in quotes."""
    parts = [str(part) for part in location if not isinstance(part, int)]
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in parts)


def _field(root: type[BaseModel], location: Location) -> FieldInfo | None:
    """The field of a section that stands at a place."""
    if not location:
        return None
    _, shapes = walk(root, location[:-1])
    fields = [getattr(shape, "model_fields", {}).get(location[-1]) for shape in shapes]
    return next((field for field in fields if field is not None), None)


def _kind_at(root: type[BaseModel], path: tuple[str, ...]) -> type | None:
    """Whether a list or a table stands at a place; `None` when neither does."""
    location, shapes = walk(root, path)
    for shape in shapes if len(location) == len(path) else ():
        kind = get_origin(shape) or shape
        if kind is list:
            return list
        if kind is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return dict
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _variable_for(location: Location) -> str | None:
    """The environment variable that set this place, or a place around or inside it; the environment wins."""
    path = [str(part).upper() for part in location]
    for variable in os.environ:
        parts = variable.upper().removeprefix(PREFIX).split("__")
        length = min(len(parts), len(path))
        if path and variable.upper().startswith(PREFIX) and parts[:length] == path[:length]:
            return variable
    return None
