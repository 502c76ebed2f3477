"""OpenAI's own client against the real server, in front of a provider of either dialect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.support.conversations import (
    CALLS,
    OPENAI_TOOLS,
    PARIS,
    PIXEL,
    RESPONSES_TOOLS,
    City,
    chat_text,
    openai_image,
    user,
)

if TYPE_CHECKING:
    from tests.support.server import RunningServer

both = pytest.mark.parametrize("target", ["openai/test", "anthropic/test"])
#: Responses spoken natively, over a provider that has chat only, and over the other dialect.
three = pytest.mark.parametrize("target", ["openai/test", "chatonly/test", "anthropic/test"])


@both
def test_chat(oai: openai.OpenAI, target: str) -> None:
    answer = oai.chat.completions.create(model=target, messages=user("good day"))
    assert answer.choices[0].message.content == "You said: good day"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        20,
        4,
        24,
    )


@both
def test_chat_stream(oai: openai.OpenAI, target: str) -> None:
    chunks = list(oai.chat.completions.create(model=target, messages=user("good day"), stream=True))
    assert chat_text(chunks) == "You said: good day"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        "stop"
    ]
    assert all(c.usage is None for c in chunks)
    assert {c.choices[0].index for c in chunks if c.choices} == {0}


@both
def test_chat_stream_with_usage(oai: openai.OpenAI, target: str) -> None:
    chunks = list(
        oai.chat.completions.create(
            model=target, messages=user("good day"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (20, 4)
    assert all(c.usage is None for c in chunks[:-1])


@both
async def test_chat_async(async_oai: openai.AsyncOpenAI, target: str) -> None:
    answer = await async_oai.chat.completions.create(model=target, messages=user("hi"))
    assert answer.choices[0].message.content == "You said: hi"
    stream = await async_oai.chat.completions.create(model=target, messages=user("hi"), stream=True)
    assert chat_text([chunk async for chunk in stream]) == "You said: hi"


@both
def test_system_prompt(oai: openai.OpenAI, target: str) -> None:
    messages: Any = [{"role": "system", "content": "Be kind."}, *user("hi")]
    answer = oai.chat.completions.create(model=target, messages=messages)
    assert answer.choices[0].message.content == "You said: hi | System: Be kind."


@both
def test_tools_in_parallel(oai: openai.OpenAI, target: str) -> None:
    answer = oai.chat.completions.create(model=target, messages=user("weather?"), tools=OPENAI_TOOLS)
    calls = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert _called(calls) == CALLS
    assert len({call.id for call in calls}) == 2


@both
def test_tools_in_parallel_streaming(oai: openai.OpenAI, target: str) -> None:
    with oai.chat.completions.stream(model=target, messages=user("weather?"), tools=OPENAI_TOOLS) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert _called(choice.message.tool_calls or []) == CALLS
    assert all(call.id for call in choice.message.tool_calls or [])


@both
def test_tool_results_go_back(oai: openai.OpenAI, target: str) -> None:
    asked: Any = user("weather?")
    first = oai.chat.completions.create(model=target, messages=asked, tools=OPENAI_TOOLS)
    message = first.choices[0].message
    asked = [*asked, message.model_dump(exclude_none=True)]
    asked += [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {i}"}
        for i, call in enumerate(message.tool_calls or [])
    ]
    answer = oai.chat.completions.create(model=target, messages=asked, tools=OPENAI_TOOLS)
    assert "Tool result: result 0 | Tool result: result 1" in (answer.choices[0].message.content or "")


@both
def test_tool_choice_names_one(oai: openai.OpenAI, target: str) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_time"}}
    answer = oai.chat.completions.create(
        model=target, messages=user("?"), tools=OPENAI_TOOLS, tool_choice=choice
    )
    assert _called(answer.choices[0].message.tool_calls or []) == CALLS[1:]


@both
def test_image(oai: openai.OpenAI, target: str) -> None:
    answer = oai.chat.completions.create(model=target, messages=openai_image("what is it"))
    assert f"image/png of {len(PIXEL)} bytes" in (answer.choices[0].message.content or "")


@both
def test_structured_answer(oai: openai.OpenAI, target: str) -> None:
    answer = oai.chat.completions.parse(model=target, messages=user("a city"), response_format=City)
    assert answer.choices[0].message.parsed == City(name=PARIS, people=7)


@both
def test_completions(oai: openai.OpenAI, target: str) -> None:
    assert oai.completions.create(model=target, prompt="once").choices[0].text == "You said: once"
    chunks = oai.completions.create(model=target, prompt="once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "You said: once"


@three
def test_responses(oai: openai.OpenAI, target: str) -> None:
    answer = oai.responses.create(model=target, input="good day", instructions="Be kind.")
    assert answer.output_text == "You said: good day | System: Be kind."
    assert answer.status == "completed"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 8)


@three
def test_responses_stream(oai: openai.OpenAI, target: str) -> None:
    with oai.responses.stream(model=target, input="good day") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "You said: good day"
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta")
        == final.output_text
    )
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))


@three
def test_responses_tools(oai: openai.OpenAI, target: str) -> None:
    answer = oai.responses.create(model=target, input="weather?", tools=RESPONSES_TOOLS)
    calls: Any = [item for item in answer.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == CALLS
    history: Any = [*user("weather?"), *[item.model_dump(exclude_none=True) for item in answer.output]]
    history += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls
    ]
    again = oai.responses.create(model=target, input=history, tools=RESPONSES_TOOLS)
    assert again.output_text.count("Tool result: sunny") == 2


@three
def test_responses_tools_streaming(oai: openai.OpenAI, target: str) -> None:
    with oai.responses.stream(model=target, input="weather?", tools=RESPONSES_TOOLS) as stream:
        events = list(stream)
        calls: Any = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == CALLS
    done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    assert [json.loads(arguments) for arguments in done] == [arguments for _, arguments in CALLS]


@three
def test_responses_structured(oai: openai.OpenAI, target: str) -> None:
    answer = oai.responses.parse(model=target, input="a city", text_format=City)
    assert answer.output_parsed == City(name=PARIS, people=7)


def test_embeddings(oai: openai.OpenAI) -> None:
    # The client asks for base64 on its own account, and for floats when told to.
    packed = oai.embeddings.create(model="openai/test", input=["one", "two"])
    plain = oai.embeddings.create(model="openai/test", input=["one", "two"], encoding_format="float")
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert [item.index for item in plain.data] == [0, 1]
    assert packed.usage.prompt_tokens == 20


def test_embeddings_where_the_provider_has_none(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        oai.embeddings.create(model="anthropic/test", input="one")
    assert "embedding" in caught.value.message.lower()


def test_models(oai: openai.OpenAI, server: RunningServer) -> None:
    names = {model.id for model in oai.models.list()}
    assert "default" in names
    assert {"openai/test-small", "anthropic/test-small"} <= names
    narrow = server.create_key("narrow", models=["default", "openai/test-small"])
    client = oai.with_options(api_key=narrow)
    assert {model.id for model in client.models.list()} == {"default", "openai/test-small"}
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="openai/test", messages=user("hi"))


def test_request_ids(oai: openai.OpenAI, server: RunningServer) -> None:
    answer = oai.chat.completions.with_raw_response.create(model="default", messages=user("id please"))
    request_id = answer.headers["x-request-id"]
    assert answer.parse()._request_id == request_id
    row = server.row(request_id)
    assert row["id"] == request_id
    assert (row["route"], row["provider"], row["model"]) == ("default", "openai", "test")
    assert answer.headers["x-mainspring-provider"] == "openai"
    assert answer.headers["x-mainspring-model"] == "test"
    assert answer.headers["x-mainspring-attempts"] == "1"
    assert answer.headers["x-mainspring-cache"] == "off"


@pytest.mark.parametrize(
    ("traits", "error"),
    [
        ("status=400", openai.BadRequestError),
        ("status=404", openai.NotFoundError),
        ("status=429+retry_after=7", openai.RateLimitError),
        ("status=500", openai.InternalServerError),
        ("status=503", openai.InternalServerError),
        ("status=529", openai.InternalServerError),
        ("status=401", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_error_types(
    oai: openai.OpenAI, provider_name: str, traits: str, error: type[openai.APIStatusError], *, stream: bool
) -> None:
    model = f"{provider_name}/o{stream}+{traits}"  # one of its own, for what fails too often is not asked
    with pytest.raises(error) as caught:
        oai.chat.completions.create(model=model, messages=user("hi"), stream=stream)
    assert caught.value.request_id
    assert caught.value.type
    assert caught.value.message
    if "429" in traits:
        assert caught.value.response.headers["retry-after"] == "7"


def test_own_errors(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        oai.with_options(api_key="ms-wrong").chat.completions.create(model="default", messages=user("hi"))
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        oai.chat.completions.create(model="no-such-route", messages=user("hi"))
    with pytest.raises(openai.NotFoundError):
        oai.chat.completions.create(model="no-such-provider/model", messages=user("hi"))


def _called(calls: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]
