"""Good requests and answers with something odd in one or two places are read, or refused as what they are; nothing else."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.base.errors import InvalidRequest, ProviderProtocolError
from mainspring.gateway.count import count_answer, count_cut
from mainspring.providers.estimate import estimate_request
from mainspring.providers.local import embeddings
from mainspring.providers.local.requests import read_chat, read_completion
from mainspring.providers.local.toolcalls import ToolCallReader
from mainspring.providers.translate import translation, without_sealed
from mainspring.providers.translate.carry import seal
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

ODD = [
    None,
    True,
    5,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [1],
    [None],
    {"a": 1},
    [{}],
    [[]],
    {"type": 5},
    {"type": ["x"]},
]
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "strict": True, "parameters": SCHEMA},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
TEXT = {"type": "text", "text": "x"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aa", "filename": "x.pdf"}}
THINKING = {"type": "thinking", "thinking": "t", "signature": seal({"field": "reasoning", "call": {"a": 1}})}

PLAIN = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [TEXT]},
        {"role": "assistant", "content": "x", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
    ],
    "tools": [TOOL],
    "tool_choice": "required",
    "response_format": FORMAT,
    "stop": ["a"],
    "seed": 1,
    "temperature": 1,
    "logit_bias": {"5": 1},
    "stream_options": {"include_usage": True},
}
CHAT = {
    **PLAIN,
    "messages": [
        {"role": "user", "content": [TEXT, IMAGE, FILE]},
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [{**CALL, "extra_content": {"a": 1}}],
            "thinking_blocks": [THINKING],
            "reasoning_details": [{"type": "reasoning.text", "text": "x", "signature": "s"}],
            "provider_specific_fields": {"anthropic_content": [TEXT]},
        },
        {"role": "function", "name": "f", "content": "x"},
    ],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}},
    "reasoning_effort": "low",
    "web_search_options": {"user_location": {"approximate": {}}},
    "metadata": {"user_id": "u"},
}
MESSAGES = {
    "model": "m",
    "max_tokens": 9,
    "system": [TEXT],
    "messages": [
        {
            "role": "user",
            "content": [TEXT, {"type": "document", "source": {"type": "content", "content": [TEXT]}}],
        },
        {
            "role": "assistant",
            "content": [THINKING, TEXT, {"type": "tool_use", "id": "a", "name": "f", "input": {}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [TEXT]}]},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}],
    "tool_choice": {"type": "tool", "name": "f"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "metadata": {"user_id": "u"},
}
RESPONSES = {
    "model": "m",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}],
        },
        {"type": "reasoning", "summary": [TEXT], "encrypted_content": THINKING["signature"]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["message.output_text.logprobs"],
}
COMPLETION = {"model": "m", "prompt": ["x"], "n": 1, "best_of": 1, "echo": True, "max_tokens": 5, "stop": "a"}
EMBEDDING = {"model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 5}
ANSWER = {
    "id": "c",
    "choices": [
        {
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "a", "logprob": 1, "top_logprobs": [{"token": "a"}]}]},
            "message": {
                "content": [TEXT],
                "reasoning": "r",
                "reasoning_details": [{"x": 1}],
                "annotations": [{"url_citation": {"url": "u"}}],
                "tool_calls": [{**CALL, "extra_content": {"a": 1}}],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9},
}
MESSAGE = {
    "type": "message",
    "content": [
        THINKING,
        {**TEXT, "citations": [{"url": "u"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ],
    "stop_reason": "end_turn",
    "stop_details": {"explanation": "x"},
    "usage": {"input_tokens": 1, "iterations": [{"type": "compaction", "input_tokens": 1}]},
}


@st.composite
def _odd(draw: st.DrawFn, good: Any) -> bytes:
    """A good document with one or two of its values replaced or left out, wherever they stand."""
    document = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 2))):
        place: Any = document
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inside = place[key]
            if isinstance(inside, dict | list) and inside and draw(st.booleans()):
                place = inside
                continue
            if draw(st.integers(0, 4)):
                place[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
            else:
                del place[key]
            break
    return json.dumps(document).encode()


def _translated(client: Operation, provider: Operation, model: str) -> Callable[[bytes], object]:
    pair: Any = translation(client, provider)
    return lambda body: pair.request(body, model)


REQUESTS: list[tuple[str, Any, Callable[[bytes], object]]] = [
    ("local chat", PLAIN, lambda body: read_chat(body).bodies(template_has_tools=False)),
    ("local completion", COMPLETION, lambda body: read_completion(body).bodies(template_has_tools=True)),
    ("local embedding", EMBEDDING, embeddings.read_request),
    ("chat to messages", CHAT, _translated(Operation.CHAT, Operation.MESSAGES, "claude-sonnet-4-6")),
    ("messages to chat", MESSAGES, _translated(Operation.MESSAGES, Operation.CHAT, "gemini-3-pro")),
    ("responses to chat", RESPONSES, _translated(Operation.RESPONSES, Operation.CHAT, "gpt-5")),
    (
        "responses to messages",
        RESPONSES,
        _translated(Operation.RESPONSES, Operation.MESSAGES, "claude-3-5-haiku"),
    ),
    ("completions to chat", COMPLETION, _translated(Operation.COMPLETIONS, Operation.CHAT, "gpt-5")),
    ("messages as they are", MESSAGES, lambda body: without_sealed(Operation.MESSAGES, body)),
    ("responses as they are", RESPONSES, lambda body: without_sealed(Operation.RESPONSES, body)),
    ("estimate of chat", CHAT, lambda body: estimate_request(Operation.CHAT, body)),
    ("estimate of messages", MESSAGES, lambda body: estimate_request(Operation.MESSAGES, body)),
    ("estimate of responses", RESPONSES, lambda body: estimate_request(Operation.RESPONSES, body)),
]


@pytest.mark.parametrize(("good", "read"), [one[1:] for one in REQUESTS], ids=[one[0] for one in REQUESTS])
@settings(deadline=None)
@given(data=st.data())
def test_requests(good: Any, read: Callable[[bytes], object], data: st.DataObject) -> None:
    with contextlib.suppress(InvalidRequest):
        read(data.draw(_odd(good)))


PAIRS = [
    (client, provider)
    for provider in (Operation.CHAT, Operation.MESSAGES)
    for client in (Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES, Operation.COMPLETIONS)
    if translation(client, provider) is not None
]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@settings(deadline=None)
@given(data=st.data())
def test_answers(client: Operation, provider: Operation, data: st.DataObject) -> None:
    body = data.draw(_odd(MESSAGE if provider is Operation.MESSAGES else ANSWER))
    pair: Any = translation(client, provider)
    with contextlib.suppress(ProviderProtocolError):
        json.loads(pair.response(body, requested=b'{"model":"m","prompt":"x"}'))
    count_answer(body, stream=False)
    count_cut(body)


PIECES = [
    '{"name":',
    '"f"',
    "{}",
    ', "arguments":',
    "}",
    "[",
    "]",
    "<tool_call>",
    "```json\n",
    "\n",
    "x",
    '{"function":',
]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_whatever_a_small_model_writes_is_text_or_calls(pieces: list[str]) -> None:
    reader = ToolCallReader(frozenset({"f"}))
    for piece in pieces:
        reader.feed(piece)
    reader.end()


@pytest.mark.parametrize("text", ['{"name": {}, "arguments": {}}', '[{"name": ["f"]}]', "[" * 100_000 + "}"])
def test_what_names_no_tool_is_text(text: str) -> None:
    reader = ToolCallReader(frozenset({"f"}))
    assert "".join(str(part) for part in [*reader.feed(text), *reader.end()]) == text
