"""The most that a request can use, as far as it says.

A bound must be one: of a text no tokenizer makes more tokens than it has bytes, and an answer has a limit, the caller's,
the model's or one that is written into the request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.budgets import Bounds
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Envelope

#: Tokens around a request, as chat templates add them; what tools add; what a picture or file may have at most.
_TEMPLATE, _TOOLS, _MEDIUM = 128, 1024, 8192
_MEDIA = (b'"image', b'"input_image', b'"document"', b'"file', b'"input_file', b'"input_audio')
#: From this size on it is looked whether a request is so large because of its pictures.
_LARGE = 16_384
#: Numbers above this are no length of an answer; the provider says so.
_MOST = 1 << 40
#: What bounds an answer, as each protocol calls it. The names of another protocol bound nothing, whatever they say.
OUTPUT_LIMITS = {
    Operation.CHAT: ("max_completion_tokens", "max_tokens"),
    Operation.COMPLETIONS: ("max_tokens",),
    Operation.RESPONSES: ("max_output_tokens",),
    Operation.MESSAGES: ("max_tokens",),
}


def bounds_of(operation: Operation, body: bytes, said: Envelope, *, has_parts: bool) -> Bounds:
    """The bounds of a request, whoever answers it. `has_parts` is that of the exchange."""
    prompt = _most_prompt(operation, body, has_parts=has_parts)
    if len(said.tools) or len(said.functions):
        prompt += _TOOLS
    if operation is Operation.EMBEDDINGS:
        return Bounds(prompt, 0, answers=False)
    most = 0
    for name in OUTPUT_LIMITS.get(operation, ()):
        limit = getattr(said, name)
        if type(limit) is int and most < limit <= _MOST:
            most = limit
    choices = 1
    if said.n is not None or said.best_of is not None:
        choices = max(1, *(asked for asked in (_number(said.n), _number(said.best_of)) if asked <= _MOST))
    return Bounds(prompt, most or None, None, choices, has_parts and b'"cache_control"' in body)


def _most_prompt(operation: Operation, body: bytes, *, has_parts: bool) -> int:
    prompt = len(body) + _TEMPLATE
    if has_parts:
        for word in _MEDIA:
            if word in body:
                prompt += body.count(word) * _MEDIUM
        if len(body) > _LARGE and b"base64" in body:
            prompt -= _letters_of_pictures(operation, body)
    return prompt


def _letters_of_pictures(operation: Operation, body: bytes) -> int:
    """Letters that are read as pictures and not as text: they cost what a picture costs, not a token each.

    Only where they stand where the protocol has pictures; what looks like one elsewhere is text.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return _in_turns(document.get("input" if operation is Operation.RESPONSES else "messages"))


def _in_turns(turns: Any) -> int:
    """The same of a conversation, or of the result of a tool, which has its content in the same way."""
    letters = 0
    for turn in turns if isinstance(turns, list) else ():
        content = turn.get("content") if isinstance(turn, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                letters += _in_turns([part]) if part.get("type") == "tool_result" else _in_part(part)
    return letters


def _in_part(part: dict[str, Any]) -> int:
    match part:
        case {"type": "image_url", "image_url": {"url": str(data)}}:
            pass
        case {"type": "input_image", "image_url": str(data)}:
            pass
        case {"type": "image", "source": {"type": "base64", "data": str(data)}}:
            return len(data)
        case _:
            return 0
    return len(data) if data.startswith("data:image/") else 0


def _number(value: object) -> int:
    """A number as a provider that is not strict may read it, `4.0` and `"4"` as 4; 0 where it is none."""
    if type(value) is int:
        return value
    try:
        return math.ceil(float(value)) if isinstance(value, float | str) else 0
    except (ValueError, OverflowError):
        return 0
