"""Calls beside the first: hedges, rescues from a target that hangs, and probes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.support.gateway import ANSWER, DONE, HELLO, ROLE, STOP, USAGE, ScriptedProvider, Step, bench
from tests.support.waiting import happens

from mainspring.base.errors import ProviderRefused

STREAM: list[Step] = [ROLE, HELLO, STOP, USAGE, DONE]
HEDGED: Any = {"hedge": {"after": 0.05, "max_share": 1.0}}
#: What is slow takes minutes, and whoever does not wait for it is done in this time, on a busy machine too.
SLOW, QUICK = 120.0, 20.0
PRICES: Any = {
    "one/m": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0},
    "two/m": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0},
}


def refused(status: int) -> ProviderRefused:
    return ProviderRefused(f"refused {status}", upstream_status=status, upstream_body=b"{}")


def prices() -> Any:
    from mainspring.base.settings import ModelSettings  # noqa: PLC0415 - only for these

    return {name: ModelSettings(**fields) for name, fields in PRICES.items()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slow", [[SLOW, ANSWER], [ROLE, SLOW, HELLO]])
async def test_the_first_content_wins_and_the_loser_is_cancelled_at_once(
    slow: list[Step], *, stream: bool
) -> None:
    one, two = ScriptedProvider("one", slow), ScriptedProvider("two", STREAM if stream else [ANSWER])
    async with bench(one, two, models=prices(), route=HEDGED) as at:
        began = time.monotonic()
        sink, exchange = await at.ask(stream=stream)
        assert time.monotonic() - began < QUICK
        assert (sink.status, sink.headers[b"x-mainspring-provider"]) == (200, b"two")
        assert sink.headers[b"x-mainspring-attempts"] == b"2"
        assert sink.body == (ROLE + HELLO + STOP + DONE if stream else ANSWER)
        first, second = exchange.attempts
        assert (first.outcome, first.hedge, second.outcome, second.hedge) == ("cancelled", False, "ok", True)
        assert first.started_us < second.started_us < first.ended_us <= second.ended_us
        assert one.cancelled + sum(reply.closed for reply in one.replies) == 1
        (row,) = at.ledger.rows
        assert row.usage_source == "estimated"
        assert row.input_tokens > 7  # what the loser was asked is paid too
        assert first.cost_nusd is not None
        assert second.cost_nusd == 10_000
        assert row.cost_nusd == first.cost_nusd + second.cost_nusd
        assert [entry.in_flight for entry in at.gateway.health.entries()] == [0, 0]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_may_win_all_the_same(stream: bool) -> None:
    answer: list[Step] = STREAM if stream else [ANSWER]
    two = ScriptedProvider("two", [SLOW, *answer])
    one = ScriptedProvider("one", [lambda: two.calls, *answer])
    async with bench(one, two, route=HEDGED) as at:
        sink, exchange = await at.ask(stream=stream)
        assert sink.headers[b"x-mainspring-provider"] == b"one"
        assert [attempt.outcome for attempt in exchange.attempts] == ["ok", "cancelled"]
        await happens(lambda: two.cancelled == 1)
        assert [entry.in_flight for entry in at.gateway.health.entries()] == [0, 0]


async def test_a_quick_answer_is_not_hedged() -> None:
    one, two = ScriptedProvider("one", [ANSWER]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two, route={"hedge": {"after": 0.8, "max_share": 1.0}}) as at:
        await at.ask()
        await asyncio.sleep(1)
        assert not two.calls


async def test_the_hedge_takes_over_when_the_first_fails() -> None:
    two = ScriptedProvider("two", [lambda: one.refusals, 0.05, ANSWER])
    one = ScriptedProvider("one", [lambda: two.calls, refused(500)])
    async with bench(one, two, route=HEDGED) as at:
        sink, exchange = await at.ask()
        assert (sink.status, len(two.calls)) == (200, 1)
        assert [attempt.outcome for attempt in exchange.attempts] == ["refused", "ok"]
    two = ScriptedProvider("two", [refused(500)])
    one = ScriptedProvider("one", [lambda: two.refusals, 0.05, ANSWER])
    async with bench(one, two, route=HEDGED) as at:
        sink, exchange = await at.ask()
        assert sink.status == 200
        assert [attempt.outcome for attempt in exchange.attempts] == ["ok", "refused"]
    two = ScriptedProvider("two", [0.1, refused(503)])
    one = ScriptedProvider("one", [lambda: two.calls, refused(500)])
    async with bench(one, two, route={**HEDGED, "retry": {"backoff": 0.01}}) as at:
        sink, exchange = await at.ask()
        assert (sink.status, len(exchange.attempts)) == (500, 3)


async def test_hedges_are_a_share_of_the_requests() -> None:
    one, two = ScriptedProvider("one", [0.03, ANSWER]), ScriptedProvider("two", [0.2, ANSWER])
    async with bench(one, two, route={"hedge": {"after": 0.01, "max_share": 0.1}}) as at:
        for _ in range(40):
            await at.ask()
        assert 1 <= len(two.calls) <= 2 + 0.1 * 40


async def test_a_hedge_after_the_usual_time() -> None:
    one, two = (
        ScriptedProvider("one", *[[0.01, ANSWER]] * 60, [SLOW, ANSWER]),
        ScriptedProvider("two", [ANSWER]),
    )
    async with bench(one, two, route={"hedge": {"after": "p95", "max_share": 1.0}}) as at:
        began = 0.0
        for _ in range(61):
            began = time.monotonic()
            sink, _ = await at.ask()
        assert sink.headers[b"x-mainspring-provider"] == b"two"
        assert time.monotonic() - began < QUICK


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_ends_both(stream: bool) -> None:
    one, two = ScriptedProvider("one", [SLOW, HELLO]), ScriptedProvider("two", [SLOW, HELLO])
    async with bench(one, two, route=HEDGED) as at:
        exchange = at.exchange(stream=stream)
        task = asyncio.create_task(at.gateway.handle(exchange))
        await happens(lambda: two.calls)
        assert len(two.calls) == 1
        exchange.sink.hang_up()  # type: ignore[attr-defined] # the sink of this bench
        await asyncio.wait_for(task, QUICK)
        assert (one.cancelled, two.cancelled) == (1, 1)
        assert [attempt.outcome for attempt in exchange.attempts] == ["cancelled", "cancelled"]
        assert at.ledger.rows[0].status == 499
        assert [entry.in_flight for entry in at.gateway.health.entries()] == [0, 0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_that_hangs_is_left_without_being_told_to(stream: bool) -> None:
    answer: list[Step] = STREAM if stream else [ANSWER]
    one = ScriptedProvider("one", *[[0.005, *answer]] * 40, [SLOW])
    async with bench(one, ScriptedProvider("two", answer)) as at:
        for _ in range(40):
            await at.ask(stream=stream)
        began = time.monotonic()
        results = await asyncio.gather(*(at.ask(stream=stream) for _ in range(20)))
        assert time.monotonic() - began < QUICK
        assert {sink.headers[b"x-mainspring-provider"] for sink, _ in results} == {b"two"}
        assert at.gateway.health.entries()[0].state == "open"
        before = len(one.calls)
        await at.ask(stream=stream)
        assert len(one.calls) == before


@pytest.mark.parametrize("stream", [False, True])
async def test_a_probe_costs_the_caller_no_time(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is answered when the caller has been: one who waited for it would wait for ever."""
    monkeypatch.setattr("mainspring.gateway.hedge._PROBE_SECONDS", SLOW)
    answer: list[Step] = STREAM if stream else [ANSWER]
    served: list[bool] = []
    one = ScriptedProvider("one", *[[refused(500)]] * 5, [lambda: served, *answer])
    two = ScriptedProvider("two", answer)
    async with bench(one, two) as at:
        while at.gateway.health.wait(at.gateway.planner.plan("one/m", None).targets[0]) == 0:  # type: ignore[arg-type] # a direct name asks nothing
            await at.ask(stream=stream)
            assert len(one.calls) <= 5
        await asyncio.sleep(1.1)
        began = time.monotonic()
        sink, exchange = await at.ask(stream=stream)
        assert time.monotonic() - began < QUICK
        assert sink.headers[b"x-mainspring-provider"] == b"two"
        assert [attempt.provider for attempt in exchange.attempts] == ["one", "two"]
        served.append(True)  # the probe is answered although nobody waits for it
        await happens(lambda: at.gateway.health.entries()[0].state == "closed")
        await happens(lambda: [entry.in_flight for entry in at.gateway.health.entries()] == [0, 0])
        sink, _ = await at.ask(stream=stream)
        assert sink.headers[b"x-mainspring-provider"] == b"one"
        assert all(reply.closed for reply in one.replies)


async def test_a_probe_that_was_silent_to_its_end_is_paid_too() -> None:
    one, two = ScriptedProvider("one", *[[refused(500)]] * 5, [SLOW]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two, models=prices()) as at:
        while at.gateway.health.wait(at.gateway.planner.plan("one/m", None).targets[0]) == 0:  # type: ignore[arg-type] # a direct name asks nothing
            await at.ask()
        await asyncio.sleep(1.1)
        two._scripts = [[2.5, ANSWER]]
        sink, exchange = await at.ask()
        assert sink.headers[b"x-mainspring-provider"] == b"two"
        probe, answer = exchange.attempts
        assert (probe.outcome, answer.outcome) == ("timeout", "ok")
        assert probe.cost_nusd
        assert at.ledger.rows[-1].cost_nusd == 10_000 + probe.cost_nusd
