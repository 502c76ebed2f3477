"""The official clients accept what is translated for them, and bring it back so that nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from pydantic import BaseModel
from tests.support import translation as support
from tests.support.translation import BLOCKS, CHAT_ANSWER, CHAT_STREAM, Gateway, message, message_stream

from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "clock")
]
FLAT_TOOLS: list[Any] = [
    {"type": "function", "name": tool["function"]["name"], "parameters": {"type": "object"}, "strict": False}
    for tool in TOOLS
]
NATIVE_TOOLS: list[Any] = [
    {"name": name, "input_schema": {"type": "object"}} for name in ("weather", "clock")
]
ASK: list[Any] = [{"role": "user", "content": "Weather and time in Paris?"}]


@pytest.fixture
def over_messages() -> Iterator[Gateway]:
    with support.serve(Operation.MESSAGES) as gateway:
        yield gateway


@pytest.fixture
def over_chat() -> Iterator[Gateway]:
    with support.serve(Operation.CHAT) as gateway:
        yield gateway


@pytest.fixture(params=[Operation.MESSAGES, Operation.CHAT])
def over_either(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with support.serve(request.param) as gateway:
        yield gateway


def _openai(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0)


def _anthropic(gateway: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0)


def _answer(gateway: Gateway, *, stream: bool) -> None:
    if gateway.provider is Operation.MESSAGES:
        gateway.answer = message_stream(BLOCKS) if stream else message(BLOCKS)
    else:
        gateway.answer = CHAT_STREAM if stream else CHAT_ANSWER


@pytest.mark.parametrize("stream", [False, True])
def test_chat_client_keeps_anthropic_thinking_over_a_round_trip(over_messages: Gateway, stream: bool) -> None:
    _answer(over_messages, stream=stream)
    with _openai(over_messages) as client:
        if stream:
            options: Any = {"include_usage": True}
            with client.chat.completions.stream(
                model="x", messages=ASK, tools=TOOLS, stream_options=options
            ) as running:
                done: Any = running.get_final_completion()
        else:
            done = client.chat.completions.create(model="x", messages=ASK, tools=TOOLS)
        said = done.choices[0].message
        assert done.choices[0].finish_reason == "tool_calls"
        assert said.content == "I'll look that up."
        assert [call.id for call in said.tool_calls] == ["toolu_a", "toolu_b"]
        assert [call.function.name for call in said.tool_calls] == ["weather", "clock"]
        assert [call.function.arguments.replace(" ", "") for call in said.tool_calls] == [
            '{"city":"Paris"}',
            '{"zone":"CET"}',
        ]
        assert said.reasoning_content == "Let me think."
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (50, 30)
        assert done.usage.prompt_tokens_details.cached_tokens == 20
        assert done.usage.completion_tokens_details.reasoning_tokens == 12
        results = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in said.tool_calls]
        over_messages.answer = message([{"type": "text", "text": "Done."}], "end_turn")
        history: Any = [*ASK, said.model_dump(exclude_none=True), *results]
        client.chat.completions.create(model="x", messages=history, tools=TOOLS)
    turns = over_messages.sent[-1]["messages"]
    assert turns[1] == {"role": "assistant", "content": BLOCKS}
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_a", "content": "ok"},
        {"type": "tool_result", "tool_use_id": "toolu_b", "content": "ok"},
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_interleaved_thinking_comes_back_in_its_order(over_messages: Gateway, stream: bool) -> None:
    blocks = [BLOCKS[0], BLOCKS[3], {**BLOCKS[0], "thinking": "Again.", "signature": "YWdhaW4"}, BLOCKS[4]]
    over_messages.answer = message_stream(blocks) if stream else message(blocks)
    with _openai(over_messages) as client:
        if stream:
            with client.chat.completions.stream(model="x", messages=ASK, tools=TOOLS) as running:
                said: Any = running.get_final_completion().choices[0].message
        else:
            said = client.chat.completions.create(model="x", messages=ASK, tools=TOOLS).choices[0].message
        over_messages.answer = message([{"type": "text", "text": "Done."}], "end_turn")
        client.chat.completions.create(
            model="x", messages=[*ASK, said.model_dump(exclude_none=True), *ASK], tools=TOOLS
        )
    assert over_messages.sent[-1]["messages"][1]["content"] == blocks


def test_web_search_shows_as_annotations_and_comes_back_whole(over_messages: Gateway) -> None:
    found = {
        "type": "web_search_result_location",
        "url": "https://x.test/",
        "title": "X",
        "encrypted_index": "e",
        "cited_text": "c",
    }
    blocks = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "It is X."},
        {"type": "text", "text": " Really.", "citations": [found]},
    ]
    over_messages.answer = message_stream(blocks, "end_turn")
    with _openai(over_messages) as client:
        with client.chat.completions.stream(model="x", messages=ASK, web_search_options={}) as running:
            said: Any = running.get_final_completion().choices[0].message
        note = said.annotations[0].url_citation
        assert (note.url, note.title, said.content[note.start_index : note.end_index]) == (
            "https://x.test/",
            "X",
            " Really.",
        )
        over_messages.answer = message(BLOCKS[2:3], "end_turn")
        client.chat.completions.create(model="x", messages=[*ASK, said.model_dump(exclude_none=True), *ASK])
    assert over_messages.sent[0]["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]
    assert over_messages.sent[-1]["messages"][1]["content"] == blocks


class _Weather(BaseModel):
    city: str
    degrees: int


def test_chat_client_parses_its_schema(over_messages: Gateway) -> None:
    over_messages.answer = message([{"type": "text", "text": '{"city":"Paris","degrees":9}'}], "end_turn")
    with _openai(over_messages) as client:
        done = client.chat.completions.parse(model="x", messages=ASK, response_format=_Weather)
    assert done.choices[0].message.parsed == _Weather(city="Paris", degrees=9)
    wanted = over_messages.sent[0]["output_config"]["format"]
    assert wanted["type"] == "json_schema"
    assert wanted["schema"]["required"] == ["city", "degrees"]


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_client_over_chat(over_chat: Gateway, stream: bool) -> None:
    _answer(over_chat, stream=stream)
    with _anthropic(over_chat) as client:
        if stream:
            with client.messages.stream(
                model="x", max_tokens=100, messages=ASK, tools=NATIVE_TOOLS
            ) as running:
                done: Any = running.get_final_message()
        else:
            done = client.messages.create(model="x", max_tokens=100, messages=ASK, tools=NATIVE_TOOLS)
        assert [block.type for block in done.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert done.content[0].thinking == "Let me think."
        assert done.content[1].text == "I'll look that up."
        assert [(block.id, block.name, block.input) for block in done.content[2:]] == [
            ("call_a", "weather", {"city": "Paris"}),
            ("call_b", "clock", {"zone": "CET"}),
        ]
        assert done.stop_reason == "tool_use"
        usage = done.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
            25,
            20,
            5,
        )
        assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (30, 12)
        results: Any = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "ok"} for block in done.content[2:]
        ]
        over_chat.answer = CHAT_ANSWER
        history: Any = [*ASK, done.to_param(), {"role": "user", "content": results}]
        client.messages.create(model="x", max_tokens=100, messages=history, tools=NATIVE_TOOLS)
    again = over_chat.sent[-1]["messages"]
    assert again[1]["reasoning_content"] == "Let me think."
    assert again[1]["tool_calls"] == CHAT_ANSWER["choices"][0]["message"]["tool_calls"]  # type: ignore[index] # a literal of mixed kinds
    assert [one["tool_call_id"] for one in again[2:]] == ["call_a", "call_b"]


@pytest.mark.parametrize("stream", [False, True])
def test_responses_client(over_either: Gateway, stream: bool) -> None:
    gateway = over_either
    _answer(gateway, stream=stream)
    with _openai(gateway) as client:
        asked: dict[str, Any] = {"model": "x", "input": ASK, "tools": FLAT_TOOLS, "instructions": "Be brief."}
        if stream:
            with client.responses.stream(**asked) as running:
                kinds = [event.type for event in running]
                done: Any = running.get_final_response()
            assert kinds[:2] == ["response.created", "response.in_progress"]
            assert kinds[-1] == "response.completed"
            assert kinds.count("response.function_call_arguments.done") == 2
            assert "response.reasoning_summary_text.delta" in kinds
        else:
            done = client.responses.create(**asked)
        assert [item.type for item in done.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        assert done.output[0].summary[0].text == "Let me think."
        assert done.output_text == "I'll look that up."
        assert [item.name for item in done.output[2:]] == ["weather", "clock"]
        assert [item.arguments.replace(" ", "") for item in done.output[2:]] == [
            '{"city":"Paris"}',
            '{"zone":"CET"}',
        ]
        assert (done.status, done.instructions) == ("completed", "Be brief.")
        assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (50, 30, 80)
        assert done.usage.input_tokens_details.cached_tokens == 20
        assert done.usage.output_tokens_details.reasoning_tokens == 12
        outputs = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "ok"}
            for item in done.output[2:]
        ]
        items: Any = [*ASK, *[item.model_dump(exclude_none=True) for item in done.output], *outputs]
        _answer(gateway, stream=False)
        client.responses.create(model="x", input=items, tools=FLAT_TOOLS)
    again = gateway.sent[-1]["messages"]
    if gateway.provider is Operation.MESSAGES:
        assert again[1] == {"role": "assistant", "content": BLOCKS}
        assert [block["tool_use_id"] for block in again[2]["content"]] == ["toolu_a", "toolu_b"]
    else:
        assert again[1]["reasoning_content"] == "Let me think."
        assert again[1]["content"] == "I'll look that up."
        assert [call["id"] for call in again[1]["tool_calls"]] == ["call_a", "call_b"]
        assert [one["role"] for one in again] == ["user", "assistant", "tool", "tool"]


def test_responses_client_parses_its_schema(over_either: Gateway) -> None:
    text = '{"city":"Paris","degrees":9}'
    if over_either.provider is Operation.MESSAGES:
        over_either.answer = message_stream([{"type": "text", "text": text}], "end_turn")
    else:
        over_either.answer = [
            support.chunk({"role": "assistant", "content": text}),
            support.chunk({}, "stop"),
        ]
    with (
        _openai(over_either) as client,
        client.responses.stream(model="x", input="?", text_format=_Weather) as running,
    ):
        running.until_done()
        assert running.get_final_response().output_parsed == _Weather(city="Paris", degrees=9)


def test_incomplete_and_refused_responses(over_chat: Gateway) -> None:
    over_chat.answer = [support.chunk({"content": "Once"}), support.chunk({}, "length")]
    with _openai(over_chat) as client:
        running = client.responses.create(model="x", input="?", stream=True)
        last: Any = list(running)[-1]
        assert last.type == "response.incomplete"
        assert last.response.incomplete_details.reason == "max_output_tokens"
        assert last.response.output[0].status == "incomplete"
        over_chat.answer = [support.chunk({"refusal": "I won't."}), support.chunk({}, "stop")]
        with client.responses.stream(model="x", input="?") as refused:
            done: Any = refused.get_final_response()
        assert done.output[0].content[0].refusal == "I won't."


@pytest.mark.parametrize("stream", [False, True])
def test_completions_client(over_either: Gateway, stream: bool) -> None:
    gateway = over_either
    if gateway.provider is Operation.MESSAGES:
        blocks = [{"type": "text", "text": "there was a king."}]
        gateway.answer = message_stream(blocks, "max_tokens") if stream else message(blocks, "max_tokens")
    elif stream:
        gateway.answer = [
            support.chunk({"content": "there was "}),
            support.chunk({"content": "a king."}, "length"),
        ]
    else:
        said = {"role": "assistant", "content": "there was a king."}
        gateway.answer = {
            "id": "c",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": said, "finish_reason": "length"}],
        }
    with _openai(gateway) as client:
        if stream:
            parts = list(
                client.completions.create(model="x", prompt="Once", echo=True, max_tokens=9, stream=True)
            )
            text = "".join(part.choices[0].text for part in parts)
            finish = parts[-1].choices[0].finish_reason
        else:
            done = client.completions.create(model="x", prompt="Once", echo=True, max_tokens=9)
            text, finish = done.choices[0].text, done.choices[0].finish_reason
    assert (text, finish) == ("Oncethere was a king.", "length")
    assert gateway.sent[0]["messages"][-1]["content"] in ("Once", [{"type": "text", "text": "Once"}])
