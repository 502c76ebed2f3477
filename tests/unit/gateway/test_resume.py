"""A stream that broke goes on elsewhere: as one stream for the caller, with both parts in the account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.gateway import DONE, ROLE, STOP, USAGE, ScriptedProvider, Step, bench

from mainspring.base.errors import ProviderRefused, ProviderUnreachable, StreamCut
from mainspring.base.settings import ModelSettings

CUT = StreamCut("one broke the connection.")
RESUME: Any = {"resume": True, "retry": {"backoff": 0.01}}
PRICE = ModelSettings(input_usd_per_mtok=1, output_usd_per_mtok=10)
PRICES = {"one/m": PRICE, "two/m": PRICE}


def says(text: str, **delta: Any) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "created": 7,
        "model": "m-1",
        "choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def other(text: str) -> bytes:
    return says(text).replace(b"chatcmpl-1", b"chatcmpl-2").replace(b"m-1", b"m-2")


def chunks(body: bytes) -> list[dict[str, Any]]:
    events = [event for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    return [json.loads(event[6:]) for event in events]


def text_of(body: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks(body) for choice in chunk.get("choices", [])
    )


BROKEN: list[Step] = [ROLE, says("The answer"), says(" is "), CUT]
REST: list[Step] = [ROLE, other(" forty"), other("-two."), STOP, USAGE, DONE]


async def test_it_goes_on_at_the_next_target() -> None:
    one, two = ScriptedProvider("one", BROKEN), ScriptedProvider("two", REST)
    async with bench(one, two, models=PRICES, route=RESUME) as at:
        sink, exchange = await at.ask(stream=True, max_tokens=100, stream_options={"include_usage": True})
        assert exchange.error is None
        assert text_of(sink.body) == "The answer is forty-two."
        every = chunks(sink.body)
        assert [
            c["delta"].get("role") for chunk in every for c in chunk["choices"] if "role" in c["delta"]
        ] == ["assistant"]
        assert {chunk["id"] for chunk in every if "id" in chunk} == {"chatcmpl-1"}
        finishes = [c["finish_reason"] for chunk in every for c in chunk["choices"] if c.get("finish_reason")]
        assert finishes == ["stop"]
        assert sink.body.endswith(DONE)
        assert sink.body.count(DONE) == 1
        usage = every[-1]["usage"]
        (row,) = at.ledger.rows
        lost = exchange.losses[0].usage
        assert usage["prompt_tokens"] == lost.input
        assert usage["completion_tokens"] == lost.output + 3
        assert usage["total_tokens"] == lost.input + lost.output + 3
        # The mark: a comment, and a member of the first event of the rest.
        assert b"\n\n: mainspring goes on with this answer at two/m\n\n" in sink.body
        marked = [chunk["mainspring"] for chunk in every if "mainspring" in chunk]
        assert marked == [{"resumed": {"provider": "two", "model": "m", "attempt": 2}}]
        # The request for the rest.
        asked = json.loads(two.calls[0].body)
        assert asked["messages"][1] == {"role": "assistant", "content": "The answer is "}
        assert asked["messages"][2]["role"] == "user"
        assert asked["max_tokens"] == 100 - lost.output
        # The ledger.
        assert [attempt.outcome for attempt in row.attempts] == ["cut", "ok"]
        assert row.extra == {"resumed": ["two/m"]}
        assert (row.cut, row.error, row.provider, row.usage_source) == (False, None, "two", "estimated")
        assert (row.input_tokens, row.output_tokens) == (lost.input + 7, lost.output + 3)
        assert row.cost_nusd == row.input_tokens * 1000 + row.output_tokens * 10_000
        assert row.cost_nusd == sum(attempt.cost_nusd or 0 for attempt in row.attempts)
        assert at.ledger.payloads[0].response == sink.body
        assert [entry.in_flight for entry in at.gateway.health.entries()] == [0, 0]


async def test_a_rest_whose_finish_comes_without_a_delta() -> None:
    bare = b'data: {"choices":[{"index":0,"finish_reason":"length"}]}\n\n'
    one, two = ScriptedProvider("one", BROKEN), ScriptedProvider("two", [ROLE, other("forty"), bare, DONE])
    async with bench(one, two, route=RESUME) as at:
        sink, _ = await at.ask(stream=True)
        finishes = [choice.get("finish_reason") for one in chunks(sink.body) for choice in one["choices"]]
        assert finishes[-1] == "length"
        assert sink.body.endswith(DONE)


async def test_a_single_target_may_go_on_itself() -> None:
    one = ScriptedProvider("one", BROKEN, REST)
    async with bench(one, route=RESUME) as at:
        sink, _ = await at.ask(stream=True)
        assert text_of(sink.body) == "The answer is forty-two."
        assert len(one.calls) == 2


async def test_it_may_break_twice() -> None:
    one = ScriptedProvider("one", BROKEN, [other("forty"), CUT], [other("-two."), STOP, USAGE, DONE])
    async with bench(one, models=PRICES, route=RESUME) as at:
        sink, exchange = await at.ask(stream=True)
        assert exchange.error is None
        assert text_of(sink.body) == "The answer is forty-two."
        (row,) = at.ledger.rows
        assert row.extra == {"resumed": ["one/m", "one/m"]}
        assert len(exchange.losses) == 2
        assert row.cost_nusd == row.input_tokens * 1000 + row.output_tokens * 10_000


async def test_when_nobody_goes_on_the_first_break_is_told() -> None:
    refused = ProviderRefused("no", upstream_status=500, upstream_body=b"{}")
    for failure in (refused, ProviderUnreachable("two is away.")):
        async with bench(
            ScriptedProvider("one", BROKEN, [failure]), ScriptedProvider("two", [failure]), route=RESUME
        ) as at:
            sink, exchange = await at.ask(stream=True)
            assert b"stream_cut" in sink.body
            assert DONE not in sink.body
            (row,) = at.ledger.rows
            assert (row.cut, row.error, row.extra) == (True, "stream_cut", None)
            assert row.output_tokens > 0
            assert len(exchange.losses) == 1


async def test_without_being_told_to_nothing_goes_on() -> None:
    two = ScriptedProvider("two", REST)
    async with bench(ScriptedProvider("one", BROKEN), two) as at:
        sink, _ = await at.ask(stream=True)
        assert b"stream_cut" in sink.body
        assert not two.calls


IMPOSSIBLE: list[tuple[dict[str, Any], bytes]] = [
    ({"n": 2}, says("a")),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, says('{"a":')),
    ({"response_format": {"type": "json_object"}}, says('{"a":')),
    ({"reasoning_effort": "high"}, says("a")),
    ({"logprobs": True}, says("a")),
    ({"tool_choice": "required", "tools": []}, says("a")),
    ({}, says("", tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}])),
    ({}, says("", reasoning_content="hmm")),
    ({}, says("").replace(b'"finish_reason":null', b'"finish_reason":"stop"') + says("x")),
]


@pytest.mark.parametrize(("asked", "said"), IMPOSSIBLE)
async def test_what_cannot_be_continued_is_told(asked: dict[str, Any], said: bytes) -> None:
    two = ScriptedProvider("two", REST)
    async with bench(ScriptedProvider("one", [ROLE, said, CUT]), two, route=RESUME) as at:
        sink, _ = await at.ask(stream=True, **asked)
        assert b'"error"' in sink.body
        assert not two.calls
