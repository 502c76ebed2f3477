"""Tool calls in plain text: how a small model is told of tools, and how its calls are found in what it writes.

Models answer a request with tools in many ways: `<tool_call>{...}</tool_call>`, bare JSON, JSON in a code fence, a list
of calls. Only an object that names an offered tool is taken for a call; everything else stays text.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

_decode = json.JSONDecoder().raw_decode
#: Where a call may begin: a tag anywhere, a fence or a bracket at the beginning of a line.
_OPENER = re.compile(r"<tool_call>\s*|(?m:^)[ \t]*(?:```[a-z_]*\s*)?(?=[\[{])")
#: The end of a text that may yet become an opener.
_MAYBE = re.compile(
    r"<(?:t(?:o(?:o(?:l(?:_(?:c(?:a(?:l(?:l)?)?)?)?)?)?)?)?)?\Z|(?m:^)[ \t]*(?:`{1,3}[a-z_]*\s*)?\Z"
)
#: The beginning of a call, as far as it is there; other JSON is let go at its first key.
_FIRST_KEY = re.compile(r'\[?\s*(?:\{\s*(?:"([^"]*)"?)?)?')
_KEYS = ("name", "arguments", "parameters", "type", "function", "id")
#: Where a schema keeps what its references point at.
DEFINITIONS = ("$defs", "definitions")
_CLOSERS = {"<": "</tool_call>", "`": "```"}


class ToolCall(msgspec.Struct, frozen=True):
    """A call that a model made.

    Attributes:
        name: of an offered tool.
        arguments: a JSON object as text.
        id: made here; models do not write one.
    """

    name: str
    arguments: str
    id: str = msgspec.field(default_factory=lambda: f"call_{secrets.token_hex(12)}")


class ToolCallReader:
    """Splits a growing text into text and calls. Text that may be a call is held back until that is clear.

    Args:
        names: of the offered tools.
        single: whether only the first call counts (`parallel_tool_calls: false`).
    """

    def __init__(self, names: Collection[str], *, single: bool = False) -> None:
        self._names = names
        self._single = single
        self._held = ""
        self._line_start = True
        self._after_call = False
        self._closer = ""
        #: Whether a call was found.
        self.found = False

    def feed(self, text: str) -> list[str | ToolCall]:
        """What is clear after so much more text."""
        self._held += text
        found: list[str | ToolCall] = []
        while self._held and self._step(found):
            pass
        return found

    def end(self) -> list[str | ToolCall]:
        """What is left when no more text comes; a call that is not whole is text."""
        rest, self._held = self._held, ""
        if self._after_call and self._closer.startswith(rest.strip()):
            return []
        return [rest] if rest else []

    def _step(self, found: list[str | ToolCall]) -> bool:
        """Decide on the beginning of what is held; False when that takes more text."""
        if self._after_call and not self._skip_closer():
            return False
        opener = self._search(_OPENER)
        if opener is None:
            maybe = self._search(_MAYBE)
            self._text(found, len(self._held) if maybe is None else maybe.start())
            return False
        if opener.start() > 0:
            self._text(found, opener.start())
            return True
        return self._candidate(found, opener)

    def _search(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first match; `^` at the beginning of what is held counts only if a line begins there."""
        for match in pattern.finditer(self._held):
            if match.start() > 0 or self._line_start or match.group().startswith("<"):
                return match
        return None

    def _candidate(self, found: list[str | ToolCall], opener: re.Match[str]) -> bool:
        """What is held begins like a call: wait for its end, take it, or let it go as text."""
        start = opener.end()
        beginning = _FIRST_KEY.match(self._held, start)
        end = start if beginning is None else beginning.end()
        key = None if beginning is None else beginning[1]
        if end < len(self._held) and key not in _KEYS:
            self._text(found, max(end, start + 1))
            return True
        if "}" not in self._held:
            return False
        try:
            value, end = _decode(self._held, start)
        except (ValueError, RecursionError):
            return False
        calls = _calls_of(value, self._names)
        if not calls:
            self._text(found, end)
            return True
        found += calls[: 0 if self.found else 1] if self._single else calls
        self.found = self._after_call = self._line_start = True
        self._closer = _CLOSERS.get(opener.group().strip()[:1], "")
        self._held = self._held[end:]
        return True

    def _skip_closer(self) -> bool:
        """Drop the white space and the closing tag or fence behind a call; False when no text is left after that."""
        self._held = self._held.lstrip()
        if self._held.startswith(self._closer):
            self._held = self._held.removeprefix(self._closer).lstrip()
            self._closer = ""
        elif self._closer.startswith(self._held):
            return False
        else:
            self._closer = ""
        return bool(self._held)

    def _text(self, found: list[str | ToolCall], length: int) -> None:
        if length:
            text, self._held = self._held[:length], self._held[length:]
            self._line_start = text.endswith("\n")
            self._after_call = False
            found.append(text)


def _calls_of(value: Any, names: Collection[str]) -> list[ToolCall]:
    """The calls that a JSON value stands for; none unless all of it is calls of offered tools."""
    items = value if isinstance(value, list) else [value]
    calls = [_call_of(item, names) for item in items]
    return [call for call in calls if call is not None] if all(calls) else []


def _call_of(item: Any, names: Collection[str]) -> ToolCall | None:
    if not isinstance(item, dict):
        return None
    body = item["function"] if isinstance(item.get("function"), dict) else item
    arguments = body.get("arguments", body.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    name = body.get("name")
    if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
        return None
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


def forced_schema(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """A JSON schema under which an answer can only be one call of one of these tools (`tool_choice: required`)."""
    definitions: dict[str, Any] = {}
    calls = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        parameters = function.get("parameters") or {"type": "object"}
        prefix = f"tool{number}_"
        for place in DEFINITIONS:
            for name, schema in (parameters.get(place) or {}).items():
                definitions[prefix + name] = _with_references(schema, prefix)
        own = {key: value for key, value in parameters.items() if key not in {*DEFINITIONS, "$schema"}}
        properties = {"name": {"const": function["name"]}, "arguments": _with_references(own, prefix)}
        calls.append({"type": "object", "properties": properties, "required": ["name", "arguments"]})
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _with_references(schema: Any, prefix: str) -> Any:
    """The schema with its references pointing at definitions that were moved to the root under a prefix."""
    if isinstance(schema, list):
        return [_with_references(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{prefix}{value.rpartition('/')[2]}"
        if key == "$ref" and isinstance(value, str)
        else _with_references(value, prefix)
        for key, value in schema.items()
    }


def as_text(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation with tools for a model whose template knows of none: tools, calls and results become text."""
    described = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    system = (
        "# Tools\n\nYou may call one or more of these functions:\n<tools>\n" + described + "\n</tools>\n\n"
        "To call one, answer with its name and arguments as JSON within tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )
    told = [_message_as_text(message) for message in messages]
    if tools and told and told[0]["role"] == "system" and isinstance(told[0].get("content"), str):
        told[0] = {**told[0], "content": f"{told[0]['content']}\n\n{system}"}
    elif tools:
        told.insert(0, {"role": "system", "content": system})
    return told


def _message_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {
            "role": "user",
            "content": f"<tool_response>\n{_plain(message.get('content'))}\n</tool_response>",
        }
    if not message.get("tool_calls"):
        return message
    lines = [_plain(message.get("content"))] if message.get("content") else []
    for call in message["tool_calls"]:
        function = call["function"]
        lines.append(
            f'<tool_call>\n{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}\n</tool_call>'
        )
    return {"role": "assistant", "content": "\n".join(lines)}


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
