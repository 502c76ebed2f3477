"""What a provider signed comes back to it through protocols that have no place for it, and goes to nobody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.support import translation as support
from tests.support.translation import chunk, tool_delta

from mainspring.providers.translate import translation, without_sealed
from mainspring.providers.translate.carry import seal
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.translation import Gateway

ASK: list[Any] = [{"role": "user", "content": "Weather and time in Paris?"}]
SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}
UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}


def _call(name: str, arguments: str, **rest: Any) -> dict[str, Any]:
    return {
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **rest,
    }


CALLS = [_call("weather", '{"city":"Paris"}', extra_content=SIGNED), _call("clock", '{"zone":"CET"}')]
#: As Gemini's endpoint for OpenAI's protocol gives them: two calls at once, of which the first is signed.
WHOLE = {
    "choices": [{"message": {"role": "assistant", "tool_calls": CALLS}, "finish_reason": "tool_calls"}],
    "model": "gemini-3-pro",
}


def _signed(delta: dict[str, Any]) -> dict[str, Any]:
    delta["tool_calls"][0]["extra_content"] = SIGNED
    return delta


STREAM = [
    chunk({"role": "assistant", **_signed(tool_delta(0, '{"city":"Paris"}', "call_weather", "weather"))}),
    chunk(tool_delta(1, '{"zone":"CET"}', "call_clock", "clock")),
    chunk({}, "tool_calls"),
]


@pytest.fixture
def gemini() -> Iterator[Gateway]:
    with support.serve(Operation.CHAT) as gateway:
        gateway.model = "gemini-3-pro"
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
def test_the_signature_of_a_call_through_messages(gemini: Gateway, stream: bool) -> None:
    gemini.answer = STREAM if stream else WHOLE
    tools: Any = [{"name": name, "input_schema": {"type": "object"}} for name in ("weather", "clock")]
    asked: dict[str, Any] = {"model": "x", "max_tokens": 9, "tools": tools}
    with anthropic.Anthropic(base_url=gemini.url, api_key="k", max_retries=0) as client:
        if stream:
            with client.messages.stream(**asked, messages=ASK) as running:
                done: Any = running.get_final_message()
        else:
            done = client.messages.create(**asked, messages=ASK)
        assert [block.type for block in done.content] == ["thinking", "tool_use", "tool_use"]
        results: Any = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "ok"} for block in done.content[1:]
        ]
        gemini.answer = WHOLE
        history: Any = [*ASK, done.to_param(), {"role": "user", "content": results}]
        client.messages.create(**asked, messages=history)
        assert gemini.sent[-1]["messages"][1]["tool_calls"] == CALLS
        # What means nothing to another model does not reach it.
        gemini.model = "gpt-5-mini"
        client.messages.create(**asked, messages=history)
        assert "extra_content" not in json.dumps(gemini.sent[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_the_signature_of_a_call_through_responses(gemini: Gateway, stream: bool) -> None:
    gemini.answer = STREAM if stream else WHOLE
    tools: Any = [
        {"type": "function", "name": name, "parameters": {}, "strict": False} for name in ("weather", "clock")
    ]
    with openai.OpenAI(base_url=f"{gemini.url}/v1", api_key="k", max_retries=0) as client:
        if stream:
            with client.responses.stream(model="x", input=ASK, tools=tools) as running:
                done: Any = running.until_done().get_final_response()
        else:
            done = client.responses.create(model="x", input=ASK, tools=tools)
        assert [item.type for item in done.output] == ["reasoning", "function_call", "function_call"]
        outputs = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "ok"}
            for item in done.output[1:]
        ]
        gemini.answer = WHOLE
        history: Any = [*ASK, *[item.model_dump(exclude_none=True) for item in done.output], *outputs]
        client.responses.create(model="x", input=history, tools=tools)
    again = gemini.sent[-1]["messages"]
    assert again[1]["tool_calls"] == CALLS
    assert [one["role"] for one in again] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("gemini-3-pro", UNSIGNED),
        ("models/gemini-3.5-flash", UNSIGNED),
        ("gemini-2.5-pro", None),
        ("gpt-5", None),
    ],
)
def test_calls_of_another_model_are_shown_to_gemini(model: str, extra: Any) -> None:
    blocks = [{"type": "tool_use", "id": name, "name": name, "input": {}} for name in ("weather", "clock")]
    body = {"messages": [*ASK, {"role": "assistant", "content": blocks}], "max_tokens": 9}
    pair: Any = translation(Operation.MESSAGES, Operation.CHAT)
    calls = json.loads(pair.request(json.dumps(body).encode(), model))["messages"][1]["tool_calls"]
    assert [call.get("extra_content") for call in calls] == [extra, None]


SEALED = seal({"field": "reasoning_content"})
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": SEALED}
TEXT = {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    ("operation", "name", "turns", "kept"),
    [
        (
            Operation.MESSAGES,
            "messages",
            [*ASK, {"role": "assistant", "content": [THOUGHT, TEXT]}, *ASK],
            [*ASK, {"role": "assistant", "content": [TEXT]}, *ASK],
        ),
        (Operation.MESSAGES, "messages", [*ASK, {"role": "assistant", "content": [THOUGHT]}], ASK),
        (
            Operation.COUNT_TOKENS,
            "messages",
            [{"role": "assistant", "content": [THOUGHT, TEXT]}],
            [{"role": "assistant", "content": [TEXT]}],
        ),
        (
            Operation.RESPONSES,
            "input",
            [{"type": "reasoning", "summary": [], "encrypted_content": SEALED}, *ASK],
            ASK,
        ),
    ],
)
def test_what_we_sealed_is_not_shown_to_who_cannot_open_it(
    operation: Operation, name: str, turns: Any, kept: Any
) -> None:
    body = json.dumps({"model": "m", name: turns, "unknown": 1.50}).encode()
    passed = json.loads(without_sealed(operation, body))
    assert passed == {"model": "m", name: kept, "unknown": 1.5}


@pytest.mark.parametrize(
    "turns",
    [
        '"mainspring."',
        '[{"role": "user", "content": "mainspring. is a word"}]',
        '[{"role":"assistant","content":[{"type":"thinking","signature":"mainspring.*"}]}]',
        '[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"theirs"}]}, "mainspring."]',
        '["\\ud800", "mainspring."]',
    ],
)
def test_everything_else_passes_byte_for_byte(turns: str) -> None:
    body = b'{ "messages" : %b , "model":"m" }' % turns.encode()
    for operation in Operation:
        assert without_sealed(operation, body) is body
