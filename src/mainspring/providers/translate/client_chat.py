"""A caller that speaks chat: the hub's own form, written as OpenAI writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.providers.sse import format_event
from mainspring.providers.translate.usage import as_chat, final

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.translate.hub import Answer, ChatUsage, Choice, Chunk, Message, ToolCall
    from mainspring.providers.translate.types import ClientStream, Document

_DONE = b"data: [DONE]\n\n"
_EXTENSIONS = ("reasoning_content", "thinking_blocks", "annotations", "provider_specific_fields")


class ChatClient:
    """A caller that speaks chat; see `types.Client`."""

    def request(self, body: Document) -> Document:
        """The request as it is."""
        return body

    def answer(self, answer: Answer, requested: Document) -> Document:
        """A `chat.completion`."""
        message = answer.message()
        said: Document = {"role": "assistant", "content": message.content, "refusal": message.refusal}
        said |= _extensions(message)
        old = _old_functions(requested)
        if message.tool_calls and old:
            said["function_call"] = _call(message.tool_calls[0], whole=True)["function"]
        elif message.tool_calls:
            said["tool_calls"] = [_call(call, whole=True) for call in message.tool_calls]
        return {
            "id": answer.id or _new_id(),
            "object": "chat.completion",
            "created": _created(answer.created),
            "model": answer.model or "",
            "choices": [_choice(answer.first(), {"message": said}, old=old)],
            "usage": as_chat(answer.usage) if answer.usage is not None else None,
        } | ({"service_tier": answer.service_tier} if answer.service_tier else {})

    def stream(self, requested: Document) -> ClientStream:
        """A fresh writer."""
        return ChatWriter(requested)


class ChatWriter:
    """Writes one stream of `chat.completion.chunk`; see `types.ClientStream`."""

    def __init__(self, requested: Document) -> None:
        options = requested.get("stream_options")
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._old = _old_functions(requested)
        self._usage: ChatUsage | None = None
        self._base: Document | None = None
        self._thinking = 0
        self._annotated = 0

    def chunk(self, chunk: Chunk) -> bytes:
        """The event of one chunk; empty for one that only reports usage."""
        self._usage = chunk.usage or self._usage
        if self._base is None:
            self._base = {
                "id": chunk.id or _new_id(),
                "object": "chat.completion.chunk",
                "created": _created(chunk.created),
                "model": chunk.model or "",
            }
        if chunk.service_tier:
            self._base["service_tier"] = chunk.service_tier
        if not chunk.choices:
            return b""
        choice = chunk.choices[0]
        delta = {"delta": self._delta(choice.delta) if choice.delta is not None else {}}
        return self._event([_choice(choice, delta, old=self._old)])

    def end(self, usage: Usage | None) -> bytes:
        """The usage, if it was asked for, and the terminal marker."""
        counted = final(self._usage, usage)
        if not self._wants_usage or counted is None:
            return _DONE
        return self._event([], as_chat(counted)) + _DONE

    def _event(self, choices: list[Document], usage: Document | None = None) -> bytes:
        document = {**(self._base or {}), "choices": choices}
        if self._wants_usage:
            document["usage"] = usage
        return format_event(msgspec.json.encode(document))

    def _delta(self, message: Message) -> Document:
        delta: Document = {}
        if message.role is not None:
            delta["role"] = message.role
        if message.content is not None:
            delta["content"] = message.content
        if message.refusal is not None:
            delta["refusal"] = message.refusal
        delta |= _extensions(message)
        # OpenAI's client joins the items of a streamed list by their index.
        if message.thinking_blocks:
            delta["thinking_blocks"] = _indexed(message.thinking_blocks, self._thinking)
            self._thinking += len(message.thinking_blocks)
        if message.annotations:
            delta["annotations"] = _indexed(message.annotations, self._annotated)
            self._annotated += len(message.annotations)
        if message.tool_calls and self._old:
            delta["function_call"] = _call(message.tool_calls[0], whole=False)["function"]
        elif message.tool_calls:
            delta["tool_calls"] = [_call(call, whole=False) for call in message.tool_calls]
        return delta


def _extensions(message: Message) -> Document:
    return {name: value for name in _EXTENSIONS if (value := getattr(message, name))}


def _indexed(items: list[Any], start: int) -> list[Document]:
    return [{"index": start + offset, **item} for offset, item in enumerate(items)]


def _call(call: ToolCall, *, whole: bool) -> Document:
    function: Document = {}
    if call.function is not None:
        if call.function.name is not None:
            function["name"] = call.function.name
        function["arguments"] = call.function.text()
    document: Document = {} if whole else {"index": call.index or 0}
    if call.id is not None:
        document |= {"id": call.id, "type": "function"}
    return {**document, "function": function}


def _choice(choice: Choice, said: Document, *, old: bool) -> Document:
    finish = choice.finish_reason
    if old and finish == "tool_calls":
        finish = "function_call"
    document = {"index": 0, **said, "logprobs": choice.logprobs, "finish_reason": finish}
    if choice.stop_reason is not None:
        document["stop_reason"] = choice.stop_reason
    return document


def _old_functions(requested: Document) -> bool:
    """Whether the caller uses the functions of 2023, which are answered in `function_call`."""
    return bool(requested.get("functions")) and not requested.get("tools")


def _created(created: float | None) -> int:
    return int(created) if created is not None else now_us() // 1_000_000


def _new_id() -> str:
    return f"chatcmpl-{new_id().replace('-', '')}"
