"""Anthropic's system prompt and turns as the messages of a chat request."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.translate.carry import restore_call, restore_reasoning, unseal
from mainspring.providers.translate.documents import a_list, a_text, an_object, refuse

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

#: OpenAI's limit for the name of a function; Anthropic's is 128.
_LONGEST_NAME = 64


def short_name(name: str) -> str:
    """A tool's name within OpenAI's limit: a long one is cut and told apart by a digest."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:55]}_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def system_message(system: Any) -> list[Document]:
    """The system prompt as one message; none if there is nothing in it."""
    if system is None:
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}] if system else []
    texts = [
        _text(an_object(block, f"system[{i}]"), f"system[{i}]")
        for i, block in enumerate(a_list(system, "system"))
    ]
    if len(texts) == 1:
        return [{"role": "system", "content": texts[0]}]
    return (
        [{"role": "system", "content": [{"type": "text", "text": text} for text in texts]}] if texts else []
    )


def chat_messages(turns: list[Any]) -> list[Document]:
    """Turns as chat messages; a turn with tool results becomes several.

    Raises:
        InvalidRequest: a turn is malformed, or holds what chat has no place for.
    """
    messages: list[Document] = []
    for index, raw in enumerate(turns):
        where = f"messages[{index}]"
        turn = an_object(raw, where)
        content = turn.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        blocks = a_list(blocks, f"{where}.content")
        match turn.get("role"):
            case "user":
                messages += _user(blocks, f"{where}.content")
            case "assistant":
                messages.append(_assistant(blocks, f"{where}.content"))
            case "system":
                messages += system_message(content)
            case _:
                raise refuse(f"{where}.role", "must be user, assistant or system")
    return messages


def _user(blocks: list[Any], where: str) -> list[Document]:
    results: list[Document] = []
    parts: list[Document] = []
    for index, raw in enumerate(blocks):
        path = f"{where}[{index}]"
        block = an_object(raw, path)
        if block.get("type") == "tool_result":
            message, images = _tool_message(block, path)
            results.append(message)
            parts += images
        else:
            parts.append(_part(block, path))
    if not parts:
        return results
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if plain else parts}]


def _tool_message(block: Document, where: str) -> tuple[Document, list[Document]]:
    """A tool result, and the images and files in it: a tool message of chat holds text only, so those follow after."""
    content = block.get("content")
    content = [] if content is None else content
    blocks = (
        [{"type": "text", "text": content}]
        if isinstance(content, str)
        else a_list(content, f"{where}.content")
    )
    texts, others = [], []
    for index, raw in enumerate(blocks):
        path = f"{where}.content[{index}]"
        inner = an_object(raw, path)
        if inner.get("type") == "tool_reference":
            texts.append(a_text(inner.get("tool_name"), f"{path}.tool_name"))
            continue
        part = _part(inner, path)
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            others.append(part)
    name = a_text(block.get("tool_use_id"), f"{where}.tool_use_id")
    text = "\n".join(texts) if texts or not others else "(the result follows in the next message)"
    if block.get("is_error") is True and not text.lower().startswith("error"):
        text = f"Error: {text}"
    if others:
        others.insert(0, {"type": "text", "text": f"Result of tool call {name}:"})
    return {"role": "tool", "tool_call_id": name, "content": text}, others


def _assistant(blocks: list[Any], where: str) -> Document:
    texts: list[str] = []
    calls: list[Document] = []
    reasoning: Document = {}
    signed: Document = {}
    for index, raw in enumerate(blocks):
        path = f"{where}[{index}]"
        block = an_object(raw, path)
        match block.get("type"):
            case "text":
                texts.append(a_text(block.get("text"), f"{path}.text"))
            case "tool_use":
                calls.append(_call(block, path) | signed)
                signed = {}
            case "thinking":
                # Another model's signed thinking means nothing to this provider; its own is given back to it.
                carried = unseal(block.get("signature")) or {}
                reasoning |= restore_reasoning(carried, str(block.get("thinking") or ""))
                signed = restore_call(carried) or signed
            case "redacted_thinking":
                pass
            case "server_tool_use" | "mcp_tool_use":
                pass  # what the server's tool was asked; what it found is said below
            case str(kind) if kind.endswith("_tool_result"):
                texts.append(_found(block))
            case _:
                raise refuse(f"{path}.type", "must be text, tool_use or thinking")
    message: Document = {"role": "assistant", "content": "".join(texts) or None, **reasoning}
    return {**message, "tool_calls": calls} if calls else message


