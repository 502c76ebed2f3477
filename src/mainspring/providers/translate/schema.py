"""JSON schemas for constrained output: what Anthropic's grammar compiler accepts.

It refuses schemas with open objects and with constraints that it cannot enforce (ranges, lengths, patterns). Those are
moved into the description, where the model still reads them; Anthropic's own client does the same. OpenAI in turn is
strict only about schemas whose objects are closed and require every property.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.translate.documents import an_object

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_KEPT = frozenset({"$ref", "type", "enum", "const", "title", "description", "required", "items", "default"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_VARIANTS = ("anyOf", "allOf")
_DEFINITIONS = ("$defs", "definitions")
_SUPPORTED_MIN_ITEMS = (0, 1)
#: Words about the schema itself, which say nothing about the value.
_IGNORED = frozenset({"$schema", "$id", "$comment"})


def constrained(schema: Any, where: str) -> Document:
    """A schema that Anthropic can enforce, saying in words what it cannot.

    Args:
        schema: a JSON schema.
        where: path of the schema in the request, for errors.

    Raises:
        InvalidRequest: a part of it is no schema.
    """
    result: Document = {}
    words: Document = {}
    for key, value in an_object(schema, where).items():
        path = f"{where}.{key}"
        if key in _DEFINITIONS or key == "properties":
            result[key] = {
                name: constrained(part, f"{path}.{name}") for name, part in an_object(value, path).items()
            }
        elif key == "oneOf" or key in _VARIANTS:
            result["anyOf" if key == "oneOf" else key] = _each(value, path)
        elif key == "items" and isinstance(value, dict):
            result[key] = constrained(value, path)
        elif key in _KEPT or _enforceable(key, value):
            result[key] = value
        elif key not in _IGNORED and key != "additionalProperties":
            words[key] = value
    if result.get("type") == "object" or "properties" in result:
        result["additionalProperties"] = False
    if words:
        said = ", ".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in words.items())
        result["description"] = f"{result.get('description') or ''}\n\n{{{said}}}".strip()
    return result


def is_strict(schema: Any) -> bool:
    """Whether OpenAI would take a schema as strict: every object is closed and requires all its properties."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        required, properties = schema.get("required", []), schema.get("properties", {})
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if not isinstance(properties, dict) or len(required) != len(properties):
            return False
    return all(map(is_strict, schema.values()))


def _each(value: Any, path: str) -> list[Document]:
    parts = value if isinstance(value, list) else []
    return [constrained(part, f"{path}[{index}]") for index, part in enumerate(parts)]


def _enforceable(key: str, value: Any) -> bool:
    return (key == "format" and isinstance(value, str) and value in _FORMATS) or (
        key == "minItems" and value in _SUPPORTED_MIN_ITEMS
    )
