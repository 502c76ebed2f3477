"""Messages and their parts, in the words of every dialect: Chat, Completions, Responses and Messages.

Payloads come from anywhere, so nothing here trusts their shape and nothing raises: what cannot be read as a message
is shown as the JSON that it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["text", "thinking", "tool_call", "tool_result", "image", "note", "json"]


class Part(msgspec.Struct):
    """A piece of a message. `name` is that of a tool, an image's type or a note's kind; `hidden` counts characters cut."""

    kind: Kind
    text: str = ""
    name: str = ""
    call_id: str = ""
    hidden: int = 0


class Turn(msgspec.Struct):
    """One message."""

    role: str
    parts: list[Part]


_JSON = msgspec.json.Encoder(order="sorted")


def decode(body: bytes) -> Any:
    """The JSON of a payload, or None."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def pretty(body: bytes) -> str:
    """A payload for reading: indented if it is JSON, as it is otherwise."""
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def read_turn(item: Any, role: str) -> Turn:
    """One message of Chat, Messages or Responses."""
    if not isinstance(item, dict):
        return Turn(role or "user", [Part("json", as_text(item))])
    kind = item.get("type")
    if kind in {"function_call", "custom_tool_call"}:
        call = item.get("arguments", item.get("input", ""))
        return Turn(
            "assistant",
            [
                Part(
                    "tool_call",
                    _indented(call),
                    as_text(item.get("name", "")),
                    as_text(item.get("call_id", "")),
                )
            ],
        )
    if kind in {"function_call_output", "custom_tool_call_output"}:
        return Turn(
            "tool", [Part("tool_result", _flat(item.get("output")), "", as_text(item.get("call_id", "")))]
        )
    if kind == "reasoning":
        return Turn("assistant", [Part("thinking", _flat(item.get("summary") or item.get("content")))])
    if "content" not in item and "tool_calls" not in item:
        return Turn(role or "user", [Part("json", as_text(item))])
    return Turn(as_text(item.get("role") or role or "user"), read_message(item))


def read_message(message: dict[str, Any]) -> list[Part]:
    """The parts of a chat message, in the order in which they were thought, said and called."""
    parts = []
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        parts.append(Part("thinking", thoughts))
    if message.get("role") == "tool":
        parts.append(
            Part("tool_result", _flat(message.get("content")), "", as_text(message.get("tool_call_id", "")))
        )
    elif message.get("content"):
        parts.extend(read_parts(message["content"]))
    if message.get("refusal"):
        parts.append(Part("note", as_text(message["refusal"]), "refused"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") or call.get("custom") if isinstance(call, dict) else None
        if isinstance(function, dict):
            text = _indented(function.get("arguments", function.get("input", "")))
            parts.append(
                Part("tool_call", text, as_text(function.get("name", "")), as_text(call.get("id", "")))
            )
        else:
            parts.append(Part("json", as_text(call)))
    return parts


def read_parts(content: Any) -> list[Part]:
    """The parts of a message's content: a text, or a list of typed blocks."""
    if isinstance(content, str):
        return [Part("text", content)]
    if not isinstance(content, list):
        return [] if content is None else [Part("json", as_text(content))]
    return [_part(block) for block in content]


def _part(block: Any) -> Part:
    """One typed block of Chat, Messages or Responses."""
    if isinstance(block, str):
        return Part("text", block)
    if not isinstance(block, dict):
        return Part("json", as_text(block))
    kind = block.get("type")
    reader = _BLOCKS.get(kind) if isinstance(kind, str) else None
    return reader(block) if reader else Part("json", as_text(block))


def _image(block: dict[str, Any]) -> Part:
    """An image: a data address with its contents, or an address elsewhere, which is never fetched."""
    source = block.get("source")
    if isinstance(source, dict):
        if source.get("type") == "base64":
            return Part("image", f"data:{source.get('media_type', '')};base64,{source.get('data', '')}")
        return Part("image", as_text(source.get("url", source.get("file_id", ""))))
    address = block.get("image_url", "")
    if isinstance(address, dict):
        address = address.get("url", "")
    return Part("image", as_text(address or block.get("file_id", "")))


def _attachment(block: dict[str, Any]) -> Part:
    """A file, document or sound: only its kind and name are shown."""
    inner = next(
        (block[name] for name in ("file", "source", "input_audio") if isinstance(block.get(name), dict)),
        block,
    )
    name = next(
        (
            inner[key]
            for key in ("filename", "title", "url", "file_id", "media_type", "format")
            if inner.get(key)
        ),
        "",
    )
    return Part("note", as_text(name), as_text(block.get("type", "file")).removeprefix("input_"))


_BLOCKS: dict[str, Callable[[dict[str, Any]], Part]] = {
    "text": lambda block: Part("text", as_text(block.get("text", ""))),
    "input_text": lambda block: Part("text", as_text(block.get("text", ""))),
    "output_text": lambda block: Part("text", as_text(block.get("text", ""))),
    "refusal": lambda block: Part("note", as_text(block.get("refusal", "")), "refused"),
    "thinking": lambda block: Part("thinking", as_text(block.get("thinking", ""))),
    "redacted_thinking": lambda _: Part("thinking", "(hidden by the provider)"),
    "tool_use": lambda block: Part(
        "tool_call",
        _indented(block.get("input")),
        as_text(block.get("name", "")),
        as_text(block.get("id", "")),
    ),
    "tool_result": lambda block: Part(
        "tool_result",
        _flat(block.get("content")),
        "failed" if block.get("is_error") else "",
        as_text(block.get("tool_use_id", "")),
    ),
    "image": _image,
    "image_url": _image,
    "input_image": _image,
    "file": _attachment,
    "input_file": _attachment,
    "document": _attachment,
    "input_audio": _attachment,
}


def _flat(content: Any) -> str:
    """Content as one text: what a tool gave back, a summary of reasoning."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part.text if part.kind != "image" else "(image)" for part in map(_flat_part, content)
        )
    return "" if content is None else as_text(content)


def _flat_part(block: Any) -> Part:
    """Like `_part`, but any block with a text is a text."""
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return Part("text", block["text"])
    return _part(block)


def _indented(arguments: Any) -> str:
    """A tool's arguments for reading; models also write broken JSON, which is shown as it is."""
    text = arguments if isinstance(arguments, str) else as_text(arguments)
    return pretty(text.encode("utf-8", "replace")) if text else ""


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _JSON.encode(value).decode("utf-8", "replace")
