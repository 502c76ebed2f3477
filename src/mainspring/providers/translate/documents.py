"""Reading foreign JSON documents: each wrong shape becomes an error that names the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import InvalidRequest

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document


def decode(body: bytes) -> Document:
    """A request body as an object.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON.", remedy="Send a JSON object.") from error
    return an_object(document, "body")


def refuse(where: str, why: str, remedy: str = "") -> InvalidRequest:
    """The error for a field that cannot be said in the provider's protocol, or is malformed.

    Args:
        where: path of the field, such as `messages[2].content[0].type`.
        why: what is wrong, as the rest of a sentence that begins with the path.
        remedy: what to do.
    """
    return InvalidRequest(f"`{where}` {why}.", remedy=remedy, param=where)


def an_object(value: Any, where: str) -> Document:
    """The value, if it is an object.

    Raises:
        InvalidRequest: it is not.
    """
    if isinstance(value, dict):
        return value
    raise refuse(where, "must be an object")


def a_list(value: Any, where: str) -> list[Any]:
    """The value, if it is an array.

    Raises:
        InvalidRequest: it is not.
    """
    if isinstance(value, list):
        return value
    raise refuse(where, "must be an array")


def a_text(value: Any, where: str) -> str:
    """The value, if it is a string.

    Raises:
        InvalidRequest: it is not.
    """
    if isinstance(value, str):
        return value
    raise refuse(where, "must be a string")


def a_number(value: Any, where: str) -> float:
    """The value, if it is a number.

    Raises:
        InvalidRequest: it is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise refuse(where, "must be a number")


def given(document: Document, key: str) -> bool:
    """Whether a field is there and not null."""
    return document.get(key) is not None


def take(document: Document, key: str, *, default: Any = None) -> Any:
    """Remove a field and return it; null counts as absent."""
    value = document.pop(key, None)
    return default if value is None else value
