"""How thinking travels through a protocol that has no place for it.

A chat message carries Anthropic's signed thinking as `thinking_blocks` and, where blocks stand in an order or are of a
kind that chat cannot say, the whole content as `provider_specific_fields.anthropic_content`. The other way round, the
reasoning of a chat provider is carried in the opaque string that the other protocol reserves for such things (the
`signature` of a thinking block, the `encrypted_content` of a reasoning item). So is the signature of a call (Gemini
refuses a call that comes back without it), in what stands before that call. A seal marks our strings, so that a
provider is only ever given back what a provider of its own kind has said.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.refusals import UNREADABLE
from mainspring.providers.translate.hub import CARRIED, Message
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_SEAL = "mainspring."
_SEALED = b'"mainspring.'
#: Where the conversation stands that may hold something sealed.
_TURNS = {
    Operation.MESSAGES: "messages",
    Operation.COUNT_TOKENS: "messages",
    Operation.RESPONSES: "input",
}
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")


def seal(document: Document) -> str:
    """A document as an opaque string."""
    return _SEAL + base64.urlsafe_b64encode(msgspec.json.encode(document)).decode()


def unseal(text: Any) -> Document | None:
    """The document of a string that `seal` made; None for any other value."""
    if not isinstance(text, str) or not text.startswith(_SEAL):
        return None
    try:
        document = msgspec.json.decode(base64.urlsafe_b64decode(text.removeprefix(_SEAL)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def reasoning_fields(message: Message, thoughts: str) -> Document:
    """What gives a chat provider its reasoning back, without the text that is shown anyway; empty where nothing must.

    Args:
        message: the message, or the first piece of it that holds reasoning.
        thoughts: the readable reasoning of the whole message.
    """
    name = (
        "reasoning"
        if isinstance(message.reasoning, str) and not message.reasoning_content
        else "reasoning_content"
    )
    fields: Document = {"field": name} if thoughts else {}
    if message.reasoning_details:
        fields["reasoning_details"] = message.reasoning_details
    # Of calls that are made together, the first is signed.
    signed = next((call.extra_content for call in message.calls() if call.extra_content), None)
    if isinstance(signed, dict):
        fields["call"] = signed
    return fields


def restore_call(document: Document) -> Document:
    """The fields of the call that comes next."""
    return {"extra_content": document["call"]} if isinstance(document.get("call"), dict) else {}


def restore_reasoning(document: Document, thoughts: str) -> Document:
    """The message fields that `reasoning_fields` described."""
    fields: Document = {}
    name = document.get("field")
    if name in _REASONING and thoughts:
        fields[name] = thoughts
    if document.get("reasoning_details"):
        fields["reasoning_details"] = document["reasoning_details"]
    return fields


def thinking_blocks(message: Document) -> list[Document]:
    """Anthropic's thinking blocks that a chat message brings back; empty if it has none that are signed."""
    blocks = message.get("thinking_blocks")
    found = []
    for block in blocks if isinstance(blocks, list) else []:
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if signature:
                found.append({"type": "thinking", "thinking": text, "signature": signature})
            case {"type": "redacted_thinking", "data": str(data)}:
                found.append({"type": "redacted_thinking", "data": data})
            case _:
                pass  # unsigned thinking is of no use to Anthropic, which would refuse it
    return found or _from_details(message.get("reasoning_details"))


def without_sealed(operation: Operation, body: bytes) -> bytes:
    """A request that passes through, without what we have sealed: its provider could not open that, and refuses it.

    Args:
        operation: what is asked.
        body: a JSON object; it stays as it is, byte for byte, where nothing of ours is in it.
    """
    if operation not in _TURNS or _SEALED not in body:
        return body
    name = _TURNS[operation]
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        turns = msgspec.json.decode(fields.get(name) or b"null")
    except UNREADABLE:
        return body  # its provider says what is wrong with it
    kept = [_unsealed(turn) for turn in turns] if isinstance(turns, list) else turns
    if kept == turns:
        return body
    fields[name] = msgspec.Raw(msgspec.json.encode([turn for turn in kept if turn is not None]))
    return msgspec.json.encode(fields)


def _unsealed(turn: Any) -> Any:
    """A turn of messages, or an item of Responses, without what is sealed; None where nothing else is in it."""
    match turn:
        case {"type": "reasoning", "encrypted_content": sealed} if unseal(sealed) is not None:
            return None
        case {"role": "assistant", "content": list(blocks)}:
            kept = [block for block in blocks if not _is_sealed(block)]
            return {**turn, "content": kept} if kept or not blocks else None
        case _:
            return turn


def _is_sealed(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and block.get("type") == "thinking"
        and unseal(block.get("signature")) is not None
    )


def _from_details(details: Any) -> list[Document]:
    """Thinking blocks in the form that OpenRouter made known."""
    found = []
    for detail in details if isinstance(details, list) else []:
        match detail:
            case {"type": "reasoning.text", "text": str(text), "signature": str(signature)} if signature:
                found.append({"type": "thinking", "thinking": text, "signature": signature})
            case {"type": "reasoning.encrypted", "data": str(data), "format": "anthropic-claude-v1"}:
                found.append({"type": "redacted_thinking", "data": data})
            case _:
                pass
    return found


def carried_content(message: Document) -> list[Document] | None:
    """The content of an assistant turn as Anthropic wrote it, if the message still says the same; None otherwise.

    A caller may have edited the message; then its text and tool calls count, not what was carried along.
    """
    fields = message.get("provider_specific_fields")
    blocks = fields.get(CARRIED) if isinstance(fields, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return None
    text = "".join(str(block.get("text")) for block in blocks if block.get("type") == "text")
    calls = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    tool_calls = message.get("tool_calls") or []
    if not isinstance(tool_calls, list) or not all(isinstance(call, dict) for call in tool_calls):
        return None
    same = text == (message.get("content") or "") and calls == [call.get("id") for call in tool_calls]
    return blocks if same else None


def must_carry(blocks: list[Document]) -> bool:
    """Whether chat could not say these blocks of an answer: thinking first, then one text, then plain tool calls."""
    rank = 0
    for block in blocks:
        match block:
            case {"type": "thinking" | "redacted_thinking"} if rank == 0:
                pass
            case {"type": "text"} if rank == 0 and not block.get("citations"):
                rank = 1
            case {"type": "tool_use"} if set(block) <= {"type", "id", "name", "input"} or _direct(block):
                rank = 2
            case _:
                return True
    return False


def _direct(block: Document) -> bool:
    return block.get("caller") in (None, {"type": "direct"}) and not block.get("toolset_name")
