"""Reading answers whose usage is odd: counts as `7.5` or `"7"` must not cost a caller its answer.

What is odd is read as not reported, and then counted by ourselves. It costs nothing where all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_Read = TypeVar("_Read")


def lenient(decode: Callable[[bytes], _Read], data: bytes) -> _Read:
    """What a decoder reads; once more without the usage where it cannot.

    Raises:
        DecodeError: it is no JSON, or something else in it is odd; so are the other errors of `decode`.
    """
    try:
        return decode(data)
    except msgspec.ValidationError:
        return decode(without_usage(data))


def without_usage(data: bytes) -> bytes:
    """A JSON object without its top-level `usage`; the values of all others stay byte for byte."""
    document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    document.pop("usage", None)
    return msgspec.json.encode(document)
