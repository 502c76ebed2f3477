"""Anthropic's own client against the real server, in front of a provider of either dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from tests.support.conversations import ANTHROPIC_TOOLS, CALLS, PARIS, PIXEL, City, anthropic_image, user
from tests.support.provider.answers import SIGNATURE

if TYPE_CHECKING:
    from tests.support.server import RunningServer

both = pytest.mark.parametrize("target", ["anthropic/test", "openai/test"])
#: What every call needs beside model and messages.
LIMIT = 2048


@both
def test_message(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.create(model=target, max_tokens=LIMIT, messages=user("good day"))
    assert _text(answer) == "You said: good day"
    assert answer.stop_reason == "end_turn"
    assert answer.role == "assistant"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 4)


@both
def test_message_stream(claude: anthropic.Anthropic, target: str) -> None:
    with claude.messages.stream(model=target, max_tokens=LIMIT, messages=user("good day")) as stream:
        events = [event.type for event in stream]
        answer = stream.get_final_message()
    assert _text(answer) == "You said: good day"
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 4
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"
    assert events.count("content_block_start") == events.count("content_block_stop") == 1


@both
async def test_message_async(async_claude: anthropic.AsyncAnthropic, target: str) -> None:
    answer = await async_claude.messages.create(model=target, max_tokens=LIMIT, messages=user("hi"))
    assert _text(answer) == "You said: hi"
    async with async_claude.messages.stream(model=target, max_tokens=LIMIT, messages=user("hi")) as stream:
        assert "".join([text async for text in stream.text_stream]) == "You said: hi"


@both
def test_system_prompt(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.create(model=target, max_tokens=LIMIT, messages=user("hi"), system="Be kind.")
    assert _text(answer) == "You said: hi | System: Be kind."


@both
def test_tools_in_parallel(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.create(
        model=target, max_tokens=LIMIT, messages=user("weather?"), tools=ANTHROPIC_TOOLS
    )
    assert answer.stop_reason == "tool_use"
    assert _called(answer) == CALLS
    assert len({block.id for block in answer.content if block.type == "tool_use"}) == 2


@both
def test_tools_in_parallel_streaming(claude: anthropic.Anthropic, target: str) -> None:
    with claude.messages.stream(
        model=target, max_tokens=LIMIT, messages=user("weather?"), tools=ANTHROPIC_TOOLS
    ) as stream:
        open_blocks: list[int] = []
        for event in stream:
            if event.type == "content_block_start":
                assert not open_blocks, "blocks never overlap"
                open_blocks.append(event.index)
            elif event.type == "content_block_stop":
                assert open_blocks.pop() == event.index
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    assert _called(answer) == CALLS


@both
def test_tool_results_go_back(claude: anthropic.Anthropic, target: str) -> None:
    asked: Any = user("weather?")
    first = claude.messages.create(model=target, max_tokens=LIMIT, messages=asked, tools=ANTHROPIC_TOOLS)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result {block.name}"}
        for block in first.content
        if block.type == "tool_use"
    ]
    content = [block.model_dump(exclude_none=True) for block in first.content]
    asked = [*asked, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    answer = claude.messages.create(model=target, max_tokens=LIMIT, messages=asked, tools=ANTHROPIC_TOOLS)
    assert "Tool result: result get_weather | Tool result: result get_time" in _text(answer)


@both
def test_tool_choice_names_one(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.create(
        model=target,
        max_tokens=LIMIT,
        messages=user("?"),
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "tool", "name": "get_time"},
    )
    assert _called(answer) == CALLS[1:]


@both
def test_image(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.create(model=target, max_tokens=LIMIT, messages=anthropic_image("what is it"))
    assert f"image/png of {len(PIXEL)} bytes" in _text(answer)


@both
def test_structured_answer(claude: anthropic.Anthropic, target: str) -> None:
    answer = claude.messages.parse(
        model=target, max_tokens=LIMIT, messages=user("a city"), output_format=City
    )
    assert answer.parsed_output == City(name=PARIS, people=7)


def test_thinking_passes_through(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model="anthropic/test",
        max_tokens=LIMIT,
        messages=user("hard"),
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    thinking = answer.content[0]
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("First I think about it.", SIGNATURE)


def test_thinking_of_an_openai_provider(claude: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": "openai/test",
        "max_tokens": LIMIT,
        "messages": user("hard"),
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    answer = claude.messages.create(**asked)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    with claude.messages.stream(**asked) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_message()
    assert streamed.content[0].type == "thinking"
    assert streamed.content[0].thinking == "First I think about it."
    assert _text(streamed) == "You said: hard"


@both
def test_count_tokens(claude: anthropic.Anthropic, target: str) -> None:
    counted = claude.messages.count_tokens(model=target, messages=user("how many words are these"))
    if target.startswith("anthropic"):
        assert counted.input_tokens == 20
    else:
        assert 3 <= counted.input_tokens <= 30


def test_models(claude: anthropic.Anthropic) -> None:
    names = {model.id for model in claude.models.list()}
    assert {"default", "anthropic/test-small", "openai/test-small"} <= names


def test_request_ids(claude: anthropic.Anthropic, server: RunningServer) -> None:
    answer = claude.messages.with_raw_response.create(
        model="anthropic/test", max_tokens=LIMIT, messages=user("id please")
    )
    request_id = answer.headers["x-request-id"]
    assert answer.parse()._request_id == request_id
    assert server.row(request_id)["provider"] == "anthropic"


@pytest.mark.parametrize(
    ("traits", "error", "kind"),
    [
        ("status=400", anthropic.BadRequestError, "invalid_request_error"),
        ("status=404", anthropic.NotFoundError, "not_found_error"),
        ("status=429+retry_after=7", anthropic.RateLimitError, "rate_limit_error"),
        ("status=500", anthropic.InternalServerError, "api_error"),
        ("status=401", anthropic.InternalServerError, "api_error"),
        ("status=529", anthropic.InternalServerError, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_error_types(
    claude: anthropic.Anthropic,
    provider_name: str,
    traits: str,
    error: type[anthropic.APIStatusError],
    kind: str,
    *,
    stream: bool,
) -> None:
    with pytest.raises(error) as caught:
        claude.messages.create(
            model=f"{provider_name}/a{stream}+{traits}",  # one of its own: what fails too often is not asked
            max_tokens=LIMIT,
            messages=user("hi"),
            stream=stream,
        )
    assert caught.value.request_id
    assert caught.value.type == kind
    assert caught.value.api_message
    if "429" in traits:
        assert caught.value.response.headers["retry-after"] == "7"


def test_own_errors(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError) as caught:
        claude.with_options(api_key="ms-wrong").messages.create(
            model="default", max_tokens=LIMIT, messages=user("hi")
        )
    assert caught.value.type == "authentication_error"
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="no-such-route", max_tokens=LIMIT, messages=user("hi"))
    assert missing.value.type == "not_found_error"


def _text(answer: Any) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def _called(answer: Any) -> list[tuple[str, Any]]:
    return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
