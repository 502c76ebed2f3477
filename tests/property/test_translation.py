"""Translation keeps what matters, whatever the conversation, however the stream is cut, and whatever nonsense comes in."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.translation import BLOCKS, CHAT_STREAM, chunk, events, message_stream, stream, tool_delta

from mainspring.base.errors import InvalidRequest, ProviderProtocolError
from mainspring.providers.sse import EventSplitter, parse_events
from mainspring.providers.translate import Translation, translation
from mainspring.providers.types import Operation

#: A loaded machine may be slow; that says nothing about what is tested.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PAIRS = [
    (Operation.CHAT, Operation.MESSAGES),
    (Operation.MESSAGES, Operation.CHAT),
    (Operation.RESPONSES, Operation.CHAT),
    (Operation.RESPONSES, Operation.MESSAGES),
    (Operation.COMPLETIONS, Operation.CHAT),
    (Operation.COMPLETIONS, Operation.MESSAGES),
]


def _pair(client: Operation, provider: Operation) -> Translation:
    found = translation(client, provider)
    assert found is not None
    return found


TO_MESSAGES = _pair(Operation.CHAT, Operation.MESSAGES)
TO_CHAT = _pair(Operation.MESSAGES, Operation.CHAT)

_word = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8)
_name = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)
_id = st.from_regex(r"call_[a-zA-Z0-9]{4,12}", fullmatch=True)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _word,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_word, inner, max_size=3),
    max_leaves=6,
)
_object = st.dictionaries(_word, _json, max_size=4)
_image = st.sampled_from(
    ["https://x.test/a.png", "data:image/png;base64,iVBORw0KGgo=", "data:image/jpeg;base64,/9j/4A=="]
)
_part = st.one_of(
    _word.map(lambda text: {"type": "text", "text": text}),
    _image.map(lambda url: {"type": "image_url", "image_url": {"url": url}}),
)
_user = st.one_of(_word, st.lists(_part, min_size=2, max_size=4)).map(
    lambda content: {"role": "user", "content": content}
)
_schema = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(
            _name, st.sampled_from([{"type": "string"}, {"type": "integer"}]), max_size=3
        ),
        "additionalProperties": st.just(False),
    }
).map(lambda schema: {**schema, "required": list(schema["properties"])})


@st.composite
def _exchange(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A turn of the user, an answer that may call tools, and their results."""
    calls = draw(st.lists(st.tuples(_id, _name, _object), max_size=3, unique_by=lambda call: call[0]))
    text = draw(_word if not calls else st.none() | _word)
    answer: dict[str, Any] = {"role": "assistant", "content": text}
    if not calls:
        return [draw(_user), answer]
    answer["tool_calls"] = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(value)}}
        for call_id, name, value in calls
    ]
    results = [{"role": "tool", "tool_call_id": call_id, "content": draw(_word)} for call_id, _, _ in calls]
    return [draw(_user), answer, *results]


@st.composite
def _request(draw: st.DrawFn) -> dict[str, Any]:
    system = [{"role": "system", "content": draw(_word)}] if draw(st.booleans()) else []
    history = [one for part in draw(st.lists(_exchange(), max_size=3)) for one in part]
    names = draw(st.lists(_name, min_size=1, max_size=3, unique=True))
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": draw(_word), "parameters": draw(_schema)},
        }
        for name in names
    ]
    named = {"type": "function", "function": {"name": names[0]}}
    request: dict[str, Any] = {
        "model": "x",
        "messages": [*system, *history, draw(_user)],
        "tools": tools,
        "tool_choice": draw(st.sampled_from(["auto", "none", "required", named])),
        "max_completion_tokens": draw(st.integers(1, 64_000)),
        "stream": draw(st.booleans()),
    }
    if draw(st.booleans()):
        request["stop"] = draw(st.lists(_word, min_size=1, max_size=4))
    if draw(st.booleans()):
        schema = {"name": "answer", "schema": draw(_schema), "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    if draw(st.booleans()):
        request["reasoning_effort"] = draw(st.sampled_from(["low", "medium", "high", "max"]))
    if request["tool_choice"] != "none" and draw(st.booleans()):
        request["parallel_tool_calls"] = False
    return request


def _normal(request: dict[str, Any]) -> dict[str, Any]:
    """A request with spelling that means the same made the same."""
    normal = {
        name: value for name, value in request.items() if name not in ("model", "messages", "stream_options")
    }
    messages = []
    for one in request["messages"]:
        parts = (
            [{"type": "text", "text": one["content"]}] if isinstance(one["content"], str) else one["content"]
        )
        calls = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in one.get("tool_calls", [])
        ]
        said = {**one, "content": parts or None} | ({"tool_calls": calls} if calls else {})
        if messages and said["role"] == "user" == messages[-1]["role"]:
            messages[-1]["content"] = messages[-1]["content"] + said["content"]
        else:
            messages.append(said)
    return normal | {"messages": messages}


