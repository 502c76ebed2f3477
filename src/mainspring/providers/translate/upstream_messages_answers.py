"""Anthropic's answers, whole and streamed, as chat answers and chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import ProviderProtocolError
from mainspring.providers.lenient import lenient
from mainspring.providers.translate.carry import must_carry
from mainspring.providers.translate.hub import CARRIED, Answer, Choice, Chunk, FunctionCall, Message, ToolCall
from mainspring.providers.translate.usage import MessagesUsage

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

#: `pause_turn` and `compaction` ask to be continued: to a chat client the answer is unfinished, which only `length` says.
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "length",
    "compaction": "length",
    "refusal": "content_filter",
}
_TIERS = {"standard": "default", "priority": "priority", "batch": "default"}


class _StopDetails(msgspec.Struct):
    explanation: str | None = None


class _Message(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None
    usage: MessagesUsage | None = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    content: str | None = None
    encrypted_content: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    index: int | None = None
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: MessagesUsage | None = None


_message = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_Event)


def read_message(body: bytes) -> Answer:
    """A whole message as a chat answer.

    Raises:
        ProviderProtocolError: it is no message.
    """
    try:
        message = lenient(_message.decode, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderProtocolError("The provider's answer is no message of Anthropic's protocol.") from error
    if message.type != "message" or message.content is None:
        raise ProviderProtocolError("The provider's answer is no message of Anthropic's protocol.")
    usage = message.usage or MessagesUsage()
    choice = Choice(
        index=0,
        message=_chat_message(message.content, message.stop_details),
        finish_reason=FINISH.get(message.stop_reason or "", "stop"),
        stop_reason=message.stop_sequence,
    )
    return Answer(
        choices=[choice],
        id=message.id,
        model=message.model,
        usage=usage.chat(),
        service_tier=_TIERS.get(usage.service_tier or ""),
    )


def _chat_message(blocks: list[Document], details: _StopDetails | None) -> Message:
    message = Message(role="assistant", refusal=details.explanation if details is not None else None)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    thinking: list[Document] = []
    annotations: list[Document] = []
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                annotations += _annotations(block.get("citations"), len("".join(texts)), len(text))
                texts.append(text)
            case {"type": "thinking", "thinking": str(text)}:
                thoughts.append(text)
                thinking.append(block)
            case {"type": "redacted_thinking"}:
                thinking.append(block)
            case {"type": "tool_use", "id": str(name), "name": str(function)}:
                text = msgspec.json.encode(block.get("input") or {}).decode()
                calls.append(ToolCall(len(calls), name, FunctionCall(function, text)))
            case _:
                pass  # blocks of server tools; they travel in the carried content
    message.content = "".join(texts) if texts else None
    message.reasoning_content = "".join(thoughts) or None
    message.thinking_blocks = thinking or None
    message.tool_calls = calls or None
    message.annotations = annotations or None
    if must_carry(blocks):
        message.provider_specific_fields = {CARRIED: blocks}
    return message


def _annotations(citations: Any, start: int, length: int) -> list[Document]:
    """Citations of web pages as OpenAI's annotations of the text that they stand behind."""
    found = []
    for citation in citations if isinstance(citations, list) else []:
        if isinstance(citation, dict) and isinstance(citation.get("url"), str):
            page = {
                "start_index": start,
                "end_index": start + length,
                "title": str(citation.get("title") or ""),
                "url": citation["url"],
            }
            found.append({"type": "url_citation", "url_citation": page})
    return found


