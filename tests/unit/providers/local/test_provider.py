"""The provider with the real small model: what it answers, how it is interrupted, and what happens when its engine dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from mainspring.base.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    LocalModelError,
    NotFound,
    Overloaded,
    StreamCut,
)
from mainspring.base.settings import LocalSettings, ModelSettings, Settings
from mainspring.ledger.types import Usage
from mainspring.providers.local import LocalProvider
from mainspring.providers.local.catalog import IN_THE_BOX, find
from mainspring.providers.types import Call, Operation, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ASK = [{"role": "user", "content": "Name three colours."}]
LONG = [{"role": "user", "content": "word " * 1500}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 20}},
                "required": ["city"],
            },
        },
    }
]


def settings(directory: Path, **local: Any) -> Settings:
    return Settings(local=LocalSettings(directory=str(directory), context_tokens=2048, **local))


@pytest.fixture
async def local(small_model: Path) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider("local", settings(small_model, parallel=1, queue=1))
    await provider.start()
    yield provider
    await provider.close()


def call(operation: Operation = Operation.CHAT, model: str = "small", **fields: Any) -> Call:
    if operation is Operation.CHAT:
        fields = {"messages": ASK, "temperature": 0, "max_tokens": 8, **fields}
    body = json.dumps({"model": model, **fields}).encode()
    return Call(operation, model, body, bool(fields.get("stream")), {})


async def events(reply: Reply) -> list[dict[str, Any]]:
    text = b"".join([chunk async for chunk in reply.chunks()])
    *found, done, rest = text.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in found]


async def free_after(provider: LocalProvider) -> float:
    """How much the engine computes until it has taken the next request, in seconds of a processor of its own."""
    since = computed()
    reply = await asyncio.wait_for(provider.call(call(max_tokens=1)), 120)
    reply.close()
    return computed() - since


async def test_a_whole_answer(local: LocalProvider) -> None:
    reply = await local.call(call())
    body = await reply.read()
    answer = json.loads(body)
    assert reply.headers["content-type"] == "application/json"
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "small"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 8
    seen = local.read_usage(Operation.CHAT, body)
    assert seen.usage == Usage(input=answer["usage"]["prompt_tokens"], output=8)
    # The second time the prompt is in the engine's cache.
    again = json.loads(await (await local.call(call())).read())
    assert again["choices"][0]["message"] == answer["choices"][0]["message"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 10


async def test_a_stream_says_the_same_as_the_whole_answer(local: LocalProvider) -> None:
    whole = json.loads(await (await local.call(call())).read())
    reply = await local.call(call(stream=True, stream_options={"include_usage": True}))
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, last = await events(reply)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 8)
    plain = await events(await local.call(call(stream=True)))
    assert not any("usage" in chunk for chunk in plain)


async def test_the_scanner_reads_the_stream(local: LocalProvider) -> None:
    reply = await local.call(call(stream=True, stream_options={"include_usage": True}))
    scanner = local.scanner(Operation.CHAT, strip_usage=True)
    shown = b"".join([scanner.feed(chunk) async for chunk in reply.chunks()])
    assert b"usage" not in shown
    assert b"[DONE]" not in shown
    assert scanner.seen.finished
    assert scanner.seen.usage is not None
    assert scanner.seen.usage.output == 8


async def test_choices_logprobs_and_stops(local: LocalProvider) -> None:
    answer = json.loads(
        await (
            await local.call(call(n=2, max_tokens=4, temperature=1, seed=3, logprobs=True, top_logprobs=2))
        ).read()
    )
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] == 8
    for choice in answer["choices"]:
        tokens = choice["logprobs"]["content"]
        assert len(tokens) == 4
        assert set(tokens[0]) == {"token", "logprob", "bytes", "top_logprobs"}
    stopped = json.loads(await (await local.call(call(stop=["Red"], max_tokens=20))).read())
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert "Red" not in stopped["choices"][0]["message"]["content"]


async def test_an_answer_in_a_schema(local: LocalProvider) -> None:
    schema = {"type": "object", "properties": {"warm": {"type": "boolean"}}, "required": ["warm"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = json.loads(await (await local.call(call(response_format=form, max_tokens=40))).read())
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["warm"], bool)
    broken = {"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}}
    with pytest.raises(InvalidRequest, match="schema") as caught:
        await local.call(call(response_format=broken))
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_required_call_is_made(local: LocalProvider, stream: bool) -> None:
    reply = await local.call(call(tools=TOOLS, tool_choice="required", max_tokens=60, stream=stream))
    if stream:
        chunks = await events(reply)
        calls = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", ())]
        assert not any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        choice = json.loads(await reply.read())["choices"][0]
        calls, reason = choice["message"]["tool_calls"], choice["finish_reason"]
        assert choice["message"]["content"] is None
    assert reason == "tool_calls"
    assert len(calls) == 1
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["function"]["name"] == "weather"
    assert isinstance(json.loads(calls[0]["function"]["arguments"])["city"], str)


async def test_text_completions(local: LocalProvider) -> None:
    reply = await local.call(
        call(Operation.COMPLETIONS, prompt=["Once upon", "Two"], max_tokens=3, echo=True, temperature=0)
    )
    answer = json.loads(await reply.read())
    assert answer["object"] == "text_completion"
    assert [
        choice["text"].startswith(prompt)
        for choice, prompt in zip(answer["choices"], ["Once upon", "Two"], strict=True)
    ] == [True, True]
    assert answer["usage"]["completion_tokens"] == 6
    reply = await local.call(
        call(Operation.COMPLETIONS, prompt="Once", max_tokens=2, logprobs=1, stream=True)
    )
    chunks = await events(reply)
    assert chunks[0]["choices"][0]["logprobs"]["text_offset"] == [0]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_too_long_a_prompt_is_told_in_openais_words(local: LocalProvider) -> None:
    with pytest.raises(
        ContextLengthExceeded, match="maximum context length of small is 2048 tokens"
    ) as caught:
        await local.call(call(messages=[{"role": "user", "content": "word " * 3000}]))
    assert caught.value.http_status == 400
    assert await free_after(local) < 30


async def test_tokens_are_counted_as_the_model_is_shown_them(local: LocalProvider) -> None:
    answer = json.loads(await (await local.call(call(max_tokens=1))).read())
    assert await local.count("small", messages=ASK) == answer["usage"]["prompt_tokens"]
    assert await local.count("small", text="hello world") == 2
    assert await local.count("small", messages=ASK, tools=TOOLS) > answer["usage"]["prompt_tokens"] + 50


@pytest.mark.parametrize("messages", [ASK, LONG], ids=["while it writes", "while it reads the prompt"])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_frees_the_engine(local: LocalProvider, messages: list[Any], stream: bool) -> None:
    reply = await local.call(call(messages=messages, max_tokens=1000, stream=stream, temperature=1))
    reading = asyncio.create_task(events(reply) if stream else reply.read())  # type: ignore[arg-type] # either will do
    await asyncio.sleep(0.3)
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    # The whole answer would take many.
    assert await free_after(local) < 5
    reply.close()
    reply.close()


async def test_closing_ends_a_stream_that_someone_still_reads(local: LocalProvider) -> None:
    reply = await local.call(call(stream=True, max_tokens=1000))
    reading = asyncio.create_task(events(reply))
    await asyncio.sleep(0.3)
    reply.close()
    with pytest.raises(StreamCut):
        await asyncio.wait_for(reading, 60)


async def test_more_than_the_line_holds_is_refused(local: LocalProvider) -> None:
    first = await local.call(call(max_tokens=1000, stream=True))
    second = asyncio.create_task(local.call(call()))
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded) as caught:
        await local.call(call())
    assert (caught.value.retry_after or 0) >= 1
    first.close()
    assert json.loads(await (await second).read())["choices"]


async def test_an_engine_that_dies_fails_its_answers_and_starts_again(local: LocalProvider) -> None:
    reply = await local.call(call(stream=True, max_tokens=1000))
    kill_engines()
    with pytest.raises(StreamCut):
        await events(reply)
    whole = await local.call(call(max_tokens=500))
    kill_engines()
    with pytest.raises(StreamCut):
        await whole.read()
    assert json.loads(await (await local.call(call())).read())["choices"]


async def test_closing_the_provider_ends_the_engine(small_model: Path) -> None:
    provider = LocalProvider("local", settings(small_model, preload=["small", "nothing"]))
    await provider.start()
    await (await provider.call(call(max_tokens=1))).read()
    assert children()
    await provider.close()
    assert not children()


def test_an_engine_does_not_outlive_its_server(small_model: Path) -> None:
    """The parent is killed, as by the out-of-memory killer; the child must notice by itself."""
    program = f"""