@settings(CALM)
@given(_request())
def test_openai_to_anthropic_and_back(request: dict[str, Any]) -> None:
    over = TO_MESSAGES.request(json.dumps(request).encode(), "claude-sonnet-4-6")
    back = json.loads(TO_CHAT.request(over, "gpt-5"))
    assert _normal(back) == _normal(request)


_block = st.one_of(
    _word.map(lambda text: {"type": "text", "text": text}),
    st.tuples(_word, _name).map(lambda pair: {"type": "thinking", "thinking": pair[0], "signature": pair[1]}),
    _name.map(lambda data: {"type": "redacted_thinking", "data": data}),
    st.tuples(_id, _name, _object).map(
        lambda call: {"type": "tool_use", "id": call[0], "name": call[1], "input": call[2]}
    ),
)
_blocks = st.lists(_block, min_size=1, max_size=6, unique_by=lambda block: block.get("id", json.dumps(block)))


@settings(CALM)
@given(_blocks, st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal"]))
def test_an_anthropic_answer_survives_the_history_of_a_chat_client(
    blocks: list[dict[str, Any]], stop: str
) -> None:
    asked = json.dumps({"model": "x", "messages": [{"role": "user", "content": "?"}]}).encode()
    whole = json.dumps(
        {"type": "message", "id": "msg_1", "model": "c", "content": blocks, "stop_reason": stop}
    ).encode()
    said = json.loads(TO_MESSAGES.response(whole, requested=asked))["choices"][0]["message"]
    streamed = _accumulate(stream(TO_MESSAGES, asked, events(message_stream(blocks, stop))))
    for answer in (said, streamed):
        question = {"role": "user", "content": "?"}
        request = {"model": "x", "messages": [question, answer, question]}
        turns = json.loads(TO_MESSAGES.request(json.dumps(request).encode(), "claude-sonnet-4-6"))["messages"]
        assert turns[1]["content"] == blocks


def _accumulate(sse: bytes) -> dict[str, Any]:
    """A chat stream put together as clients do it."""
    result: dict[str, Any] = {"role": "assistant", "content": "", "thinking_blocks": [], "tool_calls": []}
    for event in parse_events(sse):
        for choice in json.loads(event.data)["choices"] if event.data != b"[DONE]" else []:
            delta = choice["delta"]
            result["content"] += delta.get("content") or ""
            result["thinking_blocks"] += delta.get("thinking_blocks", [])
            result |= {name: delta[name] for name in ("provider_specific_fields",) if name in delta}
            for call in delta.get("tool_calls", []):
                if call["index"] == len(result["tool_calls"]):
                    result["tool_calls"].append(call)
                else:
                    result["tool_calls"][call["index"]]["function"]["arguments"] += call["function"][
                        "arguments"
                    ]
    return result


STREAMS = {
    Operation.CHAT: events(CHAT_STREAM) + b"data: [DONE]\n\n",
    Operation.MESSAGES: events(message_stream(BLOCKS)),
}


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@settings(CALM)
@given(places=st.lists(st.integers(0, 100_000), max_size=20))
def test_a_stream_gives_the_same_wherever_it_is_cut(
    client: Operation, provider: Operation, places: list[int]
) -> None:
    asked = b'{"model":"x","prompt":"?","input":"?","messages":[{"role":"user","content":"?"}]}'
    data = STREAMS[provider]
    marks = sorted({0, len(data), *(place % len(data) for place in places)})
    splitter, cut = EventSplitter(), _pair(client, provider).stream(requested=asked)
    wholes = [splitter.feed(data[start:end]) for start, end in pairwise(marks)]
    pieces = [cut.feed(event) for whole in wholes for event in parse_events(whole)]
    one = stream(_pair(client, provider), asked, data)
    assert _without_ids(b"".join(pieces) + cut.end(None)) == _without_ids(one)


def _without_ids(sse: bytes) -> list[Any]:
    """Events without what is made anew for each stream: ids and times."""
    return [_scrub(json.loads(event.data)) for event in parse_events(sse) if event.data != b"[DONE]"]


def _scrub(value: Any) -> Any:
    if isinstance(value, list):
        return [_scrub(one) for one in value]
    if isinstance(value, dict):
        made = ("id", "item_id", "created", "created_at", "completed_at")
        return {name: _scrub(one) for name, one in value.items() if name not in made}
    return value


@settings(CALM)
@given(
    st.lists(st.dictionaries(_name, _json, max_size=3), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=40),
)
def test_parallel_calls_arrive_whole_however_they_interleave(
    arguments: list[Any], steps: list[tuple[int, int]]
) -> None:
    texts = [json.dumps(value) for value in arguments]
    chunks = []
    sent = [-1] * len(texts)
    for which, size in [*steps, *[(index, 10_000) for index in range(len(texts))]]:
        index = which % len(texts)
        if sent[index] < 0:
            chunks.append(chunk(tool_delta(index, "", f"call_{index}", f"tool_{index}")))
            sent[index] = 0
        piece = texts[index][sent[index] : sent[index] + size]
        sent[index] += size
        if piece:
            chunks.append(chunk(tool_delta(index, piece)))
    sse = stream(TO_CHAT, b'{"messages":[]}', events([*chunks, chunk({}, "tool_calls")]))
    inputs: dict[str, str] = {}
    current, running = "", False
    for event in parse_events(sse):
        document = json.loads(event.data)
        match document["type"]:
            case "content_block_start":
                assert not running
                current, running = document["content_block"]["id"], True
                inputs[current] = ""
            case "content_block_delta":
                inputs[current] += document["delta"]["partial_json"]
            case "content_block_stop":
                running = False
    assert not running
    assert {name: json.loads(text) for name, text in inputs.items()} == {
        f"call_{index}": value for index, value in enumerate(arguments)
    }


_FIELDS = [
    "messages", "role", "content", "type", "text", "tools", "function", "name", "parameters", "tool_choice", "system",
    "tool_calls", "tool_call_id", "arguments", "id", "image_url", "url", "file", "file_data", "input", "output", "stop",
    "response_format", "json_schema", "schema", "thinking", "budget_tokens", "reasoning", "reasoning_effort", "prompt",
    "max_tokens", "n", "user", "metadata", "user_id", "source", "data", "media_type", "tool_use_id", "input_schema",
    "output_config", "format", "summary", "encrypted_content", "thinking_blocks", "stream_options", "service_tier",
    "call_id", "temperature", "allowed_tools", "properties", "anyOf", "functions", "function_call", "web_search_options",
]  # fmt: skip
_WORDS = [
    "user", "assistant", "tool", "system", "function", "text", "image_url", "file", "image", "document", "tool_use",
    "tool_result", "thinking", "message", "function_call", "function_call_output", "reasoning", "json_schema", "auto",
    "any", "allowed_tools", "base64", "url", "enabled", "high", "input_text", "input_image", "input_file", "x", "",
]  # fmt: skip
_nonsense = st.recursive(
    st.sampled_from(_WORDS) | st.none() | st.booleans() | st.integers(-5, 5) | st.just(1.5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
    max_leaves=25,
)


_IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
_FILE = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_SCHEMA = {
    "type": "object",
    "properties": {"a": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}},
}
_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": _SCHEMA, "strict": True},
}
_SOURCE = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
VALID: dict[Operation, dict[str, Any]] = {
    Operation.CHAT: {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": [{"type": "text", "text": "t"}, _IMAGE, _FILE]},
            {
                "role": "assistant",
                "content": "c",
                "tool_calls": [_CALL],
                "thinking_blocks": [BLOCKS[0]],
                "provider_specific_fields": {"anthropic_content": [BLOCKS[0]]},
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "t"}]},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        ],
        "tools": [_TOOL],
        "functions": [_TOOL["function"]],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_TOOL]}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}},
        "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Paris"}}},
        "reasoning_effort": "high",
        "stop": ["x"],
        "temperature": 1.5,
        "max_tokens": 10,
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "stream_options": {"include_usage": True},
    },
    Operation.MESSAGES: {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "document", "source": _SOURCE}, {"type": "image", "source": _SOURCE}],
            },
            {"role": "assistant", "content": BLOCKS},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_a",
                        "is_error": True,
                        "content": [{"type": "text", "text": "t"}, {"type": "image", "source": _SOURCE}],
                    },
                    {
                        "type": "search_result",
                        "title": "t",
                        "source": "s",
                        "content": [{"type": "text", "text": "t"}],
                    },
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": _SCHEMA, "strict": True}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "max_tokens": 10,
        "stop_sequences": ["x"],
    },
    Operation.RESPONSES: {
        "instructions": "i",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "t"},
                    {"type": "input_image", "image_url": "https://x.test/a"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "t"}],
                "encrypted_content": "x",
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "t"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA, "strict": True}],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}],
        },
        "text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 10,
    },
    Operation.COMPLETIONS: {"prompt": ["p"], "echo": True, "max_tokens": 3, "stop": "x"},
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in [(*path, key), *_places(one, (*path, key))]]


