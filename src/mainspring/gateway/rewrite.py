"""What is changed in a body that passes through: the model's name, and that usage is asked for. Nothing else.

Both are spliced into the bytes as they came, so that unknown fields, the order of keys and the text of numbers reach
the provider untouched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Possessive, so that a string of megabytes leaves no trail to go back on.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_MODEL = re.compile(rb'"model"\s*:\s*(' + _STRING + rb")")
_TOKEN = re.compile(_STRING + rb"|[{}\[\]:,]")
_KEY = b'"model"'
_BACKSLASH = 0x5C
#: So far from its end a body is searched from behind.
_NEAR_BYTES = 2048
_ASK = b'{"stream_options":{"include_usage":true},'


class _Model(msgspec.Struct):
    model: str


_decode_model = msgspec.json.Decoder(_Model).decode
_encode = msgspec.json.encode


def with_model(body: bytes, model: str) -> bytes:
    """The body with another `model` at its top level.

    Args:
        body: a JSON object that has a string `model`.
        model: the name to put there, other than the one that is there: by that the right place is known.
    """
    name = _encode(model)
    # Most clients write it behind the messages: there is little to read, and nothing after it can take its place.
    start = body.rfind(_KEY, max(0, len(body) - _NEAR_BYTES))
    match = _MODEL.match(body, start) if start > 0 and body[start - 1] != _BACKSLASH else None
    if match is not None:
        rest = b"".join((name, body[match.end(1) :]))
        if _is_last(rest, model):
            return b"".join((body[: match.start(1)], rest))
    # Else the first place that looks like it, unless the key stands nested before it or is repeated.
    match = _MODEL.search(body)
    if match is not None:
        spliced = b"".join((body[: match.start(1)], name, body[match.end(1) :]))
        if _decode_model(spliced).model == model:
            return spliced
    begin, end = _place_of_model(body)
    return b"".join((body[:begin], name, body[end:]))


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


def with_number(body: bytes, name: str, number: int, *, in_place_of: Iterable[str] = ()) -> bytes:
    """The body with a number at its top level, whatever stands there under this name.

    Args:
        body: a JSON object.
        name: of the field.
        number: its value.
        in_place_of: fields that say the same, which are taken out.
    """
    # A name may be written with escapes; then only decoding finds it.
    if b"\\u" not in body and not any(b'"%s"' % one.encode() in body for one in (name, *in_place_of)):
        start = body.index(b"{") + 1
        rest = body[start:].lstrip()
        comma = b"" if rest.startswith(b"}") else b","
        return b'{"%s":%d%s%s' % (name.encode(), number, comma, body[start:])
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for other in in_place_of:
        fields.pop(other, None)
    fields[name] = msgspec.Raw(b"%d" % number)
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


def _is_last(rest: bytes, model: str) -> bool:
    """Whether the value that `rest` begins with is that of the outermost object's last `model`.

    It is where `rest` closes one object and then ends: it would close more of them if the key stood deeper.
    """
    try:
        return _decode_model(b'{"model":%b' % rest).model == model
    except msgspec.DecodeError:
        return False


def _place_of_model(body: bytes) -> tuple[int, int]:
    """Where the value of the outermost object's `model` stands; the last one, as decoders take it."""
    depth, place = 0, (0, 0)
    is_model = is_value = False
    for token in _TOKEN.finditer(body):
        match body[token.start()]:
            case 0x7B | 0x5B:  # { [
                depth += 1
            case 0x7D | 0x5D:  # } ]
                depth -= 1
            case _ if depth > 1:
                pass
            case 0x3A:  # :
                is_value = True
            case 0x2C:  # ,
                is_value = False
            case _ if not is_value:
                is_model = msgspec.json.decode(token[0]) == "model"
            case _ if is_model:
                place = token.span()
    return place
