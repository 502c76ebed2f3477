"""Whole chat answers as Responses, and the pieces that streams are made of too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.providers.translate.carry import reasoning_fields, seal
from mainspring.providers.translate.hub import CARRIED
from mainspring.providers.translate.usage import as_responses

if TYPE_CHECKING:
    from mainspring.providers.translate.hub import Answer, ChatUsage, Message
    from mainspring.providers.translate.types import Document

#: Fields of the request that a response repeats, with what stands there if the request left them out.
_ECHOED: Document = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def item_id(prefix: str) -> str:
    """A fresh id of a response or item, such as `resp_...` or `msg_...`."""
    return f"{prefix}_{new_id().replace('-', '')}"


def frame(requested: Document, model: str | None) -> Document:
    """A response before anything is in it, with the request's fields repeated. Nothing is ever stored here."""
    document: Document = {
        "id": item_id("resp"),
        "object": "response",
        "created_at": now_us() // 1_000_000,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model or "",
        "output": [],
        "usage": None,
    }
    for name, default in _ECHOED.items():
        value = requested.get(name)
        document[name] = default if value is None else value
    if not isinstance(document["text"], dict):
        document["text"] = _ECHOED["text"]
    elif "format" not in document["text"]:
        document["text"] = {**document["text"], "format": {"type": "text"}}
    return document | {"store": False, "truncation": "disabled"}


def close(
    document: Document, output: list[Document], finish: str | None, usage: ChatUsage | None
) -> Document:
    """A response with everything in it."""
    reason = _INCOMPLETE.get(finish or "")
    return {
        **document,
        "status": "incomplete" if reason else "completed",
        "completed_at": None if reason else now_us() // 1_000_000,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": as_responses(usage),
    }


def response(answer: Answer, requested: Document) -> Document:
    """A chat answer as a response."""
    said, choice = answer.message(), answer.first()
    status = "incomplete" if choice.finish_reason in _INCOMPLETE else "completed"
    output: list[Document] = []
    carried = carried_fields(said, said.thoughts())
    if said.thoughts() or carried:
        output.append(reasoning_item(item_id("rs"), said.thoughts(), carried))
    content = []
    if said.text():
        content.append(text_part(said.text(), flat(said.annotations), logprobs(choice.logprobs)))
    if said.refusal:
        content.append({"type": "refusal", "refusal": said.refusal})
    calls = said.calls()
    if content or not calls:
        output.append(message_item(item_id("msg"), content or [text_part("", [], [])], status))
    for call in calls:
        name = (call.function.name if call.function is not None else None) or ""
        arguments = (call.function.text() if call.function is not None else "") or "{}"
        output.append(call_item(item_id("fc"), call.id or item_id("call"), name, arguments, "completed"))
    document = frame(requested, answer.model)
    if answer.service_tier:
        document["service_tier"] = answer.service_tier
    return close(document, output, choice.finish_reason, answer.usage)


def carried_fields(message: Message, thoughts: str) -> Document:
    """What must come back with the conversation and has no readable place in it."""
    fields = reasoning_fields(message, thoughts)
    if message.thinking_blocks:
        fields["thinking_blocks"] = message.thinking_blocks
    if message.provider_specific_fields and CARRIED in message.provider_specific_fields:
        fields["provider_specific_fields"] = message.provider_specific_fields
    return fields


def reasoning_item(name: str, thoughts: str, carried: Document) -> Document:
    """A reasoning item; its sealed part brings signatures back to the provider."""
    summary = [{"type": "summary_text", "text": thoughts}] if thoughts else []
    item = {"id": name, "type": "reasoning", "summary": summary}
    return {**item, "encrypted_content": seal(carried)} if carried else item


def message_item(name: str, content: list[Document], status: str) -> Document:
    """A message of the assistant."""
    return {"id": name, "type": "message", "role": "assistant", "status": status, "content": content}


def call_item(name: str, call_id: str, function: str, arguments: str, status: str) -> Document:
    """A call of a function."""
    return {
        "id": name,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": function,
        "arguments": arguments,
    }


def text_part(text: str, annotations: list[Document], probabilities: list[Any]) -> Document:
    """A part of a message that holds text."""
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": probabilities}


def flat(annotations: list[Any] | None) -> list[Document]:
    """Chat's annotations, which Responses writes without the inner object."""
    notes = [note.get("url_citation") for note in annotations or [] if isinstance(note, dict)]
    return [{"type": "url_citation", **note} for note in notes if isinstance(note, dict)]


def logprobs(value: Any) -> list[Any]:
    """The probabilities of the content's tokens."""
    content = value.get("content") if isinstance(value, dict) else None
    return content if isinstance(content, list) else []
