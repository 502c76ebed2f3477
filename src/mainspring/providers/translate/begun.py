"""How far a stream came, read off what the caller got of it: the text, and what names the answer.

None where the rest of it cannot be asked for: it holds more than one plain text, or says already how it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.sse import parse_events
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.providers.translate.types import Document

#: Members of a delta that say nothing by themselves.
_SILENT = frozenset({"role", "content"})
_RESPONSES_FRAMES = frozenset({"response.created", "response.in_progress", "response.queued"})


class Begun(msgspec.Struct):
    """An answer as far as the caller has it.

    Attributes:
        text: what was said.
        id: the answer's own id, as the caller saw it.
        model: the model that the caller was told of.
        created: Unix seconds.
        item: the id of the message that is being written, where the protocol has those.
        sequence: the number of the last event, where they are numbered.
        frame: the response as it was announced, where that is repeated at the end.
    """

    text: str = ""
    id: str | None = None
    model: str | None = None
    created: float | None = None
    item: str | None = None
    sequence: int = -1
    frame: dict[str, Any] | None = None


class _CannotGoOn(Exception):
    """There is more than a text."""


def read_begun(operation: Operation, answer: bytes) -> Begun | None:
    """How far a stream came.

    Args:
        operation: what was asked, which says in which words the stream is.
        answer: its whole events so far.

    Returns:
        The answer so far; None where it cannot be continued from its text.
    """
    reader, begun = _READERS.get(operation), Begun()
    if reader is None:
        return None
    try:
        for event in parse_events(answer):
            document = msgspec.json.decode(event.data)
            if not isinstance(document, dict):
                return None
            reader(document, begun)
    except (_CannotGoOn, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return begun


def _chat(chunk: Document, begun: Begun) -> None:
    _named(chunk, begun)
    for choice in _objects(chunk.get("choices")):
        delta = choice.get("delta")
        if choice.get("index") or choice.get("finish_reason") or choice.get("logprobs"):
            raise _CannotGoOn
        if not isinstance(delta, dict):
            continue
        if any(value for name, value in delta.items() if name not in _SILENT):
            raise _CannotGoOn
        begun.text += _text(delta.get("content"))


def _completions(chunk: Document, begun: Begun) -> None:
    _named(chunk, begun)
    for choice in _objects(chunk.get("choices")):
        if choice.get("index") or choice.get("finish_reason") or choice.get("logprobs"):
            raise _CannotGoOn
        begun.text += _text(choice.get("text"))


def _messages(event: Document, begun: Begun) -> None:
    match event:
        case {"type": "message_start", "message": dict(message)}:
            begun.id, begun.model = message.get("id"), message.get("model")
        case {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": str(text)},
        }:
            begun.text += text
        case {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": str(text)}}:
            begun.text += text
        case {"type": "ping"}:
            pass
        case _:
            raise _CannotGoOn


def _responses(event: Document, begun: Begun) -> None:
    kind = event.get("type")
    number = event.get("sequence_number")
    begun.sequence = number if isinstance(number, int) else begun.sequence
    if kind in _RESPONSES_FRAMES and isinstance(event.get("response"), dict):
        begun.frame = event["response"]
        return
    match event:
        case {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": str(item)},
        }:
            begun.item = item
        case {"type": "response.content_part.added", "content_index": 0, "part": {"type": "output_text"}}:
            pass
        case {"type": "response.output_text.delta", "content_index": 0, "delta": str(text)}:
            if event.get("logprobs"):
                raise _CannotGoOn
            begun.text += text
        case _:
            raise _CannotGoOn


_READERS: dict[Operation, Callable[[Document, Begun], None]] = {
    Operation.CHAT: _chat,
    Operation.COMPLETIONS: _completions,
    Operation.MESSAGES: _messages,
    Operation.RESPONSES: _responses,
}


def _named(chunk: Document, begun: Begun) -> None:
    begun.id = begun.id or chunk.get("id")
    begun.model = begun.model or chunk.get("model")
    begun.created = begun.created or chunk.get("created")


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _CannotGoOn
    return value
