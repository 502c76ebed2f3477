"""The steps in their order, and every way in which they end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.gateway import ANSWER, DONE, HELLO, ROLE, STOP, USAGE, ScriptedProvider, Step, bench
from tests.support.waiting import happens

from mainspring.base.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    MainspringError,
    Overloaded,
    ProviderRefused,
    ProviderUnreachable,
    StoreUnavailable,
    StreamCut,
)
from mainspring.keys.types import Principal
from mainspring.providers.types import Operation

STREAM: list[Step] = [ROLE, HELLO, STOP, USAGE, DONE]
AWAY = ProviderUnreachable("one cannot be reached.")
DROPPED = ProviderUnreachable("one broke the connection.", dropped=True)


def refused(status: int, message: str = "secret words", kind: str | None = None) -> ProviderRefused:
    body = json.dumps({"error": {"message": message, "type": kind}}).encode()
    return ProviderRefused(
        f"one answered {status}: {message}", upstream_status=status, upstream_body=body, upstream_type=kind
    )


async def test_a_whole_answer() -> None:
    one = ScriptedProvider("one", [ANSWER])
    async with bench(one) as at:
        sink, exchange = await at.ask()
        assert (sink.status, sink.body, sink.ended) == (200, ANSWER, True)
        assert sink.headers[b"x-request-id"].decode() == exchange.id
        assert sink.headers[b"x-mainspring-provider"] == b"one"
        assert sink.headers[b"x-mainspring-attempts"] == b"1"
        (row,) = at.ledger.rows
        assert (row.id, row.tenant, row.user, row.route, row.provider, row.model) == (
            exchange.id,
            "acme",
            "ann",
            "default",
            "one",
            "m-1",
        )
        assert (row.status, row.input_tokens, row.output_tokens, row.usage_source) == (200, 7, 3, "provider")
        assert at.ledger.payloads[0].response == ANSWER
        assert json.loads(one.calls[0].body)["model"] == "m"
        assert one.replies[0].closed
        assert len(at.gateway.watch) == 0


async def test_the_row_is_there_before_the_last_byte() -> None:
    cases: list[tuple[bool, list[Step], bytes]] = [(False, [ANSWER], ANSWER), (True, STREAM, DONE)]
    for stream, script, end in cases:
        async with bench(ScriptedProvider("one", script)) as at:
            at.ledger.delay = 0.2
            exchange = at.exchange(stream=stream)
            sink: Any = exchange.sink
            seen: list[bytes] = []
            at.ledger.on_commit = lambda sink=sink, seen=seen: seen.append(sink.body)
            await at.gateway.handle(exchange)
            assert len(at.ledger.rows) == 1
            assert end not in seen[0]
            assert sink.body.endswith(end)
            assert sink.writes[-1] == end


async def test_a_stream() -> None:
    one = ScriptedProvider("one", STREAM)
    async with bench(one) as at:
        sink, exchange = await at.ask(stream=True)
        assert sink.body == ROLE + HELLO + STOP + DONE
        assert sink.headers[b"x-accel-buffering"] == b"no"
        (row,) = at.ledger.rows
        assert (row.stream, row.cut, row.finish_reason, row.input_tokens) == (True, False, "stop", 7)
        assert row.first_byte_us is not None
        assert exchange.received_us <= row.first_byte_us <= row.done_us
        assert at.ledger.payloads[0].response == sink.body
        assert json.loads(one.calls[0].body)["stream_options"] == {"include_usage": True}
        sink, _ = await at.ask(stream=True, stream_options={"include_usage": True})
        assert sink.body == ROLE + HELLO + STOP + USAGE + DONE


@pytest.mark.parametrize("missing", ["the last blank line", "the marker"])
async def test_endings_that_are_not_quite_there(missing: str) -> None:
    whole = HELLO + STOP + USAGE + (DONE if missing == "the last blank line" else b"")
    async with bench(
        ScriptedProvider("one", [HELLO, (HELLO + STOP).rstrip(b"\n")]), ScriptedProvider("two", [AWAY])
    ) as at:
        sink, _ = await at.ask(stream=True)
        assert sink.body == HELLO + HELLO + STOP + DONE
    async with bench(ScriptedProvider("one", [whole.rstrip(b"\n")])) as at:
        sink, _ = await at.ask(stream=True)
        assert sink.body == HELLO + STOP + DONE
        assert at.ledger.rows[0].input_tokens == 7


FAILURES: list[tuple[list[Step], int]] = [
    ([AWAY], 502),
    ([refused(500)], 500),
    ([refused(529)], 503),
    ([refused(401)], 502),
    ([refused(429)], 429),
    ([Overloaded("full")], 503),
    ([b"not json"], 502),
    ([b'{"error":{"message":"x","type":"rate_limit_error"}}'], 429),
]


@pytest.mark.parametrize(("script", "status"), FAILURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_content(script: list[Step], status: int, stream: bool) -> None:
    if stream and isinstance(script[0], bytes):
        script = [ROLE, b"data: " + script[0] + b"\n\n"]
    one, two = ScriptedProvider("one", script), ScriptedProvider("two", STREAM if stream else [ANSWER])
    async with bench(one) as at:
        sink, _ = await at.ask(stream=stream)
        assert (sink.status, sink.ended) == (status, True)
        assert "error" in json.loads(sink.body)
        (row,) = at.ledger.rows
        assert (row.status, row.cut, row.error is not None, row.cost_nusd) == (status, False, True, 0)
        assert "secret words" not in (row.error_message or "")
        assert at.ledger.payloads[0].response == sink.body
        assert at.ledger.tried == 1
    async with bench(one, two) as at:
        sink, _ = await at.ask(stream=stream)
        assert (
            sink.status,
            sink.headers[b"x-mainspring-provider"],
            sink.headers[b"x-mainspring-attempts"],
        ) == (200, b"two", b"2")
        assert sink.body == (ROLE + HELLO + STOP + DONE if stream else ANSWER)
        (row,) = at.ledger.rows
        assert [a.outcome == "ok" for a in row.attempts] == [False, True]
        assert (row.error, row.input_tokens) == (None, 7)
    assert all(reply.closed for reply in one.replies)


@pytest.mark.parametrize("error", [refused(400), refused(422), ContextLengthExceeded("too long")])
async def test_what_the_caller_did_wrong_is_not_tried_elsewhere(error: MainspringError) -> None:
    two = ScriptedProvider("two", [ANSWER])
    async with bench(ScriptedProvider("one", [error]), two) as at:
        sink, _ = await at.ask()
        assert sink.status == error.http_status
        assert not two.calls


@pytest.mark.parametrize(
    "error",
    [
        refused(402),
        refused(400, kind="credit_balance_too_low"),
        refused(413, kind="rate_limit_exceeded"),  # more tokens than a minute's limit of ours at Groq
        refused(400, kind="previous_response_not_found"),  # the other one may have given it
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_the_callers_fault_is_tried_elsewhere(error: MainspringError, stream: bool) -> None:
    one, two = ScriptedProvider("one", [error]), ScriptedProvider("two", STREAM if stream else [ANSWER])
    async with bench(one, two) as at:
        sink, _ = await at.ask(stream=stream)
        assert (sink.status, sink.headers[b"x-mainspring-provider"]) == (200, b"two")
        assert len(one.calls) == 1


async def test_what_one_provider_cannot_say_another_may() -> None:
    async with bench(
        ScriptedProvider("one", [InvalidRequest("not here")]), ScriptedProvider("two", [ANSWER])
    ) as at:
        assert (await at.ask())[0].status == 200


async def test_a_dropped_connection_is_tried_once_more() -> None:
    async with bench(ScriptedProvider("one", [DROPPED], [ANSWER])) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(at.ledger.rows[0].attempts)) == (200, 2)
    one = ScriptedProvider("one", [DROPPED])
    async with bench(one) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(one.calls)) == (502, 3)  # at once, and after a pause


BREAKS: list[tuple[list[Step], str, int]] = [
    ([ROLE, HELLO, StreamCut("one broke the connection.")], "stream_cut", 1),
    ([ROLE, HELLO], "stream_cut", 1),
    ([ROLE, HELLO, HELLO[:20]], "stream_cut", 1),
    ([HELLO, b'data: {"error":{"message":"x","type":"server_error"}}\n\n'], "provider_refused", 1),
    ([HELLO, HELLO + b'data: {"error":{"message":"x"}}\n\n' + HELLO], "provider_refused", 2),
    ([HELLO, b'data: {"error":\n\n'], "provider_protocol_error", 1),
]


@pytest.mark.parametrize(("script", "code", "pieces"), BREAKS)
async def test_failures_after_content_are_said_in_band(script: list[Step], code: str, pieces: int) -> None:
    one, two = ScriptedProvider("one", script), ScriptedProvider("two", STREAM)
    async with bench(one, two) as at:
        sink, _ = await at.ask(stream=True)
        assert (sink.status, sink.ended) == (200, True)
        events = [json.loads(event[6:]) for event in sink.body.split(b"\n\n") if event]
        assert "error" in events[-1]
        assert not any("error" in event for event in events[:-1])
        assert sum("hello" in str(event) for event in events) == pieces
        assert DONE not in sink.body
        assert not two.calls
        (row,) = at.ledger.rows
        assert (row.status, row.cut, row.error, row.usage_source) == (200, True, code, "estimated")
        assert row.output_tokens > 0
        assert at.ledger.payloads[0].response == sink.body
        assert at.ledger.tried == 1
        assert one.replies[0].closed


async def test_keepalives_before_the_first_byte_and_between() -> None:
    def kept(times: int) -> Step:
        return lambda: at.sinks[0].body.count(b": keepalive\n\n") >= times

    script: list[Step] = [kept(2), ROLE, HELLO, kept(4), STOP, DONE]
    one = ScriptedProvider("one", script, [0.5, ANSWER])
    async with bench(one, server={"keepalive_seconds": 0.15}) as at:
        sink, _ = await at.ask(stream=True)
        before, _, after = sink.body.partition(ROLE)
        assert before.count(b": keepalive\n\n") >= 2
        assert after.count(b": keepalive\n\n") >= 2
        assert sink.body.replace(b": keepalive\n\n", b"") == ROLE + HELLO + STOP + DONE
        assert b"x-mainspring-provider" not in sink.headers
        sink, _ = await at.ask(stream=False)
        assert b"keepalive" not in sink.body


async def test_an_error_after_a_keepalive_is_in_band_and_before_it_is_whole() -> None:
    async with bench(
        ScriptedProvider("one", [lambda: at.sinks[0].status, AWAY]), server={"keepalive_seconds": 0.1}
    ) as at:
        sink, _ = await at.ask(stream=True)
        assert sink.status == 200
        assert b'data: {"error"' in sink.body
        assert at.ledger.rows[0].status == 200
    once: Any = {"server": {"keepalive_seconds": 0.7}, "defaults": {"retry": {"attempts": 1}}}
    async with bench(ScriptedProvider("one", [AWAY]), **once) as at:
        at.ledger.delay = 1.2  # no keepalive may open the stream while the refusal is being recorded
        sink, _ = await at.ask(stream=True)
        assert (sink.status, at.ledger.rows[0].status) == (502, 502)
        assert b"keepalive" not in sink.body


@pytest.mark.parametrize(
    ("script", "timeouts", "stream", "status", "words"),
    [
        ([120.0, HELLO], {"first_token": 0.2}, True, 504, "sent nothing for 0.2 s"),
        ([ROLE, 120.0, HELLO], {"first_token": 0.2}, True, 504, "sent nothing for 0.2 s"),
        ([HELLO, 120.0, STOP, DONE], {"idle": 0.2}, True, 200, "went silent for 0.2 s"),
        ([HELLO, *[0.1, HELLO] * 600, STOP, DONE], {"total": 0.9}, True, 200, "did not finish within 0.9 s"),
        ([120.0, ANSWER], {"total": 0.3}, False, 504, "did not finish within 0.3 s"),
    ],
)
async def test_timeouts(script: list[Step], timeouts: Any, stream: bool, status: int, words: str) -> None:
    one = ScriptedProvider("one", script)
    async with bench(one, timeouts=timeouts) as at:
        sink, _ = await at.ask(stream=stream)
        assert sink.status == status
        assert words in sink.body.decode()
        (row,) = at.ledger.rows
        assert (row.error, row.attempts[-1].outcome) == ("provider_timeout", "timeout")
        assert one.cancelled or one.replies[0].closed


async def test_the_first_token_of_each_target_has_its_own_time() -> None:
    async with bench(
        ScriptedProvider("one", [120.0]), ScriptedProvider("two", STREAM), timeouts={"first_token": 0.8}
    ) as at:
        sink, _ = await at.ask(stream=True)
        assert (sink.status, sink.headers[b"x-mainspring-provider"]) == (200, b"two")
    async with bench(
        ScriptedProvider("one", [120.0]), ScriptedProvider("two", STREAM), timeouts={"total": 0.2}
    ) as at:
        sink, _ = await at.ask(stream=True)
        assert (sink.status, len(at.ledger.rows[0].attempts)) == (504, 1)


@pytest.mark.parametrize(
    ("stream", "script"), [(False, [120.0, ANSWER]), (True, [120.0, HELLO]), (True, [HELLO, 120.0])]
)
async def test_a_caller_who_leaves_cancels_everything(stream: bool, script: list[Step]) -> None:
    one, two = ScriptedProvider("one", script), ScriptedProvider("two", STREAM)
    async with bench(one, two) as at:
        exchange = at.exchange(stream=stream)
        task = asyncio.create_task(at.gateway.handle(exchange))
        await happens(lambda: one.calls and (script[0] != HELLO or HELLO in at.sinks[0].body))
        exchange.sink.hang_up()  # type: ignore[attr-defined] # the sink of this bench
        await asyncio.wait_for(task, 20)
        assert not two.calls
        assert one.cancelled or one.replies[0].closed
        (row,) = at.ledger.rows
        assert (row.status, row.error, row.attempts[0].outcome) == (499, "client_gone", "cancelled")
        assert (row.usage_source, row.input_tokens > 0) == ("estimated", True)
        assert not task.cancelled()


async def test_a_slow_reader_is_no_silent_provider() -> None:
    async with bench(ScriptedProvider("one", STREAM), timeouts={"idle": 0.1}) as at:
        exchange = at.exchange(stream=True)

        async def slow(data: bytes) -> None:
            await asyncio.sleep(0.4 if HELLO in data else 0)

        exchange.sink.before_write = slow  # type: ignore[attr-defined] # the sink of this bench
        await at.gateway.handle(exchange)
        assert exchange.error is None


@pytest.mark.parametrize("stream", [False, True])
async def test_no_answer_is_complete_without_its_row(stream: bool) -> None:
    async with bench(ScriptedProvider("one", STREAM if stream else [ANSWER])) as at:
        at.ledger.error = StoreUnavailable("The database is away.")
        sink, _ = await at.ask(stream=stream)
        assert at.ledger.tried == 1
        assert sink.ended
        assert sink.status == (200 if stream else 503)
        assert b"store_unavailable" in sink.body
        assert DONE not in sink.body
        assert ANSWER not in sink.body


async def test_who_may_not_ask() -> None:
    one = ScriptedProvider("one", [ANSWER])
    async with bench(one) as at:
        for secret in ("bad", ""):
            sink, _ = await at.ask(secret=secret)
            assert sink.status == 401
        assert at.ledger.tried == 0
        at.keys.principal = Principal("k", "n", "acme", "member", models=frozenset({"one/x"}))
        sink, _ = await at.ask()
        assert (sink.status, at.ledger.rows[-1].error, at.ledger.rows[-1].cost_nusd) == (
            403,
            "permission_denied",
            0,
        )
        sink, _ = await at.ask(model="nowhere")
        assert (sink.status, at.ledger.rows[-1].requested_model, at.ledger.rows[-1].cost_nusd) == (
            404,
            "nowhere",
            0,
        )
        assert not one.calls


async def test_payloads_are_kept_or_not() -> None:
    async with bench(ScriptedProvider("one", STREAM)) as at:
        at.keys.principal = Principal("k", "n", "acme", "member", payloads=False)
        await at.ask(stream=True)
        assert not at.ledger.payloads
        assert at.ledger.rows[0].output_tokens == 3


async def test_a_bug_of_ours_still_ends_in_the_dialect() -> None:
    async with bench(ScriptedProvider("one", [ANSWER])) as at:
        exchange = at.exchange()
        exchange.attribution = None  # type: ignore[assignment] # the bug
        await at.gateway.handle(exchange)
        sink: Any = exchange.sink
        assert (sink.status, sink.ended) == (500, True)
        assert b"internal_error" in sink.body


async def test_what_is_never_streamed_is_answered_whole() -> None:
    body = b'{"data":[],"usage":{"prompt_tokens":3}}'
    async with bench(ScriptedProvider("one", [body])) as at:
        sink, exchange = await at.ask(operation=Operation.EMBEDDINGS, stream=True, input="x")
        assert (sink.status, sink.body, exchange.stream) == (200, body, False)


async def test_tokens_are_counted_where_nobody_else_does() -> None:
    async with bench(ScriptedProvider("one", [ANSWER])) as at:
        sink, _ = await at.ask(operation=Operation.COUNT_TOKENS)
        assert json.loads(sink.body)["input_tokens"] > 0
        (row,) = at.ledger.rows
        assert (row.cost_nusd, row.usage_source, row.input_tokens) == (0, None, 0)


async def test_a_server_that_stops_records_what_it_had() -> None:
    async with bench(ScriptedProvider("one", [HELLO, 120.0])) as at:
        exchange = at.exchange(stream=True)
        task = asyncio.create_task(at.gateway.handle(exchange))
        await happens(lambda: HELLO in at.sinks[0].body)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (row,) = at.ledger.rows
        assert (row.error, row.cut, row.attempts[0].outcome) == ("overloaded", True, "cancelled")


async def test_an_interrupt_that_comes_as_the_call_finishes() -> None:
    """Whatever the order of the two, the reply is closed, the row is one, and the task is not left cancelled."""
    for turns in range(6):
        one = ScriptedProvider("one", STREAM)
        async with bench(one) as at:
            exchange = at.exchange(stream=True)

            async def handle(exchange: Any = exchange, at: Any = at) -> str:
                await at.gateway.handle(exchange)
                await asyncio.sleep(0)
                return "not cancelled"

            task = asyncio.create_task(handle())
            for _ in range(turns):
                await asyncio.sleep(0)
            exchange.interrupt(StreamCut("interrupted"))
            assert await task == "not cancelled"
            assert at.ledger.tried == 1
            assert all(reply.closed for reply in one.replies)
            assert exchange.sink.ended  # type: ignore[attr-defined] # the sink of this bench


async def test_two_who_cancel_at_once() -> None:
    one = ScriptedProvider("one", [120.0])
    async with bench(one, ScriptedProvider("two", [ANSWER])) as at:
        exchange = at.exchange()
        task = asyncio.create_task(at.gateway.handle(exchange))
        await happens(lambda: one.calls)
        exchange.interrupt(StreamCut("interrupted"))
        task.cancel()  # the process stops in the same moment
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(at.ledger.rows) == 1
