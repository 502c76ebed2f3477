"""What was asked and answered, as a conversation that a page can show.

Reads requests and whole answers of every dialect that the ledger holds. Payloads come from anywhere, so nothing
here trusts their shape and nothing raises: what cannot be read as a message is shown as the JSON that it is.
Streams are put together first, in `assembly`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


class Conversation(msgspec.Struct):
    """A request or an answer: its messages, its plain settings, its tools, and how many messages were left out."""

    turns: list[Turn]
    settings: list[tuple[str, str]] = []
    tools: list[tuple[str, str]] = []
    skipped: int = 0


#: Fields of requests that are shown as messages or tools, not as settings.
_SPOKEN = {"messages", "input", "prompt", "system", "instructions", "tools", "functions", "model", "stream"}
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


def read_request(body: bytes) -> Conversation:
    """The conversation in a request of any dialect; the fields tell the dialects apart."""
    document = decode(body)
    if not isinstance(document, dict):
        return Conversation([Turn("request", [Part("text", body.decode("utf-8", "replace"))])])
    turns = []
    for field, role in (
        ("system", "system"),
        ("instructions", "system"),
        ("messages", ""),
        ("prompt", "user"),
        ("input", "user"),
    ):
        if field in document:
            turns.extend(_turns(document[field], role))
    _number_images(turns)
    settings = [(name, _plain(value)) for name, value in document.items() if name not in _SPOKEN]
    return Conversation(turns, settings, _tools(document))


def read_answer(document: Any) -> Conversation:
    """The conversation in a whole answer of any dialect, or in an error."""
    if not isinstance(document, dict):
        return Conversation([])
    if document.get("error"):
        return Conversation([Turn("error", [_error(document["error"])])])
    lists = {
        name: document[name] for name in ("choices", "output", "data") if isinstance(document.get(name), list)
    }
    if "choices" in lists:
        turns = [_choice(choice) for choice in lists["choices"]]
    elif "output" in lists:
        turns = [_turn(item, "assistant") for item in lists["output"]]
    elif "data" in lists:
        turns = [Turn("embedding", [Part("note", _vectors(lists["data"]), "vectors")])]
    elif "content" in document:
        turns = [Turn("assistant", _parts(document["content"]))]
    else:
        turns = [Turn("assistant", [Part("json", _text(document))])]
    return Conversation(turns)


def images(body: bytes) -> dict[str, tuple[str, str]]:
    """The images inside a request by their number: media type and base64."""
    found = {}
    for part in _every_part(read_request(body).turns):
        if part.kind == "image" and part.text.startswith("data:"):
            head, _, data = part.text[5:].partition(",")
            found[part.call_id] = (head.partition(";")[0], data)
    return found


def fit(conversation: Conversation, budget: int, most: int = 3000) -> Conversation:
    """As much of a conversation as a page can bear: its first message and the last ones, long parts cut.

    Args:
        conversation: the whole.
        budget: characters in all.
        most: characters in one part.
    """
    for part in _every_part(conversation.turns):
        if part.kind == "image":
            continue
        if len(part.text) > most:
            part.hidden = len(part.text) - most
            part.text = part.text[:most]
    turns = conversation.turns
    kept: list[Turn] = []
    for turn in reversed(turns):
        budget -= 60 + sum(len(part.text) for part in turn.parts if part.kind != "image")
        if budget < 0 and len(kept) > 1:
            break
        kept.insert(0, turn)
    conversation.skipped = len(turns) - len(kept)
    if conversation.skipped and turns[0].role == "system":
        kept.insert(0, turns[0])
        conversation.skipped -= 1
    conversation.turns = kept
    return conversation


def _every_part(turns: list[Turn]) -> Iterator[Part]:
    return (part for turn in turns for part in turn.parts)


def _number_images(turns: list[Turn]) -> None:
    """Give each image its number, so that an address can name it; the number stands in `call_id`."""
    pictures = (part for part in _every_part(turns) if part.kind == "image")
    for number, part in enumerate(pictures, 1):
        part.call_id = str(number)


def _turns(value: Any, role: str) -> list[Turn]:
    """Messages from what may stand in `messages`, `input`, `system` or `prompt`."""
    if isinstance(value, str):
        return [Turn(role or "user", [Part("text", value)])]
    if not isinstance(value, list):
        return [Turn(role or "user", [Part("json", _text(value))])]
    if all(isinstance(item, str) for item in value):
        return [Turn(role or "user", [Part("text", item)]) for item in value]
    if role == "system":
        return [Turn("system", _parts(value))]
    return [_turn(item, role) for item in value]


def _turn(item: Any, role: str) -> Turn:
    """One message of Chat, Messages or Responses."""
    if not isinstance(item, dict):
        return Turn(role or "user", [Part("json", _text(item))])
    kind = item.get("type")
    if kind in {"function_call", "custom_tool_call"}:
        call = item.get("arguments", item.get("input", ""))
        return Turn(
            "assistant",
            [Part("tool_call", _indented(call), _text(item.get("name", "")), _text(item.get("call_id", "")))],
        )
    if kind in {"function_call_output", "custom_tool_call_output"}:
        return Turn(
            "tool", [Part("tool_result", _flat(item.get("output")), "", _text(item.get("call_id", "")))]
        )
    if kind == "reasoning":
        return Turn("assistant", [Part("thinking", _flat(item.get("summary") or item.get("content")))])
    if "content" not in item and "tool_calls" not in item:
        return Turn(role or "user", [Part("json", _text(item))])
    return Turn(_text(item.get("role") or role or "user"), _message_parts(item))


def _message_parts(message: dict[str, Any]) -> list[Part]:
    """The parts of a chat message, in the order in which they were thought, said and called."""
    parts = []
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        parts.append(Part("thinking", thoughts))
    if message.get("role") == "tool":
        parts.append(
            Part("tool_result", _flat(message.get("content")), "", _text(message.get("tool_call_id", "")))
        )
    elif message.get("content"):
        parts.extend(_parts(message["content"]))
    if message.get("refusal"):
        parts.append(Part("note", _text(message["refusal"]), "refused"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") or call.get("custom") if isinstance(call, dict) else None
        if isinstance(function, dict):
            text = _indented(function.get("arguments", function.get("input", "")))
            parts.append(Part("tool_call", text, _text(function.get("name", "")), _text(call.get("id", ""))))
        else:
            parts.append(Part("json", _text(call)))
    return parts


def _parts(content: Any) -> list[Part]:
    """The parts of a message's content: a text, or a list of typed blocks."""
    if isinstance(content, str):
        return [Part("text", content)]
    if not isinstance(content, list):
        return [] if content is None else [Part("json", _text(content))]
    return [_part(block) for block in content]


