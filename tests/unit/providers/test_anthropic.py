"""What is read off answers and streams of the Anthropic wire."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.loopback import loopback, response

from mainspring.base.errors import ProviderProtocolError, ProviderRefused
from mainspring.ledger.types import Usage
from mainspring.providers.anthropic import AnthropicProvider, MessagesScanner, read_answer
from mainspring.providers.sse import EventSplitter
from mainspring.providers.types import Call, Operation

TRAPS = [
    "usage",
    "error",
    '{"error":{}}',
    "message_stop",
    "message_",
    "[DONE]",
    "event: error",
    "é\U0001f600",
    "",
]
START = {
    "input_tokens": 10,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 1,
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def message(texts: list[str], usage: Any) -> tuple[bytes, bytes]:
    body = event("message_start", message={"id": "m", "type": "message", "model": "claude", "usage": START})
    body += event("ping")
    body += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for text in texts:
        body += event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    body += event("content_block_stop", index=0)
    body += event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    return body, event("message_stop")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(TRAPS), max_size=5),
    st.lists(st.integers(0, 5000), max_size=12),
    st.booleans(),
    st.sampled_from(
        [{"output_tokens": 50}, {"output_tokens": 50, "input_tokens": 10, "cache_read_input_tokens": None}]
    ),
)
def test_any_chunking_gives_the_same(texts: list[str], places: list[int], crlf: bool, usage: Any) -> None:
    body, last = message(texts, usage)
    if crlf:
        body, last = body.replace(b"\n", b"\r\n"), last.replace(b"\n", b"\r\n")
    data = body + last
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    scanner, splitter, out = MessagesScanner("up"), EventSplitter(), b""
    for start, end in itertools.pairwise(ends):
        if events := splitter.feed(data[start:end]):
            out += scanner.feed(events)
    assert out == body
    assert scanner.terminal() == last
    assert scanner.seen.usage == Usage(input=10, cache_read=30, cache_write=5, cache_write_1h=3, output=50)
    assert scanner.seen.finish_reason == "end_turn"
    assert scanner.seen.model == "claude"
    assert scanner.seen.finished
    assert scanner.seen.content == bool(texts)


def test_what_a_compaction_took_is_counted_too() -> None:
    iterations = [
        {
            "type": "compaction",
            "input_tokens": 180_000,
            "output_tokens": 3500,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 4,
            "cache_creation": {"ephemeral_1h_input_tokens": 4},
        },
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
        {"type": "advisor_message", "model": "claude-other", "input_tokens": 900, "output_tokens": 90},
    ]
    usage = {
        "input_tokens": 23_000,
        "output_tokens": 1000,
        "output_tokens_details": {"thinking_tokens": 400},
        "iterations": iterations,
    }
    expected = Usage(input=203_000, cache_read=7, cache_write=4, output=4100, reasoning=400, cache_write_1h=4)
    body = {"type": "message", "model": "claude", "stop_reason": "end_turn", "usage": usage}
    read = read_answer("up", Operation.MESSAGES, json.dumps(body).encode())
    assert (read.usage, read.beside) == (expected, [("claude-other", Usage(input=900, output=90))])
    scanner = MessagesScanner("up")
    start = {"type": "message", "model": "claude", "usage": {"input_tokens": 23_000, "output_tokens": 1}}
    scanner.feed(event("message_start", message=start))
    scanner.feed(event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage))
    assert (scanner.seen.usage, scanner.seen.beside) == (read.usage, read.beside)


def test_a_stream_that_is_cut_has_told_its_prompt() -> None:
    scanner = MessagesScanner("up")
    scanner.feed(message(["x"], {})[0].partition(b"event: message_delta")[0])
    assert scanner.seen.usage == Usage(input=10, cache_read=30, cache_write=5, cache_write_1h=3, output=1)
    assert not scanner.seen.finished


@pytest.mark.parametrize("odd", [{"output_tokens": "7"}, {"iterations": 7}, [7]])
def test_an_odd_usage_costs_no_answer(odd: Any) -> None:
    body = {"type": "message", "model": "claude", "stop_reason": "end_turn", "usage": odd}
    seen = read_answer("up", Operation.MESSAGES, json.dumps(body).encode())
    assert (seen.usage, seen.finish_reason) == (None, "end_turn")
    whole, last = message(["x"], odd)
    scanner = MessagesScanner("up")
    scanner.feed(whole + last)
    assert (scanner.seen.finish_reason, scanner.seen.finished) == ("end_turn", True)


def test_a_stream_without_usage() -> None:
    scanner = MessagesScanner("up")
    scanner.feed(
        event("message_start", message={"type": "message"})
        + event("message_delta", delta=None)
        + event("message_stop")
    )
    assert (scanner.seen.usage, scanner.seen.finished, scanner.seen.content) == (None, True, False)


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "odd", None])
@pytest.mark.parametrize("before", [b"", event("content_block_delta", delta={"text": "x"})])
def test_errors_inside(kind: str | None, before: bytes) -> None:
    scanner = MessagesScanner("up")
    scanner.feed(before)
    last = event("error", error={"type": kind, "message": "x"})
    assert scanner.feed(before + last + event("message_stop")) == before
    assert scanner.seen.error is not None
    expected = {"overloaded_error": 529, "rate_limit_error": 429}.get(kind or "", 502)
    assert scanner.seen.error.upstream_status == expected
    assert not scanner.seen.finished


def test_garbage() -> None:
    for garbage in (b"data: {\n\n", b"data: \xff\n\n", b"data: 3\n\n"):
        with pytest.raises(ProviderProtocolError):
            MessagesScanner("up").feed(garbage)


def test_whole_answers() -> None:
    body = {
        "type": "message",
        "model": "claude",
        "stop_reason": "max_tokens",
        "usage": {**START, "output_tokens": 7},
    }
    seen = read_answer("up", Operation.MESSAGES, json.dumps(body).encode())
    assert seen.usage == Usage(input=10, cache_read=30, cache_write=5, cache_write_1h=3, output=7)
    assert (seen.finish_reason, seen.model, seen.finished) == ("max_tokens", "claude", True)
    assert read_answer("up", Operation.COUNT_TOKENS, b'{"input_tokens":9}').finished
    for bad in (b"", b"[]", b"{}", b'{"type":"completion"}', b"\xff", b'{"x":' + b"[" * 9999):
        with pytest.raises(ProviderProtocolError):
            read_answer("up", Operation.MESSAGES, bad)
    with pytest.raises(ProviderRefused) as error:
        read_answer(
            "up", Operation.MESSAGES, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'
        )
    assert error.value.upstream_status == 529


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_where_it_calls(suffix: str) -> None:
    heads = []

    async def script(visit: Any) -> None:
        while request := await visit.request():
            heads.append(request.partition(b"\r\n\r\n")[0].decode().split("\r\n"))
            known = (
                response(b'{"data":[{"id":"claude-1"}]}') if request.startswith(b"GET") else response(b"{}")
            )
            await visit.send(known)

    async with loopback(script) as server:
        url = f"http://127.0.0.1:{server.port}{suffix}"
        provider = AnthropicProvider("up", url, {"x-api-key": "k"}, frozenset({Operation.MESSAGES}))
        await provider.start()
        call = Call(Operation.MESSAGES, "m", b"{}", stream=False, headers={"anthropic-beta": "b"})
        (await provider.call(call)).close()
        assert await provider.models() == ["claude-1"]
        await provider.close()
    assert heads[0][0] == "POST /v1/messages HTTP/1.1"
    assert heads[1][0] == "GET /v1/models?limit=1000 HTTP/1.1"
    assert {"x-api-key: k", "anthropic-beta: b", "anthropic-version: 2023-06-01"} <= set(heads[0])


async def test_models_of_a_provider_that_does_not_tell() -> None:
    for body in (b"", b"[]", b'{"data":3}', b'{"data":[{}]}', b'{"data":["\xff"]}', b"[" * 9999):

        async def script(visit: Any, body: bytes = body) -> None:
            await visit.request()
            await visit.send(response(body))

        async with loopback(script) as server:
            provider = AnthropicProvider("up", f"http://127.0.0.1:{server.port}", {}, frozenset())
            await provider.start()
            assert await provider.models() == []
            await provider.close()