def _call(block: Document, where: str) -> Document:
    name = short_name(a_text(block.get("name"), f"{where}.name"))
    arguments = msgspec.json.encode(an_object(block.get("input") or {}, f"{where}.input")).decode()
    function = {"name": name, "arguments": arguments}
    return {"id": a_text(block.get("id"), f"{where}.id"), "type": "function", "function": function}


def _found(block: Document) -> str:
    """What a tool of Anthropic's servers found, as text: the titles and addresses of its pages."""
    content = block.get("content")
    pages = [page for page in content if isinstance(page, dict)] if isinstance(content, list) else []
    lines = [
        f"- {page.get('title') or ''} {page.get('url') or ''}".rstrip() for page in pages if page.get("url")
    ]
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _text(block: Document, where: str) -> str:
    if block.get("type", "text") != "text":
        raise refuse(f"{where}.type", "must be text")
    return a_text(block.get("text"), f"{where}.text")


def _part(block: Document, where: str) -> Document:
    match block.get("type"):
        case "text":
            return {"type": "text", "text": a_text(block.get("text"), f"{where}.text")}
        case "image":
            return {"type": "image_url", "image_url": {"url": _address(block, where)}}
        case "document":
            return _document(block, where)
        case "search_result":
            content = a_list(block.get("content"), f"{where}.content")
            texts = [
                _text(an_object(part, f"{where}.content[{i}]"), f"{where}.content[{i}]")
                for i, part in enumerate(content)
            ]
            title, source = block.get("title") or "", block.get("source") or ""
            return {"type": "text", "text": "\n".join([f"{title} ({source})", *texts])}
        case _:
            raise refuse(f"{where}.type", "must be text, image, document, search_result or tool_result")


def _address(block: Document, where: str) -> str:
    source = an_object(block.get("source"), f"{where}.source")
    if source.get("type") == "url":
        return a_text(source.get("url"), f"{where}.source.url")
    if source.get("type") == "base64":
        kind = a_text(source.get("media_type"), f"{where}.source.media_type")
        return f"data:{kind};base64,{a_text(source.get('data'), f'{where}.source.data')}"
    raise refuse(f"{where}.source.type", "must be base64 or url", "Uploaded files exist at Anthropic only.")


def _document(block: Document, where: str) -> Document:
    source = an_object(block.get("source"), f"{where}.source")
    title = block.get("title")
    heading = f"{title}\n\n" if isinstance(title, str) and title else ""
    match source.get("type"):
        case "text":
            return {"type": "text", "text": heading + a_text(source.get("data"), f"{where}.source.data")}
        case "content":
            content = source.get("content")
            if isinstance(content, str):
                return {"type": "text", "text": heading + content}
            blocks = a_list(content, f"{where}.source.content")
            texts = [
                _text(an_object(part, f"{where}.source.content[{i}]"), f"{where}.source.content[{i}]")
                for i, part in enumerate(blocks)
            ]
            return {"type": "text", "text": heading + "\n".join(texts)}
        case "base64":
            name = title if isinstance(title, str) and title else "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": _address(block, where)}}
        case "file":
            return {
                "type": "file",
                "file": {"file_id": a_text(source.get("file_id"), f"{where}.source.file_id")},
            }
        case _:
            raise refuse(
                f"{where}.source.type",
                "must be base64, text, content or file: chat takes no document by address",
            )