def _part(block: Any) -> Part:
    """One typed block of Chat, Messages or Responses."""
    if isinstance(block, str):
        return Part("text", block)
    if not isinstance(block, dict):
        return Part("json", _text(block))
    kind = block.get("type")
    reader = _BLOCKS.get(kind) if isinstance(kind, str) else None
    return reader(block) if reader else Part("json", _text(block))


def _image(block: dict[str, Any]) -> Part:
    """An image: a data address with its contents, or an address elsewhere, which is never fetched."""
    source = block.get("source")
    if isinstance(source, dict):
        if source.get("type") == "base64":
            return Part("image", f"data:{source.get('media_type', '')};base64,{source.get('data', '')}")
        return Part("image", _text(source.get("url", source.get("file_id", ""))))
    address = block.get("image_url", "")
    if isinstance(address, dict):
        address = address.get("url", "")
    return Part("image", _text(address or block.get("file_id", "")))


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
    return Part("note", _text(name), _text(block.get("type", "file")).removeprefix("input_"))


_BLOCKS: dict[str, Callable[[dict[str, Any]], Part]] = {
    "text": lambda block: Part("text", _text(block.get("text", ""))),
    "input_text": lambda block: Part("text", _text(block.get("text", ""))),
    "output_text": lambda block: Part("text", _text(block.get("text", ""))),
    "refusal": lambda block: Part("note", _text(block.get("refusal", "")), "refused"),
    "thinking": lambda block: Part("thinking", _text(block.get("thinking", ""))),
    "redacted_thinking": lambda _: Part("thinking", "(hidden by the provider)"),
    "tool_use": lambda block: Part(
        "tool_call", _indented(block.get("input")), _text(block.get("name", "")), _text(block.get("id", ""))
    ),
    "tool_result": lambda block: Part(
        "tool_result",
        _flat(block.get("content")),
        "failed" if block.get("is_error") else "",
        _text(block.get("tool_use_id", "")),
    ),
    "image": _image,
    "image_url": _image,
    "input_image": _image,
    "file": _attachment,
    "input_file": _attachment,
    "document": _attachment,
    "input_audio": _attachment,
}


def _choice(choice: Any) -> Turn:
    """One choice of a chat answer or of a plain completion."""
    if not isinstance(choice, dict):
        return Turn("assistant", [Part("json", _text(choice))])
    message = choice.get("message")
    if isinstance(message, dict):
        return Turn("assistant", _message_parts(message))
    return Turn("assistant", [Part("text", _text(choice.get("text", "")))])


def _tools(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and description of each tool that was offered."""
    offered = document.get("tools") or document.get("functions")
    tools = []
    for tool in offered if isinstance(offered, list) else []:
        if isinstance(tool, dict):
            inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
            tools.append(
                (_text(inner.get("name", inner.get("type", "tool"))), _text(inner.get("description", "")))
            )
    return tools


def _error(error: Any) -> Part:
    """An error in its own words."""
    if isinstance(error, dict):
        return Part(
            "note",
            _text(error.get("message", error)),
            _text(error.get("code") or error.get("type") or "error"),
        )
    return Part("note", _text(error), "error")


def _vectors(data: list[Any]) -> str:
    """How many vectors of how many dimensions; their numbers are nothing to read."""
    first = data[0].get("embedding") if data and isinstance(data[0], dict) else None
    dimensions = f" of {len(first)} dimensions" if isinstance(first, list) else ""
    return f"{len(data)} vector{'s' if len(data) != 1 else ''}{dimensions}"


def _flat(content: Any) -> str:
    """Content as one text: what a tool gave back, a summary of reasoning."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part.text if part.kind != "image" else "(image)" for part in map(_flat_part, content)
        )
    return "" if content is None else _text(content)


def _flat_part(block: Any) -> Part:
    """Like `_part`, but any block with a text is a text."""
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return Part("text", block["text"])
    return _part(block)


def _indented(arguments: Any) -> str:
    """A tool's arguments for reading; models also write broken JSON, which is shown as it is."""
    text = arguments if isinstance(arguments, str) else _text(arguments)
    return pretty(text.encode("utf-8", "replace")) if text else ""


def _plain(value: Any) -> str:
    """A setting in one line."""
    text = _text(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - two lines of a narrow column


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _JSON.encode(value).decode("utf-8", "replace")
