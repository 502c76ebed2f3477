"""Streamed chat answers as the events of Responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.sse import format_event
from mainspring.providers.translate.carry import reasoning_fields
from mainspring.providers.translate.client_responses_answers import (
    call_item,
    close,
    flat,
    frame,
    item_id,
    logprobs,
    message_item,
    reasoning_item,
    text_part,
)
from mainspring.providers.translate.hub import CARRIED
from mainspring.providers.translate.lanes import CallNumbers
from mainspring.providers.translate.usage import final

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.translate.hub import ChatUsage, Chunk, Message, ToolCall
    from mainspring.providers.translate.types import Document


class _Item:
    """One output item on its way: reasoning, message or call."""

    __slots__ = (
        "annotations",
        "call_id",
        "id",
        "index",
        "kind",
        "logprobs",
        "name",
        "part",
        "parts",
        "pieces",
    )

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.id = item_id({"reasoning": "rs", "message": "msg"}.get(kind, "fc"))
        self.pieces: list[str] = []
        self.part = ""
        self.parts: list[Document] = []
        self.annotations: list[Document] = []
        self.logprobs: list[Any] = []
        self.call_id = ""
        self.name = ""

    def text(self) -> str:
        return "".join(self.pieces)


class ResponsesWriter:
    """Writes one stream of Responses; see `types.ClientStream`.

    Items have indices of their own, so that parallel calls need no ordering here. A reasoning or message item ends
    when the next item begins; calls end with the answer.
    """

    def __init__(self, requested: Document) -> None:
        self._requested = requested
        self._frame: Document = {}
        self._sequence = -1
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._numbers = CallNumbers()
        self._done: dict[int, Document] = {}
        self._carried: Document = {}
        self._finish: str | None = None
        self._usage: ChatUsage | None = None

    def adopt(self, frame: Document, item: str, sequence: int, text: str) -> None:
        """Go on with a stream that somebody else began, in the middle of its only message.

        Args:
            frame: the response as it was announced.
            item: the id of the message.
            sequence: the number of the last event.
            text: what the message holds.
        """
        message = _Item("message", 0)
        message.id, message.part, message.pieces = item, "output_text", [text]
        self._frame, self._sequence = {**frame, "status": "in_progress"}, sequence
        self._items, self._open = [message], message

    def chunk(self, chunk: Chunk) -> bytes:
        """The events of one chunk."""
        self._usage = chunk.usage or self._usage
        out: list[bytes] = []
        if not self._frame:
            self._frame = frame(self._requested, chunk.model)
            out += [self._event("response.created", response=self._frame)]
            out += [self._event("response.in_progress", response=self._frame)]
        if chunk.service_tier:
            self._frame["service_tier"] = chunk.service_tier
        for choice in chunk.choices or []:
            if choice.delta is not None:
                self._take(choice.delta, logprobs(choice.logprobs), out)
            self._finish = choice.finish_reason or self._finish
        return b"".join(out)

    def end(self, usage: Usage | None) -> bytes:
        """The ends of all items and the terminal event."""
        out: list[bytes] = []
        if not self._frame:
            self._frame = frame(self._requested, None)
        self._close_open(out)
        if self._carried:
            self._close_leftovers(out)
        for call in self._calls.values():
            self._close_call(call, out)
        output = [self._done[index] for index in sorted(self._done)]
        document = close(self._frame, output, self._finish, final(self._usage, usage))
        return b"".join([*out, self._event(f"response.{document['status']}", response=document)])

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        self._sequence += 1
        document = {"type": kind, "sequence_number": self._sequence, **fields}
        return format_event(msgspec.json.encode(document), kind)

    def _take(self, delta: Message, probabilities: list[Any], out: list[bytes]) -> None:
        thoughts = delta.thoughts()
        self._carry(delta, thoughts)
        if thoughts:
            self._think(thoughts, out)
        text = delta.text()
        if text:
            self._say("output_text", text, probabilities, out)
        if delta.annotations:
            self._annotate(flat(delta.annotations), out)
        if delta.refusal:
            self._say("refusal", delta.refusal, [], out)
        for call in delta.calls():
            self._call(call, out)

    def _carry(self, delta: Message, thoughts: str) -> None:
        """Collect what the reasoning item seals. It is written when that item ends, or in one of its own at the end."""
        fields = reasoning_fields(delta, thoughts)
        for name in ("reasoning_details", "thinking_blocks"):
            new = fields.pop(name, None) if name == "reasoning_details" else delta.thinking_blocks
            if isinstance(new, list) and new:
                self._carried[name] = [*self._carried.get(name, []), *new]
        self._carried |= fields
        if delta.provider_specific_fields and CARRIED in delta.provider_specific_fields:
            self._carried["provider_specific_fields"] = delta.provider_specific_fields

    def _begin(self, kind: str, out: list[bytes]) -> _Item:
        self._close_open(out)
        if self._carried and kind != "reasoning":
            self._close_leftovers(out)  # thinking that is only a signature stands before what it led to
        item = _Item(kind, len(self._items))
        self._items.append(item)
        return item

    def _think(self, thoughts: str, out: list[bytes]) -> None:
        item = self._open
        if item is None or item.kind != "reasoning":
            item = self._open = self._begin("reasoning", out)
            shown = reasoning_item(item.id, "", {})
            out.append(self._event("response.output_item.added", output_index=item.index, item=shown))
            place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
            part = {"type": "summary_text", "text": ""}
            out.append(self._event("response.reasoning_summary_part.added", **place, part=part))
        item.pieces.append(thoughts)
        place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
        out.append(self._event("response.reasoning_summary_text.delta", **place, delta=thoughts))

    def _say(self, part: str, text: str, probabilities: list[Any], out: list[bytes]) -> None:
        item = self._open
        if item is None or item.kind != "message":
            item = self._open = self._begin("message", out)
            shown = message_item(item.id, [], "in_progress")
            out.append(self._event("response.output_item.added", output_index=item.index, item=shown))
        if item.part != part:
            self._close_part(item, out)
            item.part = part
            empty = text_part("", [], []) if part == "output_text" else {"type": "refusal", "refusal": ""}
            out.append(self._event("response.content_part.added", **_place(item), part=empty))
        item.pieces.append(text)
        if part == "output_text":
            item.logprobs += probabilities
            delta = {"delta": text, "logprobs": probabilities}
            out.append(self._event("response.output_text.delta", **_place(item), **delta))
        else:
            out.append(self._event("response.refusal.delta", **_place(item), delta=text))

    def _annotate(self, annotations: list[Document], out: list[bytes]) -> None:
        item = self._open
        if item is None or item.part != "output_text":
            return
        for note in annotations:
            place = {**_place(item), "annotation_index": len(item.annotations)}
            out.append(self._event("response.output_text.annotation.added", **place, annotation=note))
            item.annotations.append(note)

    def _call(self, call: ToolCall, out: list[bytes]) -> None:
        number = self._numbers.of(call)
        item = self._calls.get(number)
        if item is None:
            item = self._calls[number] = self._begin("call", out)
            item.call_id = call.id or item_id("call")
            item.name = (call.function.name if call.function is not None else None) or ""
            shown = call_item(item.id, item.call_id, item.name, "", "in_progress")
            out.append(self._event("response.output_item.added", output_index=item.index, item=shown))
        fragment = call.function.text() if call.function is not None else ""
        if fragment:
            item.pieces.append(fragment)
            place = {"item_id": item.id, "output_index": item.index}
            out.append(self._event("response.function_call_arguments.delta", **place, delta=fragment))

    def _close_open(self, out: list[bytes]) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        if item.kind == "reasoning":
            thoughts = item.text()
            place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
            part = {"type": "summary_text", "text": thoughts}
            out.append(self._event("response.reasoning_summary_text.done", **place, text=thoughts))
            out.append(self._event("response.reasoning_summary_part.done", **place, part=part))
            carried, self._carried = self._carried, {}
            self._finish_item(item, reasoning_item(item.id, thoughts, carried), out)
            return
        self._close_part(item, out)
        status = "incomplete" if self._finish in ("length", "content_filter") else "completed"
        self._finish_item(item, message_item(item.id, item.parts, status), out)

    def _close_part(self, item: _Item, out: list[bytes]) -> None:
        if not item.part:
            return
        text, place = item.text(), _place(item)
        if item.part == "output_text":
            part = text_part(text, item.annotations, item.logprobs)
            out.append(self._event("response.output_text.done", **place, text=text, logprobs=item.logprobs))
        else:
            part = {"type": "refusal", "refusal": text}
            out.append(self._event("response.refusal.done", **place, refusal=text))
        out.append(self._event("response.content_part.done", **place, part=part))
        item.parts.append(part)
        item.pieces, item.annotations, item.logprobs, item.part = [], [], [], ""

    def _close_leftovers(self, out: list[bytes]) -> None:
        """An item for what came after the last reasoning, or without any that could be read."""
        item = self._begin("reasoning", out)
        shown = reasoning_item(item.id, "", {})
        out.append(self._event("response.output_item.added", output_index=item.index, item=shown))
        carried, self._carried = self._carried, {}
        self._finish_item(item, reasoning_item(item.id, "", carried), out)

    def _close_call(self, item: _Item, out: list[bytes]) -> None:
        arguments = item.text() or "{}"
        place = {"item_id": item.id, "output_index": item.index}
        out.append(
            self._event("response.function_call_arguments.done", **place, name=item.name, arguments=arguments)
        )
        self._finish_item(item, call_item(item.id, item.call_id, item.name, arguments, "completed"), out)

    def _finish_item(self, item: _Item, shown: Document, out: list[bytes]) -> None:
        self._done[item.index] = shown
        out.append(self._event("response.output_item.done", output_index=item.index, item=shown))


def _place(item: _Item) -> Document:
    return {"item_id": item.id, "output_index": item.index, "content_index": len(item.parts)}
