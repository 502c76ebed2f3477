"""The conversation of a chat request as Anthropic's system prompt and turns."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.translate.carry import carried_content, thinking_blocks
from mainspring.providers.translate.documents import a_list, a_text, an_object, refuse

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_TOOL_ID = re.compile(r"[A-Za-z0-9_-]+")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
#: Names of media types that people use, and Anthropic does not know.
_MEDIA_TYPES = {
    "": "application/octet-stream",
    "image/jpg": "image/jpeg",
    "application/x-pdf": "application/pdf",
}
_DOCUMENT_TYPES = {".pdf": "application/pdf", ".txt": "text/plain", ".md": "text/plain", ".csv": "text/plain"}


def turns(messages: list[Any]) -> tuple[list[Document], list[Document]]:
    """System blocks and turns. System messages are hoisted to the front, as Anthropic's own OpenAI endpoint does.

    Raises:
        InvalidRequest: a message is malformed, or holds what Anthropic has no place for.
    """
    system: list[Document] = []
    result: list[Document] = []
    functions: Counter[str] = Counter()
    for index, raw in enumerate(messages):
        where = f"messages[{index}]"
        message = an_object(raw, where)
        role = message.get("role")
        if role in ("system", "developer"):
            system += _blocks(message.get("content"), f"{where}.content", message)
        elif role == "user":
            _append(result, "user", _blocks(message.get("content"), f"{where}.content", message))
        elif role == "assistant":
            _append(result, "assistant", _assistant(message, where, functions))
        elif role in ("tool", "function"):
            _append(result, "user", [_tool_result(message, where, functions)])
        else:
            raise refuse(f"{where}.role", "must be system, developer, user, assistant or tool")
    if not result and system:  # Anthropic wants a turn to answer to
        return [], [{"role": "user", "content": system}]
    if result and result[-1]["role"] == "assistant":
        _strip_end(result[-1]["content"])
    return system, result


def has_thinking(turns: list[Document]) -> bool:
    """Whether the last assistant turn may go on under a thinking budget: one that called tools must show its thinking."""
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            kinds = {block.get("type") for block in turn["content"]}
            return "tool_use" not in kinds or bool(kinds & {"thinking", "redacted_thinking"})
    return True


def tool_id(name: str) -> str:
    """A tool call's id in the letters that Anthropic allows. Ids that need no change keep their name."""
    if _TOOL_ID.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40] + "_" + digest


def arguments(text: str) -> Document:
    """The arguments of a call as an object. What a model wrote that is no JSON object is kept as text."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def cache_mark(part: Document) -> Document:
    """The prompt-cache mark of a part, under either protocol's name, as fields of a block."""
    if isinstance(part.get("cache_control"), dict):
        return {"cache_control": part["cache_control"]}
    mark = part.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict):
        return {}
    hour = {"ttl": "1h"} if mark.get("ttl") == "12h" else {}
    return {"cache_control": {"type": "ephemeral", **hour}}


def _append(turns: list[Document], role: str, blocks: list[Document]) -> None:
    """Add a turn; one of the same role as the last is joined to it, so that all tool results stand in one turn."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _assistant(message: Document, where: str, functions: Counter[str]) -> list[Document]:
    carried = carried_content(message)
    if carried is not None:
        return list(carried)
    if message.get("audio") is not None:
        raise refuse(
            f"{where}.audio", "refers to audio that only OpenAI holds", "Send the transcript as content."
        )
    blocks = [*thinking_blocks(message), *_blocks(message.get("content"), f"{where}.content", message)]
    if isinstance(message.get("refusal"), str) and message["refusal"].strip():
        blocks.append({"type": "text", "text": message["refusal"]})
    for index, raw in enumerate(a_list(message.get("tool_calls") or [], f"{where}.tool_calls")):
        blocks.append(
            _tool_use(an_object(raw, f"{where}.tool_calls[{index}]"), f"{where}.tool_calls[{index}]")
        )
    call = message.get("function_call")
    if call is not None:
        function = an_object(call, f"{where}.function_call")
        name = a_text(function.get("name"), f"{where}.function_call.name")
        text = a_text(function.get("arguments") or "", f"{where}.function_call.arguments")
        functions[name] += 1
        call_id = _function_id(name, functions)
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": arguments(text)})
    return blocks


def _function_id(name: str, functions: Counter[str]) -> str:
    """An id for a call of the old form, which has none: the name and how often it has been called by now."""
    return tool_id(f"call_{name}_{functions[name]}")


def _tool_use(call: Document, where: str) -> Document:
    if call.get("type", "function") != "function":
        raise refuse(f"{where}.type", "must be function: Anthropic has no custom tools with free text")
    function = an_object(call.get("function"), f"{where}.function")
    text = function.get("arguments") or ""
    return {
        "type": "tool_use",
        "id": tool_id(a_text(call.get("id"), f"{where}.id")),
        "name": a_text(function.get("name"), f"{where}.function.name"),
        "input": text if isinstance(text, dict) else arguments(a_text(text, f"{where}.function.arguments")),
        **cache_mark(call),
    }


def _tool_result(message: Document, where: str, functions: Counter[str]) -> Document:
    if message.get("role") == "function":
        name = _function_id(a_text(message.get("name"), f"{where}.name"), functions)
    else:
        name = a_text(message.get("tool_call_id"), f"{where}.tool_call_id")
    content = message.get("content")
    result: Document = {"type": "tool_result", "tool_use_id": tool_id(name), **cache_mark(message)}
    if isinstance(content, str):
        result["content"] = content
    elif content is not None:
        result["content"] = _blocks(content, f"{where}.content", {})
    if message.get("is_error") is True:
        result["is_error"] = True
    return result


def _blocks(content: Any, where: str, message: Document) -> list[Document]:
    """Content as blocks. Blank text is left out: Anthropic refuses it and it says nothing."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content, **cache_mark(message)}] if content.strip() else []
    blocks = []
    for index, raw in enumerate(a_list(content, where)):
        path = f"{where}[{index}]"
        part = an_object(raw, path)
        block = _block(part, path)
        if block is not None:
            blocks.append(block | cache_mark(part))
    if blocks and "cache_control" not in blocks[-1]:
        blocks[-1].update(cache_mark(message))
    return blocks


