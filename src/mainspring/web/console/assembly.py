"""A recorded stream put together into the whole answer that it spelt, so that both are read in the same way.

The bytes went to the caller and may end anywhere; what is there is used, and nothing raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.web.console.blocks import as_text, decode

if TYPE_CHECKING:
    from collections.abc import Iterator


def events(stream: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in the `data:` lines of a stream."""
    for line in stream.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data:") and isinstance(found := decode(line[5:].strip()), dict):
            yield found


def assemble(stream: bytes) -> dict[str, Any]:
    """The whole answer: a chat, completion, Responses or Messages document, or an error.

    An error after content is under `broken`, so that both can be shown.
    """
    seen = list(events(stream))
    error = next((event["error"] for event in seen if event.get("error")), None)
    if any(isinstance(event.get("choices"), list) for event in seen):
        whole = _chat(seen)
    elif any(str(event.get("type", "")).startswith("response.") for event in seen):
        whole = _responses(seen)
    elif any(event.get("type") == "message_start" for event in seen):
        whole = _messages(seen)
    else:
        return {"error": error} if error else {}
    if error:
        whole["broken"] = error
    return whole


def _chat(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Deltas of chat completions and texts of plain completions, by choice."""
    choices: dict[int, dict[str, Any]] = {}
    for event in seen:
        for choice in _objects(event.get("choices")):
            index = _index(choice, "index")
            whole = choices.setdefault(index, {"index": index})
            if isinstance(choice.get("text"), str):
                whole["text"] = whole.get("text", "") + choice["text"]
            if isinstance(choice.get("delta"), dict):
                _add_delta(whole.setdefault("message", {"role": "assistant"}), choice["delta"])
            if choice.get("finish_reason"):
                whole["finish_reason"] = choice["finish_reason"]
    return {"choices": [choices[index] for index in sorted(choices)]}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for field in ("content", "reasoning_content", "reasoning", "refusal"):
        if isinstance(delta.get(field), str):
            message[field] = message.get(field, "") + delta[field]
    for call in _objects(delta.get("tool_calls")):
        calls = message.setdefault("tool_calls", [])
        index = call.get("index", 0)
        place = next((one for one in calls if one["index"] == index), None)
        if place is None:
            place = {"index": index, "id": "", "function": {"name": "", "arguments": ""}}
            calls.append(place)
        place["id"] = call.get("id") or place["id"]
        function = call.get("function")
        if isinstance(function, dict):
            for field in ("name", "arguments"):
                place["function"][field] += as_text(function.get(field) or "")


def _responses(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer that the last event carries whole, or the items and texts that came before a cut."""
    for event in reversed(seen):
        response = event.get("response")
        if isinstance(response, dict) and (response.get("output") or response.get("error")):
            return dict(response)
    output: dict[int, Any] = {}
    texts: dict[int, str] = {}
    for event in seen:
        place = _index(event, "output_index")
        if event.get("type") == "response.output_item.done":
            output[place] = event.get("item")
        elif event.get("type") == "response.output_text.delta":
            texts[place] = texts.get(place, "") + as_text(event.get("delta", ""))
    spoken = [
        {"type": "message", "role": "assistant", "content": text}
        for i, text in texts.items()
        if i not in output
    ]
    return {"output": [*output.values(), *spoken]}


def _messages(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Content blocks of an Anthropic stream, by index."""
    blocks: dict[int, dict[str, Any]] = {}
    for event in seen:
        block, delta = event.get("content_block"), event.get("delta")
        if event.get("type") == "content_block_start" and isinstance(block, dict):
            blocks[_index(event, "index")] = dict(block)
        elif event.get("type") == "content_block_delta" and isinstance(delta, dict):
            whole = blocks.setdefault(_index(event, "index"), {"type": "text", "text": ""})
            for source, target in (("text", "text"), ("thinking", "thinking"), ("partial_json", "arguments")):
                if isinstance(delta.get(source), str):
                    whole[target] = str(whole.get(target, "")) + delta[source]
    for whole in blocks.values():
        if "arguments" in whole:
            spelt = whole.pop("arguments")
            whole["input"] = decode(spelt.encode()) or spelt
    return {"role": "assistant", "content": list(blocks.values())}


def _index(event: dict[str, Any], field: str) -> int:
    """The place that an event names."""
    index = event.get(field)
    return index if isinstance(index, int) else 0


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in what should be a list of them."""
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())
