"""The answer in Anthropic's words: messages, whole and as events, and token counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.provider.answers import SIGNATURE, TOOL_PREFIX, Answer, Event, call_id, dumps, pieces
from tests.support.provider.openai import UNKNOWN

if TYPE_CHECKING:
    from tests.support.provider.behaviour import Behaviour

_STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


def whole(answer: Answer, behaviour: Behaviour) -> bytes:
    """The body of `/v1/messages` without streaming."""
    body = _message(answer) | {
        "content": _blocks(answer),
        "stop_reason": _STOPS[answer.finish],
        "usage": usage(answer),
    }
    if behaviour.usage == "none":
        body.pop("usage")
    if behaviour.unknown:
        body |= UNKNOWN
    return dumps(body)


def events(answer: Answer, behaviour: Behaviour) -> list[Event]:
    """The named events of `/v1/messages`."""
    started = usage(answer) | {"output_tokens": 1}
    started.pop("output_tokens_details")
    extra = UNKNOWN if behaviour.unknown else {}
    head = _message(answer) | {"usage": started} | extra
    if behaviour.usage == "none":
        head.pop("usage")
    result = [_event("message_start", message=head), _event("ping")]
    for index, block in enumerate(_blocks(answer)):
        result += _block_events(index, block, answer)
    delta: dict[str, Any] = {"stop_reason": _STOPS[answer.finish], "stop_sequence": None}
    final: dict[str, Any] = {} if behaviour.usage == "none" else {"usage": usage(answer)}
    result.append(_event("message_delta", delta=delta, **final))
    result.append(_event("message_stop"))
    return result


def count(answer: Answer) -> bytes:
    """The body of `/v1/messages/count_tokens`."""
    return dumps({"input_tokens": answer.input})


def error(status: int, behaviour: Behaviour) -> bytes:
    """The body of a refusal."""
    if behaviour.code == "context":
        return _error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        529: "overloaded_error",
    }
    return _error(kinds.get(status, "api_error"), f"The test provider refuses with {status}.")


def stream_error() -> Event:
    """An error inside a stream whose 200 has gone out."""
    return Event(b"event: error\ndata: " + _error("overloaded_error", "Overloaded") + b"\n\n")


def usage(answer: Answer) -> dict[str, Any]:
    """Anthropic counts cache reads and writes outside the input, thinking inside the output."""
    return {
        "input_tokens": answer.input,
        "cache_creation_input_tokens": answer.written,
        "cache_read_input_tokens": answer.cached,
        "output_tokens": answer.output + answer.reasoning,
        "output_tokens_details": {"thinking_tokens": answer.reasoning},
        "service_tier": "standard",
    }


def models(names: list[str]) -> bytes:
    """The body of `/v1/models`."""
    items = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        for name in names
    ]
    return dumps({"data": items, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def _error(kind: str, message: str) -> bytes:
    return dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"})


def _message(answer: Answer) -> dict[str, Any]:
    head = {"id": "msg_test", "type": "message", "role": "assistant", "model": answer.model}
    return head | {"content": [], "stop_reason": None, "stop_sequence": None}


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": SIGNATURE})
    if answer.calls:
        blocks.append({"type": "text", "text": TOOL_PREFIX})
    elif answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for index, (name, arguments) in enumerate(answer.calls):
        head = {"type": "tool_use", "id": call_id(index, anthropic=True), "name": name}
        blocks.append(head | {"input": json.loads(arguments)})
    return blocks


def _block_events(index: int, block: dict[str, Any], answer: Answer) -> list[Event]:
    """Start, deltas and stop of one content block."""
    kind = block["type"]
    empties: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    result = [_event("content_block_start", index=index, content_block=block | empties[kind])]

    def delta(**change: str) -> None:
        result.append(_event("content_block_delta", content=True, index=index, delta=change))

    if kind == "thinking":
        for word in pieces(block["thinking"]):
            delta(type="thinking_delta", thinking=word)
        delta(type="signature_delta", signature=block["signature"])
    elif kind == "text":
        for word in answer.words if not answer.calls else [block["text"]]:
            delta(type="text_delta", text=word)
    else:
        arguments = json.dumps(block["input"], ensure_ascii=False)
        delta(type="input_json_delta", partial_json="")
        for start in range(0, len(arguments), 5):
            delta(type="input_json_delta", partial_json=arguments[start : start + 5])
    result.append(_event("content_block_stop", index=index))
    return result


def _event(name: str, *, content: bool = False, **rest: Any) -> Event:
    return Event(b"event: " + name.encode() + b"\ndata: " + dumps({"type": name, **rest}) + b"\n\n", content)