def _block(part: Document, where: str) -> Document | None:
    match part.get("type"):
        case "text":
            text = a_text(part.get("text"), f"{where}.text")
            return {"type": "text", "text": text} if text.strip() else None
        case "refusal":
            text = a_text(part.get("refusal"), f"{where}.refusal")
            return {"type": "text", "text": text} if text.strip() else None
        case "image_url":
            return _image(part, where)
        case "file":
            return _file(an_object(part.get("file"), f"{where}.file"), f"{where}.file")
        case "input_audio":
            raise refuse(
                f"{where}.type", "is input_audio, which Anthropic's models cannot hear", "Send a transcript."
            )
        case "image" | "document" | "search_result" | "container_upload":
            return {key: value for key, value in part.items() if key != "prompt_cache_breakpoint"}
        case _:
            raise refuse(f"{where}.type", "must be text, image_url, file or refusal")


def _image(part: Document, where: str) -> Document:
    image = part.get("image_url")
    url = image if isinstance(image, str) else an_object(image, f"{where}.image_url").get("url")
    url = a_text(url, f"{where}.image_url.url")
    return {"type": "image", "source": _source(url, f"{where}.image_url.url")}


def _source(url: str, where: str) -> Document:
    """Where bytes come from: a `data:` URL is unpacked, a web address is left to Anthropic to fetch."""
    match = _DATA_URL.match(url)
    if match is None:
        if url.lower().startswith(("https://", "http://")):
            return {"type": "url", "url": url}
        raise refuse(where, "must be a web address or a base64 data URL")
    if ";base64" not in match[2].lower():
        raise refuse(where, "is a data URL that is not in base64", "Encode the data as base64.")
    kind = match[1].lower()
    return {
        "type": "base64",
        "media_type": _MEDIA_TYPES.get(kind, kind),
        "data": url[match.end() :],
    }


def _file(file: Document, where: str) -> Document:
    name = file.get("filename")
    title = {"title": name} if isinstance(name, str) and name else {}
    if file.get("file_id") is not None:
        source: Document = {"type": "file", "file_id": a_text(file["file_id"], f"{where}.file_id")}
        return {"type": "document", "source": source, **title}
    data = a_text(file.get("file_data"), f"{where}.file_data")
    if data.lower().startswith(("data:", "http://", "https://")):
        source = _source(data, f"{where}.file_data")
    else:
        kind = next((kind for end, kind in _DOCUMENT_TYPES.items() if str(name).lower().endswith(end)), None)
        source = {"type": "base64", "media_type": kind or "application/pdf", "data": data}
    media_type = str(source.get("media_type", "application/pdf"))
    if media_type.startswith("image/"):
        return {"type": "image", "source": source}
    if media_type.startswith("text/"):
        source = {
            "type": "text",
            "media_type": "text/plain",
            "data": _plain(source["data"], f"{where}.file_data"),
        }
    elif media_type != "application/pdf":
        raise refuse(f"{where}.file_data", f"is {media_type}; Anthropic reads PDF, text and images")
    return {"type": "document", "source": source, **title}


def _plain(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        raise refuse(where, "must be UTF-8 text in base64") from error


def _strip_end(blocks: list[Document]) -> None:
    """Anthropic refuses a prefilled answer that ends in white space."""
    if blocks[-1].get("type") == "text":
        blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"].rstrip()}