PLACES = [(client, place) for client, body in VALID.items() for place in _places(body)]


def _made(pair: Translation, body: bytes) -> dict[str, Any] | None:
    """The provider's request; None if the caller's was refused, and the refusal named a field."""
    refused: InvalidRequest | None = None
    try:
        made = json.loads(pair.request(body, "claude-sonnet-4-6"))
    except InvalidRequest as error:
        refused = error
    if refused is not None:
        assert refused.param
        return None
    assert isinstance(made, dict)
    return made


@settings(CALM, max_examples=400)
@given(st.sampled_from(PLACES), _nonsense, st.sampled_from([Operation.CHAT, Operation.MESSAGES]))
def test_one_wrong_value_is_refused_by_name_or_harmless(
    where: tuple[Operation, tuple[Any, ...]], wrong: Any, provider: Operation
) -> None:
    client, place = where
    pair = translation(client, provider)
    if pair is None:
        return
    body = json.loads(json.dumps({**VALID[client], "model": "x"}))
    inner = body
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    data = json.dumps(body).encode()
    made = _made(pair, data)
    if made is None:
        return
    assert made["model"] == "claude-sonnet-4-6"
    answer = {
        Operation.CHAT: {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]},
        Operation.MESSAGES: {
            "type": "message",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
        },
    }
    pair.response(json.dumps(answer[provider]).encode(), requested=data)
    stream(pair, data, STREAMS[provider])


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_the_valid_bodies_are_valid(client: Operation, provider: Operation) -> None:
    body = json.dumps({**VALID[client], "model": "x"}).encode()
    assert json.loads(_pair(client, provider).request(body, "claude-sonnet-4-6"))


@settings(CALM)
@given(st.dictionaries(st.sampled_from(_FIELDS), _nonsense, max_size=8), st.sampled_from(PAIRS))
def test_nonsense_is_refused_and_never_breaks(
    body: dict[str, Any], pair: tuple[Operation, Operation]
) -> None:
    data = json.dumps(body).encode()
    if _made(_pair(*pair), data) is not None:
        _pair(*pair).stream(requested=data)


@settings(CALM)
@given(
    st.dictionaries(
        st.sampled_from([*_FIELDS, "choices", "delta", "message", "index", "usage"]), _nonsense, max_size=6
    )
)
def test_nonsense_of_a_provider_is_a_protocol_error(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    for pair in PAIRS:
        asked = b'{"model":"x","prompt":"?","input":"?","messages":[{"role":"user","content":"?"}]}'
        with contextlib.suppress(ProviderProtocolError):
            _pair(*pair).response(data, requested=asked)
        translated = _pair(*pair).stream(requested=asked)
        try:
            for event in parse_events(b"data: " + data + b"\n\n"):
                translated.feed(event)
        except ProviderProtocolError:
            continue
        translated.end(None)
