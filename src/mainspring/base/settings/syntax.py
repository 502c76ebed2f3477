"""Why a text is no TOML, on which line, and what to do about it: the parser's words made into ours."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_PLACE = re.compile(r" \((?:at line (\d+), column \d+|at end of document)\)$")
#: How the parser's messages begin, what they mean, and what helps. The first that fits is taken.
_MEANINGS = (
    ("Invalid value", "no value stands there", "Put texts in quotes; numbers, true and false go without."),
    ("Cannot overwrite a value", "the key stands there twice", "Take one of the two out."),
    ("Duplicate inline table key", "a key stands there twice", "Take one of the two out."),
    ("Cannot declare", "the table stands there twice", "Put all of its keys under one header."),
    (
        "Cannot mutate immutable",
        "a table in braces cannot be added to",
        "Put all of its keys into the braces.",
    ),
    ("Cannot redefine", "the name is a value and a table at once", "Rename one of the two."),
    (
        "Expected newline",
        "something follows the value",
        "Write one key a line, and comments behind a #.",
    ),
    ("Expected '='", "a key is there, but no =", "Write it as NAME = VALUE."),
    (
        "Expected ']",
        "the name of the table does not end with ]",
        'Close it, and put a name with a slash or a space in quotes, as in [models."openai/gpt-5-mini"].',
    ),
    ("Unclosed array", "a list is not closed", "Close it with ], and put commas between its values."),
    (
        "Unclosed inline table",
        "a table in braces is not closed",
        "Write it on one line, with commas between its keys, and close it with }.",
    ),
    ("Unterminated string", "a text is not closed", "Close it with the quotes that it began with."),
    ("Expected", "a text is not closed", "Close it with the quotes that it began with."),
    ("Illegal character '\\n'", "a text is not closed", "Close it with the quotes that it began with."),
    ("Illegal character", "an invisible character stands there", "Type the line again."),
    ("Unescaped", "a backslash begins nothing known", "Put texts with backslashes in single quotes."),
    ("Invalid hex", "a backslash begins nothing known", "Put texts with backslashes in single quotes."),
    ("Escaped character", "a backslash begins nothing known", "Put texts with backslashes in single quotes."),
    ("Found invalid character", "an invisible character stands there", "Type the line again."),
    (
        "Invalid",
        "it is neither NAME = VALUE nor [TABLE]",
        "Write it as one of the two, or put a # before it.",
    ),
)
#: How lines of other formats look, and quotes that a word processor makes.
_YAML = re.compile(r"\s*(?:- )?[\w.-]+:(?:\s.*)?$|\s*- \S")
_JSON = re.compile(r"\s*[{\"]")
_CURLY = re.compile("[\u201c\u201d\u2018\u2019\u00ab\u00bb]")
#: These are noticed only far behind the place where they begin.
_NOTICED_LATE = ("Unclosed", "Unterminated", "Expected")


def not_toml(error: tomllib.TOMLDecodeError, file: Path, text: str) -> ConfigError:
    """What the parser found, in two sentences."""
    said = str(error)
    place = _PLACE.search(said)
    line = int(place[1]) if place is not None and place[1] else None
    said = said[: place.start()] if place is not None else said
    if line is None or said.startswith(_NOTICED_LATE[0]):
        line = _begin_of_the_open_one(text)
    meaning, remedy = next(
        ((what, help_) for start, what, help_ in _MEANINGS if said.startswith(start)),
        (said[:1].lower() + said[1:], "Mend that line."),
    )
    stands_there = "".join(text.splitlines()[line - 1 : line])
    if _CURLY.search(stands_there):
        remedy = 'Put texts in straight quotes, as in host = "127.0.0.1".'
    elif _YAML.match(stands_there):
        remedy = "Write TOML, not YAML: [server] on a line of its own, and port = 8080 below."
    elif line == 1 and _JSON.match(stands_there):
        remedy = "Write TOML, not JSON: [server] on a line of its own, and port = 8080 below."
    return ConfigError(f"{file}, line {line}, is not valid TOML: {meaning}.", remedy=remedy)


def _begin_of_the_open_one(text: str) -> int:
    """The line, from 1, of the statement that the end of the text leaves open."""
    lines = text.splitlines()
    first = 0
    while first < len(lines):
        after = _end_of_statement(lines, first)
        if after is None:
            return first + 1
        first = after
    return max(1, len(lines))


def _end_of_statement(lines: list[str], first: int) -> int | None:
    """The line behind a statement; None when it never ends."""
    for after in range(first + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[first:after]))
        except tomllib.TOMLDecodeError as error:
            if not str(error).startswith(_NOTICED_LATE):
                return after if "Cannot" in str(error) else None
        else:
            return after
    return None