import asyncio
from mainspring.base.settings import LocalSettings, Settings
from mainspring.providers.local.catalog import find
from mainspring.providers.local.engine import start_worker
async def main():
    model = find("small", "local", Settings(local=LocalSettings(directory={str(small_model)!r})))
    worker = await start_worker(model, parallel=1, threads=1)
    print(worker.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        assert is_running(engine)
        parent.kill()
    deadline = time.monotonic() + 60
    while is_running(engine):
        assert time.monotonic() < deadline, "the engine is still running"
        time.sleep(0.05)


async def test_models_by_path(small_model: Path, tmp_path: Path) -> None:
    path = IN_THE_BOX["small"].path(small_model)
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    configured = Settings(
        local=LocalSettings(directory=str(tmp_path)),
        models={
            "local/mine": ModelSettings(path=str(path), context_tokens=512),
            "local/broken": ModelSettings(path=str(tmp_path / "broken.gguf")),
            "local/away": ModelSettings(path=str(tmp_path / "away.gguf")),
        },
    )
    provider = LocalProvider("local", configured)
    assert await provider.models() == ["broken", "mine"]
    with pytest.raises(ContextLengthExceeded, match="512 tokens"):
        await provider.call(call(model="mine", messages=LONG))
    with pytest.raises(LocalModelError, match="cannot be loaded"):
        await provider.call(call(model="broken"))
    with pytest.raises(LocalModelError, match=r"away\.gguf, is not there"):
        await provider.call(call(model="away"))
    with pytest.raises(LocalModelError, match="mainspring local pull small"):
        await provider.call(call())
    with pytest.raises(NotFound, match="no model 'huge'"):
        await provider.call(call(model="huge"))
    await provider.close()


async def test_models_do_what_they_are_for(small_model: Path, embedding_model: Path) -> None:
    provider = LocalProvider("local", settings(small_model))
    reply = await provider.call(call(Operation.EMBEDDINGS, "embed", input=["a", "b"]))
    body = await reply.read()
    assert len(json.loads(body)["data"]) == 2
    seen = provider.read_usage(Operation.EMBEDDINGS, body)
    assert seen.usage == Usage(input=6)
    assert await provider.count("embed", text="hello world") == 4
    with pytest.raises(InvalidRequest, match="does not do embeddings"):
        await provider.call(call(Operation.EMBEDDINGS, "small", input="a"))
    with pytest.raises(InvalidRequest, match="does not do chat"):
        await provider.call(call(model="embed"))
    assert not children()
    await provider.close()


def test_a_hub_model_is_known_by_its_prefix(tmp_path: Path) -> None:
    assert find("hub:BAAI/bge-small-en-v1.5", "local", settings(tmp_path)).kind == "hub"


def kill_engines() -> None:
    for process in children():
        os.kill(process, signal.SIGKILL)


def computed() -> float:
    """Processor seconds of the engines so far; a busy machine does not change them much."""
    times = [psutil.Process(process).cpu_times() for process in children()]
    return sum(each.user + each.system for each in times)


def children() -> list[int]:
    """Engines of this process."""
    return [child.pid for child in psutil.Process().children() if "worker.py" in " ".join(child.cmdline())]


def is_running(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
