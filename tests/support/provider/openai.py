"""The answer in OpenAI's words: chat, completions, responses; whole and as events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.provider.answers import CREATED, Answer, Event, call_id, dumps, embedding, pieces

if TYPE_CHECKING:
    from tests.support.provider.behaviour import Behaviour

#: A field that no client library knows; it must survive on its way.
UNKNOWN = {"x_unknown": {"nested": [1, 2.50, "\u00fc"]}}


def whole(path: str, answer: Answer, document: dict[str, Any], behaviour: Behaviour) -> bytes:
    """The body of an answer that does not stream."""
    if path.endswith("/embeddings"):
        body = embedding(answer, document)
    elif path.endswith("/responses"):
        body = response_object(answer, document, "completed")
    elif path.endswith("/chat/completions"):
        body = _envelope(answer, "chat.completion", "chatcmpl-test")
        body["choices"] = [
            {"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": answer.finish}
        ]
        body["usage"] = usage(answer)
    else:
        body = _envelope(answer, "text_completion", "cmpl-test")
        body["choices"] = [
            {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": answer.finish}
        ]
        body["usage"] = usage(answer)
    if behaviour.usage == "none":
        body.pop("usage", None)
    if behaviour.unknown:
        body |= UNKNOWN
    return dumps(body)


def events(path: str, answer: Answer, document: dict[str, Any], behaviour: Behaviour) -> list[Event]:
    """The events of an answer that streams."""
    if path.endswith("/responses"):
        return _responses_events(answer, document)
    chat = path.endswith("/chat/completions")
    asked = bool((document.get("stream_options") or {}).get("include_usage")) and behaviour.usage != "none"
    base = _envelope(answer, "chat.completion.chunk" if chat else "text_completion", "chatcmpl-test")
    if asked:
        base["usage"] = None
    if behaviour.unknown:
        base |= UNKNOWN

    def chunk(delta: dict[str, Any] | str, finish: str | None = None, *, content: bool = True) -> Event:
        piece = {"delta": delta} if chat else {"text": delta}
        return _data(base | {"choices": [{"index": 0, **piece, "finish_reason": finish}]}, content=content)

    result: list[Event] = []
    if chat:
        result.append(chunk({"role": "assistant", "content": ""}, content=False))
        result += [chunk({"reasoning_content": word}) for word in pieces(answer.thinking)]
        result += [chunk({"content": word}) for word in answer.words]
        result += [chunk({"tool_calls": [delta]}) for delta in _tool_deltas(answer)]
        result.append(chunk({}, answer.finish, content=False))
    else:
        result += [chunk(word) for word in answer.words]
        result.append(chunk("", answer.finish, content=False))
    if asked:
        result.append(_data(base | {"choices": [], "usage": usage(answer)}))
    if behaviour.done != "no":
        result.append(Event(b"data: [DONE]\n\n"))
    return result


def error(status: int, behaviour: Behaviour) -> bytes:
    """The body of a refusal."""
    if behaviour.code == "context":
        message = "This model's maximum context length is 128000 tokens. However, your messages resulted in 210000 tokens."
        return _error(message, "invalid_request_error", "messages", "context_length_exceeded")
    kinds = {
        400: ("invalid_request_error", None),
        401: ("invalid_request_error", "invalid_api_key"),
        403: ("invalid_request_error", "permission_denied"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
        503: ("server_error", "overloaded"),
        529: ("server_error", "overloaded"),
    }
    kind, code = kinds.get(status, ("server_error", None))
    return _error(f"The test provider refuses with {status}.", kind, None, code)


def stream_error(path: str) -> Event:
    """An error inside a stream whose 200 has gone out."""
    if path.endswith("/responses"):
        message = "The server had an error."
        return _named("error", {"type": "error", "code": "server_error", "message": message, "param": None})
    return Event(
        b"data: " + _error("The server had an error.", "server_error", None, "server_error") + b"\n\n"
    )


def usage(answer: Answer) -> dict[str, Any]:
    """OpenAI counts cached tokens inside the prompt and reasoning inside the completion."""
    prompt, completion = answer.input + answer.cached + answer.written, answer.output + answer.reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning, "audio_tokens": 0},
    }


def models(names: list[str]) -> bytes:
    """The body of `/v1/models`."""
    items = [{"id": name, "object": "model", "created": CREATED, "owned_by": "test"} for name in names]
    return dumps({"object": "list", "data": items})


def _error(message: str, kind: str, param: str | None, code: str | None) -> bytes:
    return dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _envelope(answer: Answer, kind: str, identity: str) -> dict[str, Any]:
    head = {"id": identity, "object": kind, "created": CREATED, "model": answer.model}
    return head | {"system_fingerprint": "fp_test", "service_tier": "default"}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call_id(i, anthropic=False),
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for i, (name, arguments) in enumerate(answer.calls)
        ]
    return message


def _tool_deltas(answer: Answer) -> list[dict[str, Any]]:
    """Names and ids once per index, then the arguments in pieces, the calls taking turns."""
    heads: list[dict[str, Any]] = []
    pieces: list[tuple[int, int, str]] = []
    for index, (name, arguments) in enumerate(answer.calls):
        function = {"name": name, "arguments": ""}
        heads.append(
            {"index": index, "id": call_id(index, anthropic=False), "type": "function", "function": function}
        )
        pieces += [(start, index, arguments[start : start + 5]) for start in range(0, len(arguments), 5)]
    return heads + [{"index": index, "function": {"arguments": text}} for _, index, text in sorted(pieces)]


def _data(document: dict[str, Any], *, content: bool = False) -> Event:
    return Event(b"data: " + dumps(document) + b"\n\n", content)


def _named(name: str, document: dict[str, Any], *, content: bool = False) -> Event:
    return Event(b"event: " + name.encode() + b"\ndata: " + dumps(document) + b"\n\n", content)


def response_object(answer: Answer, document: dict[str, Any], status: str) -> dict[str, Any]:
    """The object of the Responses API; its output is empty while it is in progress."""
    done = status == "completed"
    output: list[dict[str, Any]] = []
    if done and answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        output.append({"type": "reasoning", "id": "rs_test", "summary": summary})
    if done and answer.text:
        output.append(_response_message(answer.text, "completed"))
    if done:
        output += [_response_call(i, *call, "completed") for i, call in enumerate(answer.calls)]
    prompt, completion = answer.input + answer.cached, answer.output + answer.reasoning
    return {
        "id": "resp_test",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": document.get("instructions"),
        "max_output_tokens": document.get("max_output_tokens"),
        "metadata": document.get("metadata") or {},
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": document.get("tool_choice", "auto"),
        "tools": document.get("tools", []),
        "top_p": 1.0,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": answer.cached},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning},
            "total_tokens": prompt + completion,
        }
        if done
        else None,
    }


def _response_message(text: str | None, status: str) -> dict[str, Any]:
    content = (
        [] if text is None else [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    )
    return {"type": "message", "id": "msg_test", "status": status, "role": "assistant", "content": content}


def _response_call(index: int, name: str, arguments: str, status: str) -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{index}", "call_id": call_id(index, anthropic=False)}
    return head | {"name": name, "arguments": arguments, "status": status}


def _responses_events(answer: Answer, document: dict[str, Any]) -> list[Event]:
    number = 0
    result: list[Event] = []

    def add(name: str, *, content: bool = False, **rest: Any) -> None:
        nonlocal number
        result.append(_named(name, {"type": name, "sequence_number": number, **rest}, content=content))
        number += 1

    add("response.created", response=response_object(answer, document, "in_progress"))
    add("response.in_progress", response=response_object(answer, document, "in_progress"))
    output = 0
    if answer.text:
        place: dict[str, Any] = {"item_id": "msg_test", "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        add("response.output_item.added", output_index=0, item=_response_message(None, "in_progress"))
        add("response.content_part.added", **place, part=part)
        for word in answer.words:
            add("response.output_text.delta", content=True, **place, delta=word, logprobs=[])
        add("response.output_text.done", **place, text=answer.text, logprobs=[])
        add("response.content_part.done", **place, part=part | {"text": answer.text})
        add("response.output_item.done", output_index=0, item=_response_message(answer.text, "completed"))
        output = 1
    for index, (name, arguments) in enumerate(answer.calls):
        place = {"item_id": f"fc_{index}", "output_index": output + index}
        opened, closed = (
            _response_call(index, name, text, status)
            for text, status in (("", "in_progress"), (arguments, "completed"))
        )
        add("response.output_item.added", output_index=output + index, item=opened)
        for start in range(0, len(arguments), 5):
            add(
                "response.function_call_arguments.delta",
                content=True,
                **place,
                delta=arguments[start : start + 5],
            )
        add("response.function_call_arguments.done", **place, arguments=arguments)
        add("response.output_item.done", output_index=output + index, item=closed)
    add("response.completed", response=response_object(answer, document, "completed"))
    return result
