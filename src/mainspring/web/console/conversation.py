"""What was asked and answered, as a conversation that a page can show.

Reads requests and whole answers of every dialect that the ledger holds; how a single message is read is in `blocks`.
Streams are put together first, in `assembly`. Like there, nothing here raises, whatever the payload holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.web.console.blocks import Part, Turn, as_text, decode, read_message, read_parts, read_turn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Conversation(msgspec.Struct):
    """A request or an answer: its messages, its plain settings, its tools, and how many messages were left out."""

    turns: list[Turn]
    settings: list[tuple[str, str]] = []
    tools: list[tuple[str, str]] = []
    skipped: int = 0


#: Fields of requests that are shown as messages or tools, not as settings.
_SPOKEN = {"messages", "input", "prompt", "system", "instructions", "tools", "functions", "model", "stream"}


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
        turns = [read_turn(item, "assistant") for item in lists["output"]]
    elif "data" in lists:
        turns = [Turn("embedding", [Part("note", _vectors(lists["data"]), "vectors")])]
    elif "content" in document:
        turns = [Turn("assistant", read_parts(document["content"]))]
    else:
        turns = [Turn("assistant", [Part("json", as_text(document))])]
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
        return [Turn(role or "user", [Part("json", as_text(value))])]
    if all(isinstance(item, str) for item in value):
        return [Turn(role or "user", [Part("text", item)]) for item in value]
    if role == "system":
        return [Turn("system", read_parts(value))]
    return [read_turn(item, role) for item in value]


def _choice(choice: Any) -> Turn:
    """One choice of a chat answer or of a plain completion."""
    if not isinstance(choice, dict):
        return Turn("assistant", [Part("json", as_text(choice))])
    message = choice.get("message")
    if isinstance(message, dict):
        return Turn("assistant", read_message(message))
    return Turn("assistant", [Part("text", as_text(choice.get("text", "")))])


def _tools(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and description of each tool that was offered."""
    offered = document.get("tools") or document.get("functions")
    tools = []
    for tool in offered if isinstance(offered, list) else []:
        if isinstance(tool, dict):
            inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
            tools.append(
                (as_text(inner.get("name", inner.get("type", "tool"))), as_text(inner.get("description", "")))
            )
    return tools


def _error(error: Any) -> Part:
    """An error in its own words."""
    if isinstance(error, dict):
        return Part(
            "note",
            as_text(error.get("message", error)),
            as_text(error.get("code") or error.get("type") or "error"),
        )
    return Part("note", as_text(error), "error")


def _vectors(data: list[Any]) -> str:
    """How many vectors of how many dimensions; their numbers are nothing to read."""
    first = data[0].get("embedding") if data and isinstance(data[0], dict) else None
    dimensions = f" of {len(first)} dimensions" if isinstance(first, list) else ""
    return f"{len(data)} vector{'s' if len(data) != 1 else ''}{dimensions}"


def _plain(value: Any) -> str:
    """A setting in one line."""
    text = as_text(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - two lines of a narrow column
