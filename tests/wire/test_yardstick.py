"""The scripted provider is itself measured: real clients accept what it says, and see its failures as failures."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.support.conversations import (
    ANTHROPIC_TOOLS,
    CALLS,
    OPENAI_TOOLS,
    RESPONSES_TOOLS,
    City,
    chat_text,
    user,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.provider_server import ProviderServer


@pytest.fixture
def direct_oai(provider: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="sk", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def direct_claude(provider: ProviderServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.url, api_key="sk", max_retries=0, timeout=30) as client:
        yield client


@pytest.mark.parametrize("traits", ["", "+split=1", "+split=3", "+crlf", "+burst", "+framing=close"])
def test_clients_understand_its_streams(
    direct_oai: openai.OpenAI, direct_claude: anthropic.Anthropic, traits: str
) -> None:
    chunks = direct_oai.chat.completions.create(model=f"t{traits}", messages=user("hi"), stream=True)
    assert chat_text(chunks) == "You said: hi"
    with direct_claude.messages.stream(
        model=f"t{traits}", max_tokens=9, messages=user("hi"), tools=ANTHROPIC_TOOLS
    ) as stream:
        blocks: Any = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in blocks] == CALLS
    with direct_oai.responses.stream(model=f"t{traits}", input="hi", tools=RESPONSES_TOOLS) as responses:
        assert len(responses.get_final_response().output) == 2


def test_clients_understand_its_answers(
    direct_oai: openai.OpenAI, direct_claude: anthropic.Anthropic
) -> None:
    answer = direct_oai.chat.completions.create(model="t", messages=user("hi"), tools=OPENAI_TOOLS)
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == CALLS
    parsed = direct_claude.messages.parse(model="t", max_tokens=9, messages=user("hi"), output_format=City)
    assert parsed.parsed_output is not None
    assert len(direct_oai.embeddings.create(model="t", input=["a", "b"]).data) == 2


def test_it_fails_when_told_to(direct_oai: openai.OpenAI, direct_claude: anthropic.Anthropic) -> None:
    for traits, error in [
        ("status=429+retry_after=7", "RateLimitError"),
        ("cut=headers", "APIConnectionError"),
    ]:
        for module, ask in [
            (openai, lambda model: direct_oai.chat.completions.create(model=model, messages=user("hi"))),
            (
                anthropic,
                lambda model: direct_claude.messages.create(model=model, max_tokens=9, messages=user("hi")),
            ),
        ]:
            with pytest.raises(getattr(module, error)):
                ask(f"t+{traits}")
    with pytest.raises(openai.APIConnectionError):
        list(
            direct_oai.chat.completions.create(
                model="t+words=9+cut=content", messages=user("hi"), stream=True
            )
        )
    cut = direct_oai.chat.completions.create(model="t+words=9+eof=content", messages=user("hi"), stream=True)
    assert len(list(cut)) == 4, "a role and three words, and then an end as if all were well"


def test_it_sees_the_caller_leave(direct_oai: openai.OpenAI, provider: ProviderServer) -> None:
    stream = direct_oai.chat.completions.create(
        model="t+words=600+gap=0.1", messages=user("seen leaving"), stream=True
    )
    next(iter(stream))
    left = time.monotonic()
    stream.close()
    received = provider.wait("seen leaving", lambda received: received.gone_at is not None)[0]
    assert received.gone_at is not None
    assert received.gone_at - left < 20


def test_a_script_is_followed_in_order(direct_oai: openai.OpenAI, provider: ProviderServer) -> None:
    provider.script("scripted", "status=500", "")
    with pytest.raises(openai.InternalServerError):
        direct_oai.chat.completions.create(model="scripted", messages=user("hi"))
    assert direct_oai.chat.completions.create(model="scripted", messages=user("hi")).choices


def test_no_typing_error_passes_as_good_behaviour(direct_oai: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        direct_oai.chat.completions.create(model="t+cutt=content", messages=user("hi"))
