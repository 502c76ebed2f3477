"""What is changed in a body that passes through: the model's name, and that usage is asked for. Nothing else.

Both are spliced into the bytes as they came, so that unknown fields, the order of keys and the text of numbers reach
the provider untouched.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mainspring.base.errors import InvalidRequest

_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_ASK = b'{"stream_options":{"include_usage":true},'


class _Model(msgspec.Struct):
    model: str


_decode_model = msgspec.json.Decoder(_Model).decode
_encode = msgspec.json.encode


def with_model(body: bytes, model: str) -> bytes:
    """The body with another `model` at its top level.

    Args:
        body: a JSON object that has a string `model`.
        model: the name to put there.
    """
    match = _MODEL.search(body)
    if match is not None:
        spliced = b"".join((body[: match.start(1)], _encode(model), body[match.end(1) :]))
        # The first place that looks like it is the right one, unless the key stands nested before it or is repeated.
        certain = _MODEL.search(body, match.end()) is None or _is_top(body, match.start())
        if certain and _decode_model(spliced).model == model:
            return spliced
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def asking_for_usage(body: bytes, wanted: bool | None) -> bytes:
    """The body of a streamed chat with `stream_options.include_usage` true.

    Args:
        body: a JSON object.
        wanted: what the caller said; None when the caller has no `stream_options`.
    """
    if wanted is None:
        start = body.index(b"{") + 1
        return _ASK + body[start:]
    if wanted:
        return body
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    options: dict[str, Any] = msgspec.json.decode(fields["stream_options"]) or {}
    fields["stream_options"] = msgspec.Raw(_encode({**options, "include_usage": True}))
    return _encode(fields)


def checked_text(body: bytes) -> None:
    """Refuse what is not UTF-8; the decoder does not look into the strings that it skips.

    Raises:
        InvalidRequest: naming the offset of the first bad byte.
    """
    if body.isascii():
        return
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid UTF-8: a bad byte at offset {error.start}.",
            remedy="Send JSON encoded as UTF-8.",
        ) from None


def _is_top(body: bytes, position: int) -> bool:
    """Whether a key at this position is in the outermost object: nothing but whole strings before it, one brace open."""
    before = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body[:position])
    return before.count(b"{") - before.count(b"}") == 1 and before.count(b"[") == before.count(b"]")
