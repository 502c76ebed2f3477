"""Chat answers, whole and streamed, as Anthropic writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.ids import new_id
from mainspring.providers.sse import format_event
from mainspring.providers.translate.carry import reasoning_fields, seal
from mainspring.providers.translate.lanes import CallNumbers, Lane, Lanes
from mainspring.providers.translate.upstream_messages_turns import arguments
from mainspring.providers.translate.usage import as_messages, final

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.translate.hub import Answer, ChatUsage, Chunk, Message, ToolCall
    from mainspring.providers.translate.types import Document

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_MESSAGE_STOP = format_event(b'{"type":"message_stop"}', "message_stop")


def message(answer: Answer, names: dict[str, str]) -> Document:
    """A chat answer as a message.

    Args:
        answer: the chat answer.
        names: the caller's names of tools by the names that the provider knows.
    """
    said, choice = answer.message(), answer.first()
    content: list[Document] = []
    thoughts = said.thoughts()
    if carried := reasoning_fields(said, thoughts):
        content.append({"type": "thinking", "thinking": thoughts, "signature": seal(carried)})
    text = said.text() or said.refusal or ""
    if text:
        content.append({"type": "text", "text": text})
    for call in said.calls():
        function = call.function
        name = (function.name if function is not None else None) or ""
        given = arguments(function.text() if function is not None else "")
        content.append(
            {"type": "tool_use", "id": _call_id(call), "name": names.get(name, name), "input": given}
        )
    reason, sequence = _stop(
        choice.finish_reason, choice.stop_reason, calls=bool(said.calls()), refusal=said.refusal
    )
    return {
        "id": answer.id or f"msg_{new_id().replace('-', '')}",
        "type": "message",
        "role": "assistant",
        "model": answer.model or "",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        **_details(reason, said.refusal),
        "usage": as_messages(answer.usage),
    }


class MessagesWriter:
    """Writes one stream of messages; see `types.ClientStream`.

    Anthropic's blocks follow one another, while the deltas of chat may interleave: `Lanes` puts them in order.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._lanes = Lanes()
        self._numbers = CallNumbers()
        self._open: Lane | None = None
        self._index = -1
        self._begun = False
        self._reasoning: Document = {}
        self._calls = False
        self._refusal = ""
        self._finish: str | None = None
        self._sequence: Any = None
        self._usage: ChatUsage | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        """The events of one chunk."""
        self._usage = chunk.usage or self._usage
        out = b"" if self._begun else self._begin(chunk)
        for choice in chunk.choices or []:
            if choice.delta is not None:
                self._take(choice.delta)
            if choice.finish_reason:
                self._finish, self._sequence = choice.finish_reason, choice.stop_reason
                self._lanes.finish()
        return out + self._write()

    def end(self, usage: Usage | None) -> bytes:
        """The end of the last block, the stop reason with all usage, and the terminal event."""
        self._lanes.finish()
        out = self._write() + self._close()
        refusal = self._refusal or None
        reason, sequence = _stop(self._finish, self._sequence, calls=self._calls, refusal=refusal)
        delta = {"stop_reason": reason, "stop_sequence": sequence, **_details(reason, refusal)}
        counted = as_messages(final(self._usage, usage))
        return out + _event({"type": "message_delta", "delta": delta, "usage": counted}) + _MESSAGE_STOP

    def _begin(self, chunk: Chunk) -> bytes:
        self._begun = True
        start: Document = {
            "id": chunk.id or f"msg_{new_id().replace('-', '')}",
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**as_messages(chunk.usage), "output_tokens": 0},
        }
        return _event({"type": "message_start", "message": start})

    def _take(self, delta: Message) -> None:
        thoughts = delta.thoughts()
        if carried := reasoning_fields(delta, thoughts):
            self._remember(carried)
            self._lanes.push("thinking", thoughts)
        text = delta.text()
        if delta.refusal:
            self._refusal += delta.refusal
            text += delta.refusal
        if text:
            self._lanes.push("text", text)
        for call in delta.calls():
            self._calls = True
            name = call.function.name if call.function is not None else None
            fragment = call.function.text() if call.function is not None else ""
            kind = f"tool {self._numbers.of(call)}"
            self._lanes.push(kind, fragment, call_id=call.id, name=name)

    def _remember(self, fields: Document) -> None:
        """Keep what gives the reasoning back to its provider later; details come in pieces."""
        details = [*self._reasoning.get("reasoning_details", []), *_items(fields.get("reasoning_details"))]
        self._reasoning = {**self._reasoning, **fields}
        if details:
            self._reasoning["reasoning_details"] = details

    def _write(self) -> bytes:
        """The events for what the lanes release."""
        out = []
        for lane, text in self._lanes.release():
            if lane is not self._open:
                out += [self._close(), self._start(lane)]
            if text:
                delta = _delta(lane.kind, text)
                out.append(_event({"type": "content_block_delta", "index": self._index, "delta": delta}))
        return b"".join(out)

    def _start(self, lane: Lane) -> bytes:
        self._open = lane
        self._index += 1
        block: Document = {"type": "text", "text": ""}
        if lane.kind == "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        elif lane.kind != "text":
            name = lane.name or ""
            call_id = lane.call_id or f"call_{new_id().replace('-', '')}"
            block = {"type": "tool_use", "id": call_id, "name": self._names.get(name, name), "input": {}}
        return _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _close(self) -> bytes:
        """End the open block; a thinking block is signed first."""
        if self._open is None:
            return b""
        lane, self._open = self._open, None
        out = b""
        if lane.kind == "thinking":
            signed = {"type": "signature_delta", "signature": seal(self._reasoning)}
            out = _event({"type": "content_block_delta", "index": self._index, "delta": signed})
            self._reasoning = {}
        return out + _event({"type": "content_block_stop", "index": self._index})


def _delta(kind: str, text: str) -> Document:
    if kind == "text":
        return {"type": "text_delta", "text": text}
    if kind == "thinking":
        return {"type": "thinking_delta", "thinking": text}
    return {"type": "input_json_delta", "partial_json": text}


def _event(document: Document) -> bytes:
    return format_event(msgspec.json.encode(document), document["type"])


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _call_id(call: ToolCall) -> str:
    return call.id or f"call_{new_id().replace('-', '')}"


def _stop(finish: str | None, sequence: Any, *, calls: bool, refusal: str | None) -> tuple[str, str | None]:
    """The stop reason, and the sequence that stopped it. Many servers say `stop` after tool calls."""
    reason = _STOP.get(finish or "stop", "end_turn")
    if calls and reason == "end_turn":
        return "tool_use", None
    if refusal and reason == "end_turn":
        return "refusal", None
    if isinstance(sequence, str) and reason == "end_turn":
        return "stop_sequence", sequence
    return reason, None


def _details(reason: str, refusal: str | None) -> Document:
    if reason != "refusal":
        return {}
    return {"stop_details": {"type": "refusal", "category": None, "explanation": refusal}}
