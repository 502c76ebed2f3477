"""Real clients see one good answer when targets break, are slow or are all away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.support.conversations import user
from tests.support.server import RunningServer, provider_config, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.provider_server import ProviderServer

WORDS = " ".join(f"w{i}" for i in range(12))
_BROKEN, _WHOLE = "b+words=12+cut=content", "g+words=12"

_ROUTES = f"""
[routes.across]
targets = ["openai/{_BROKEN}", "anthropic/{_WHOLE}"]
resume = true

[routes.back]
targets = ["anthropic/{_BROKEN}", "openai/{_WHOLE}"]
resume = true

[routes.same]
targets = ["openai/{_BROKEN}", "chatonly/{_WHOLE}"]
resume = true

[routes.claude]
targets = ["anthropic/claude-opus-4-1{_BROKEN[1:]}", "anthropic/claude-opus-4-1{_WHOLE[1:]}"]
resume = true

[routes.slow]
targets = ["openai/s+silence=5", "anthropic/test"]
hedge = {{ after = 0.2, max_share = 1.0 }}

[routes.away]
targets = ["away/test"]
retry = {{ attempts = 1 }}
fallback = {{ message = "Please come back later." }}
"""


@pytest.fixture(scope="module")
def degrading(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    config = provider_config(provider.url) + _ROUTES
    with running(RunningServer(tmp_path_factory.mktemp("degrading"), config)) as server:
        yield server


@pytest.fixture
async def clients(
    degrading: RunningServer,
) -> AsyncIterator[tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]]:
    key = degrading.create_key()
    oai = openai.AsyncOpenAI(base_url=f"{degrading.url}/v1", api_key=key, max_retries=0, timeout=30)
    claude = anthropic.AsyncAnthropic(base_url=degrading.url, api_key=key, max_retries=0, timeout=30)
    async with oai, claude:
        yield oai, claude


Clients = tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]


async def _said(clients: Clients, surface: str, model: str) -> tuple[str, str | None, Any]:
    """Text, finish and usage of a stream, as the client library puts it together."""
    oai, claude = clients
    if surface == "messages":
        async with claude.messages.stream(model=model, max_tokens=500, messages=user("hi")) as stream:
            message = await stream.get_final_message()
        assert [block.type for block in message.content] == ["text"]
        return message.content[0].text, message.stop_reason, message.usage  # type: ignore[union-attr] # a text
    if surface == "responses":
        last: Any = None
        numbers, items = [], set()
        async for event in await oai.responses.create(model=model, input="hi", stream=True):
            numbers.append(event.sequence_number)
            items |= {event.item_id} if hasattr(event, "item_id") else set()
            last = event
        assert numbers == list(range(len(numbers)))
        assert len(items) == 1
        return last.response.output_text, last.response.status, last.response.usage
    text, finish, usage, ids = "", None, None, set()
    stream: Any
    options: Any = {"stream": True, "stream_options": {"include_usage": True}, "model": model}
    if surface == "chat":
        stream = await oai.chat.completions.create(messages=user("hi"), **options)
    else:
        stream = await oai.completions.create(prompt="hi", **options)
    async for chunk in stream:
        ids.add(chunk.id)
        for choice in chunk.choices:
            text += (choice.delta.content if surface == "chat" else choice.text) or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert len(ids) == 1
    return text, finish, usage


@pytest.mark.parametrize("model", ["across", "back", "same", "claude"])
@pytest.mark.parametrize("surface", ["chat", "messages", "responses", "completions"])
async def test_a_broken_stream_goes_on(
    clients: Clients, degrading: RunningServer, surface: str, model: str
) -> None:
    text, finish, usage = await _said(clients, surface, model)
    assert text == WORDS
    assert finish in {"stop", "end_turn", "completed"}
    output = usage.completion_tokens if hasattr(usage, "completion_tokens") else usage.output_tokens
    assert output >= 12
    rows = await asyncio.to_thread(
        lambda: degrading.client.get("/api/v1/ledger", params={"route": model, "limit": 1}).json()["items"]
    )
    row = rows[0]
    assert (row["error"], row["cut"], [attempt["outcome"] for attempt in row["attempts"]]) == (
        None,
        False,
        ["cut", "ok"],
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_target_is_hedged(clients: Clients, degrading: RunningServer, stream: bool) -> None:
    oai, _ = clients
    answer = await oai.chat.completions.with_raw_response.create(
        model="slow", messages=user("hi"), stream=stream
    )
    assert answer.headers["x-mainspring-provider"] == "anthropic"
    assert answer.headers["x-mainspring-attempts"] == "2"
    row = await asyncio.to_thread(degrading.row, answer.headers["x-request-id"]) if not stream else None
    if row is not None:
        first, second = row["attempts"]
        assert (first["outcome"], second["outcome"], second["hedge"]) == ("cancelled", "ok", True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_stands_in(clients: Clients, stream: bool) -> None:
    oai, claude = clients
    said = "Please come back later."
    if stream:
        async with claude.messages.stream(model="away", max_tokens=9, messages=user("hi")) as messages:
            assert await messages.get_final_text() == said
        chunks: Any = await oai.chat.completions.create(model="away", messages=user("hi"), stream=True)
        assert "".join([c.choices[0].delta.content or "" async for c in chunks]) == said
        events: Any = await oai.responses.create(model="away", input="hi", stream=True)
        assert [event async for event in events][-1].response.output_text == said
        return
    whole = await oai.chat.completions.with_raw_response.create(model="away", messages=user("hi"))
    assert whole.headers["x-mainspring-degraded"] == "message"
    assert whole.parse().choices[0].message.content == said
    assert (await oai.responses.create(model="away", input="hi")).output_text == said
    assert (await oai.completions.create(model="away", prompt="hi")).choices[0].text == said
    message = await claude.messages.create(model="away", max_tokens=9, messages=user("hi"))
    assert message.content[0].text == said  # type: ignore[union-attr] # a text
