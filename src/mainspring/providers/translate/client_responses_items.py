"""The input items of a Responses request as chat messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.providers.translate.carry import restore_call, restore_reasoning, unseal
from mainspring.providers.translate.documents import a_list, a_text, an_object, refuse

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_KEEP_STATE = "Send the earlier items themselves in `input`; this provider keeps no state between requests."


def chat_messages(items: Any) -> list[Document]:
    """Input items as messages. Calls and reasoning join the assistant's message that they belong to.

    Raises:
        InvalidRequest: an item is malformed, or of a kind that chat has no place for.
    """
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[Document] = []
    signed: Document = {}
    for index, raw in enumerate(a_list(items, "input")):
        where = f"input[{index}]"
        item = an_object(raw, where)
        match item.get("type", "message"):
            case "message":
                _message(messages, item, where)
            case "function_call":
                _assistant(messages, joins="tool_calls")["tool_calls"].append(_call(item, where) | signed)
                signed = {}
            case "function_call_output":
                messages += _output(item, where)
            case "reasoning":
                carried = unseal(item.get("encrypted_content")) or {}
                _reasoning(messages, item, carried)
                signed = restore_call(carried) or signed
            case "item_reference":
                raise refuse(
                    f"{where}.type", "is item_reference, but nothing was stored to refer to", _KEEP_STATE
                )
            case _:
                raise refuse(
                    f"{where}.type", "must be message, function_call, function_call_output or reasoning"
                )
    return [_finished(message) for message in messages]


def _finished(message: Document) -> Document:
    """A message without the empty lists that were there to be added to."""
    if message.get("tool_calls") == []:
        del message["tool_calls"]
    return message


def _assistant(messages: list[Document], *, joins: str) -> Document:
    """The assistant's message that is being put together: the last one, unless it has gone past what comes now."""
    order = ("reasoning", "content", "tool_calls")
    if messages and messages[-1]["role"] == "assistant":
        last = messages[-1]
        after = order[order.index(joins) + 1 :]
        if not any(last.get(name) for name in after) and (joins == "tool_calls" or not last.get("content")):
            return last
    messages.append({"role": "assistant", "content": None, "tool_calls": []})
    return messages[-1]


def _message(messages: list[Document], item: Document, where: str) -> None:
    role = _ROLES.get(a_text(item.get("role"), f"{where}.role"))
    if role is None:
        raise refuse(f"{where}.role", "must be user, assistant, system or developer")
    content = _content(item.get("content"), f"{where}.content", assistant=role == "assistant")
    if role == "assistant":
        _assistant(messages, joins="content")["content"] = content
    else:
        messages.append({"role": role, "content": content})


def _content(content: Any, where: str, *, assistant: bool) -> Any:
    if isinstance(content, str):
        return content
    parts = [
        _part(an_object(raw, f"{where}[{index}]"), f"{where}[{index}]")
        for index, raw in enumerate(a_list(content, where))
    ]
    if assistant or (len(parts) == 1 and parts[0].keys() == {"type", "text"}):
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
    return parts


def _part(part: Document, where: str) -> Document:
    mark = (
        {"prompt_cache_breakpoint": part["prompt_cache_breakpoint"]}
        if part.get("prompt_cache_breakpoint")
        else {}
    )
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": a_text(part.get("text"), f"{where}.text"), **mark}
        case "refusal":
            return {"type": "refusal", "refusal": a_text(part.get("refusal"), f"{where}.refusal")}
        case "input_image":
            if part.get("image_url") is None:
                raise refuse(
                    f"{where}.file_id", "names an image that this provider does not hold", "Send image_url."
                )
            image: Document = {"url": a_text(part["image_url"], f"{where}.image_url")}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image, **mark}
        case "input_file":
            return {"type": "file", "file": _file(part, where), **mark}
        case _:
            raise refuse(
                f"{where}.type", "must be input_text, input_image, input_file, output_text or refusal"
            )


def _file(part: Document, where: str) -> Document:
    file = {name: part[name] for name in ("file_id", "file_data", "filename") if part.get(name) is not None}
    if part.get("file_url") is not None:
        file["file_data"] = a_text(part["file_url"], f"{where}.file_url")
    if "file_id" not in file and "file_data" not in file:
        raise refuse(where, "must hold file_data, file_url or file_id")
    return file


def _call(item: Document, where: str) -> Document:
    name = a_text(item.get("name"), f"{where}.name")
    arguments = a_text(item.get("arguments"), f"{where}.arguments")
    call_id = a_text(item.get("call_id"), f"{where}.call_id")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _output(item: Document, where: str) -> list[Document]:
    """A tool message; images and files of the output follow as the user's, since a tool message holds only text."""
    call_id = a_text(item.get("call_id"), f"{where}.call_id")
    content = _content(item.get("output"), f"{where}.output", assistant=False)
    if isinstance(content, str):
        return [{"role": "tool", "tool_call_id": call_id, "content": content}]
    texts = [part["text"] for part in content if part["type"] == "text"]
    others = [part for part in content if part["type"] != "text"]
    text = "\n".join(texts) if texts or not others else "(the result follows in the next message)"
    result: list[Document] = [{"role": "tool", "tool_call_id": call_id, "content": text}]
    if others:
        heading = {"type": "text", "text": f"Result of tool call {call_id}:"}
        result.append({"role": "user", "content": [heading, *others]})
    return result


def _reasoning(messages: list[Document], item: Document, carried: Document) -> None:
    """Give reasoning back to the provider that said it; what another one sealed means nothing here."""
    summary = item.get("summary")
    parts = [part for part in summary if isinstance(part, dict)] if isinstance(summary, list) else []
    fields = restore_reasoning(carried, "".join(str(part.get("text") or "") for part in parts))
    if isinstance(carried.get("thinking_blocks"), list):
        fields["thinking_blocks"] = carried["thinking_blocks"]
    last = messages[-1] if messages else {"role": None}
    if "provider_specific_fields" in carried:
        # A stream seals them at its end, when the message that they belong to is complete.
        target = last if last["role"] == "assistant" else _assistant(messages, joins="reasoning")
        target["provider_specific_fields"] = carried["provider_specific_fields"]
    if not fields:
        return
    message = _assistant(messages, joins="reasoning")
    for name, value in fields.items():
        message[name] = message[name] + value if isinstance(message.get(name), type(value)) else value