class MessagesReader:
    """Reads one stream of messages; see `types.UpstreamStream`."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._usage = MessagesUsage()
        self._blocks: list[Document] = []
        self._pieces: list[str] = []
        self._calls = 0
        self._characters = 0

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks for one event. Pings, errors and the terminal event give none: the gateway sees to them.

        Raises:
            ProviderProtocolError: it is no event of Anthropic's protocol.
        """
        try:
            event = lenient(_event.decode, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProviderProtocolError(
                "An event of the provider's stream is not of Anthropic's protocol."
            ) from error
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._delta(event.delta)
            case "content_block_start" if event.content_block is not None:
                return self._start(event.content_block)
            case "content_block_stop":
                return self._stop()
            case "message_start" if event.message is not None:
                self._id, self._model = event.message.id, event.message.model
                self._usage.update(event.message.usage or MessagesUsage())
                return [self._chunk(Message(role="assistant", content=""))]
            case "message_delta" if event.delta is not None:
                return self._finish(event.delta, event.usage)
            case _:
                return []

    def _chunk(self, delta: Message, finish: str | None = None) -> Chunk:
        return Chunk([Choice(index=0, delta=delta, finish_reason=finish)], self._id, None, self._model)

    def _start(self, block: Document) -> list[Chunk]:
        self._blocks.append(block)
        self._pieces = []
        match block:
            case {"type": "text", "text": str(text)} if text:
                return self._text(text)
            case {"type": "thinking", "thinking": str(text)} if text:
                return self._thinking(text)
            case {"type": "tool_use", "id": str(name), "name": str(function)}:
                self._calls += 1
                call = ToolCall(self._calls - 1, name, FunctionCall(function, ""))
                return [self._chunk(Message(tool_calls=[call]))]
            case _:
                return []

    def _delta(self, delta: _Delta) -> list[Chunk]:
        if not self._blocks:
            raise ProviderProtocolError("The provider's stream continues a block that it has not begun.")
        block = self._blocks[-1]
        match delta.type:
            case "text_delta" if delta.text:
                return self._text(delta.text)
            case "thinking_delta" if delta.thinking:
                return self._thinking(delta.thinking)
            case "input_json_delta" if delta.partial_json:
                self._pieces.append(delta.partial_json)
                if block.get("type") == "tool_use":
                    call = ToolCall(self._calls - 1, function=FunctionCall(arguments=delta.partial_json))
                    return [self._chunk(Message(tool_calls=[call]))]
            case "signature_delta" if delta.signature:
                block["signature"] = str(block.get("signature") or "") + delta.signature
            case "citations_delta" if delta.citation is not None:
                block["citations"] = [*(block.get("citations") or []), delta.citation]
            case "compaction_delta":
                block["content"] = (block.get("content") or "") + (delta.content or "")
                if delta.encrypted_content is not None:
                    block["encrypted_content"] = delta.encrypted_content
            case _:
                pass
        return []

    def _text(self, text: str) -> list[Chunk]:
        self._pieces.append(text)
        self._characters += len(text)
        return [self._chunk(Message(content=text))]

    def _thinking(self, text: str) -> list[Chunk]:
        self._pieces.append(text)
        return [self._chunk(Message(reasoning_content=text))]

    def _stop(self) -> list[Chunk]:
        """End a block: what could only be said once it is whole is said now."""
        if not self._blocks:
            return []
        block, text = self._blocks[-1], "".join(self._pieces)
        match block.get("type"):
            case "text":
                block["text"] = text
                notes = _annotations(block.get("citations"), self._characters - len(text), len(text))
                return [self._chunk(Message(annotations=notes))] if notes else []
            case "thinking":
                block["thinking"] = text
                return [self._chunk(Message(thinking_blocks=[block]))]
            case "redacted_thinking":
                return [self._chunk(Message(thinking_blocks=[block]))]
            case "tool_use" if not text:
                whole = msgspec.json.encode(block.get("input") or {}).decode()
                call = ToolCall(self._calls - 1, function=FunctionCall(arguments=whole))
                return [self._chunk(Message(tool_calls=[call]))]
            case _:
                if text:
                    block["input"] = _input(text)
                return []

    def _finish(self, delta: _Delta, usage: MessagesUsage | None) -> list[Chunk]:
        self._usage.update(usage or MessagesUsage())
        message = Message(refusal=delta.stop_details.explanation if delta.stop_details is not None else None)
        if must_carry(self._blocks):
            message.provider_specific_fields = {CARRIED: self._blocks}
        chunk = self._chunk(message, FINISH.get(delta.stop_reason or "", "stop"))
        if chunk.choices:
            chunk.choices[0].stop_reason = delta.stop_sequence
        chunk.usage = self._usage.chat()
        chunk.service_tier = _TIERS.get(self._usage.service_tier or "")
        return [chunk]


def _input(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"arguments": text}
