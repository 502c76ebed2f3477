"""Our own count of what was answered, for answers that came without usage or were cut before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.estimate import estimate_stream_text, estimate_text
from mainspring.providers.sse import parse_events

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where the three dialects keep what a model has written, whole or as deltas.
_TEXTS = (
    "content",
    "text",
    "thinking",
    "reasoning_content",
    "reasoning",
    "refusal",
    "arguments",
    "partial_json",
    "name",
)

#: The same in a document that breaks off, maybe in the middle of a string or of an escape in it. Possessive, so that long
#: strings leave no trail to go back on.
_STRINGS = re.compile(
    rb'"(?:%b)"\s*:\s*"((?:[^"\\]++|\\[^u]|\\u[dD][89abAB]..\\u[dD].{3}|\\u(?![dD][89abAB])[0-9a-fA-F]{4})*+)'
    % "|".join(_TEXTS).encode()
)
#: So much of it is looked at: counting more would keep others waiting.
_MOST_BYTES = 1 << 20

#: What repeats, in a provider's own form, what stands beside it.
_SAID_TWICE = frozenset({"thinking_blocks", "provider_specific_fields"})


def count_answer(answer: bytes, *, stream: bool) -> int:
    """Output tokens of an answer as far as it went to the caller, estimated.

    Args:
        answer: the body, or the whole events of a stream, in the caller's dialect.
        stream: which of the two it is.
    """
    if not answer:
        return 0
    if not stream:
        return estimate_text("".join(_whole(_decoded(answer))))
    events = (_decoded(event.data) for event in parse_events(answer))
    return estimate_stream_text(text for event in events for text in _delta(event))


def count_cut(answer: bytes) -> int:
    """Output tokens of the beginning of a whole answer, in the words of any protocol, estimated.

    It is the least that was written: the rest, which did not come, is not guessed.
    """
    whole = answer[:_MOST_BYTES].decode("utf-8", "ignore").encode()  # without half of a character at its end
    texts = (_decoded(b'"%b"' % text) for text in _STRINGS.findall(whole))
    return estimate_text("".join(text for text in texts if isinstance(text, str)))


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _delta(event: Any) -> Iterator[str]:
    if not isinstance(event, dict):
        return
    delta = event.get("delta")
    if isinstance(delta, str):  # Responses
        yield delta
    elif isinstance(delta, dict):  # Anthropic
        yield from _written(delta)
    block = event.get("content_block")
    if isinstance(block, dict):
        yield from _written(block)
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield from _written(choice.get("delta") or choice)


def _whole(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name in ("choices", "content", "output"):
            yield from _written(document.get(name))


def _written(value: Any) -> Iterator[str]:
    """The texts under the known names, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _written(item)
    elif isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, str):
                if name in _TEXTS:
                    yield member
            elif isinstance(member, dict | list) and name not in _SAID_TWICE:
                yield from _written(member)
