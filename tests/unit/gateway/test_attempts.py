"""Which target next, how often, and what is told when nobody answers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.support.gateway import ANSWER, DONE, HELLO, ROLE, STOP, USAGE, ScriptedProvider, Step, bench
from tests.support.waiting import happens

from mainspring.base.errors import (
    ClientGone,
    InvalidRequest,
    MainspringError,
    ProviderRefused,
    ProviderUnreachable,
)
from mainspring.providers.pool import PooledKey

STREAM: list[Step] = [ROLE, HELLO, STOP, USAGE, DONE]
AWAY = ProviderUnreachable("one cannot be reached.")
QUICK: Any = {"retry": {"backoff": 0.01}}


def refused(status: int, retry_after: int | None = None) -> ProviderRefused:
    body = json.dumps({"error": {"message": "no", "type": None}}).encode()
    return ProviderRefused(
        f"refused {status}", upstream_status=status, upstream_body=body, retry_after=retry_after
    )


async def test_another_target_comes_before_the_same_one() -> None:
    one, two = ScriptedProvider("one", [refused(500)]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two) as at:
        await at.ask()
        assert (len(one.calls), len(two.calls)) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_single_target_is_asked_again_after_a_pause(stream: bool) -> None:
    one = ScriptedProvider("one", [refused(503)], STREAM if stream else [ANSWER])
    async with bench(one, route=QUICK) as at:
        sink, exchange = await at.ask(stream=stream)
        assert (sink.status, sink.headers[b"x-mainspring-attempts"]) == (200, b"2")
        assert [attempt.outcome for attempt in exchange.attempts] == ["refused", "ok"]
        assert exchange.attempts[1].started_us >= exchange.attempts[0].ended_us


@pytest.mark.parametrize("error", [refused(401), refused(404), refused(400), InvalidRequest("no")])
async def test_what_a_repeat_cannot_cure_is_not_repeated(error: MainspringError) -> None:
    one = ScriptedProvider("one", [error])
    async with bench(one, route=QUICK) as at:
        await at.ask()
        assert len(one.calls) == 1


async def test_retry_after_is_honoured_and_long_ones_are_the_callers() -> None:
    one = ScriptedProvider("one", [refused(503, 1)], [ANSWER])
    async with bench(one, route=QUICK) as at:
        began = time.monotonic()
        sink, _ = await at.ask()
        assert sink.status == 200
        assert time.monotonic() - began >= 1
    one = ScriptedProvider("one", [refused(503, 60)])
    async with bench(one, route=QUICK) as at:
        sink, _ = await at.ask()
        assert (sink.status, sink.headers[b"retry-after"], len(one.calls)) == (503, b"60", 1)


async def test_attempts_are_limited() -> None:
    one, two = ScriptedProvider("one", [refused(500)]), ScriptedProvider("two", [refused(500)])
    async with bench(one, two, route=QUICK) as at:
        await at.ask()
        assert len(one.calls) + len(two.calls) == 3  # each target, and one more
    one, two = ScriptedProvider("one", [refused(500)]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two, route={"retry": {"attempts": 1}}) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(two.calls)) == (500, 0)


async def test_the_budget_ends_the_repeats() -> None:
    one = ScriptedProvider("one", *[[refused(500)], [ANSWER]] * 12, [refused(500)])
    async with bench(one, route={"retry": {"backoff": 0.001, "budget": 0.0}}) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(one.calls)) == (500, 1)
    one = ScriptedProvider("one", *[[refused(500)], [ANSWER]] * 100)
    async with bench(one, route={"retry": {"backoff": 0.0}}) as at:
        for _ in range(60):
            await at.ask()
        assert len(one.calls) - 60 <= 10 + 0.2 * 60


async def test_an_empty_budget_asks_first_who_fails_less() -> None:
    scripts: list[list[Step]] = [[refused(500)] if n % 3 == 0 else [ANSWER] for n in range(400)]
    one, two = ScriptedProvider("one", *scripts), ScriptedProvider("two", [ANSWER])
    async with bench(one, two) as at:
        for _ in range(300):
            sink, _ = await at.ask()
            assert sink.status == 200
        assert len(one.calls) + len(two.calls) <= 1.2 * 300 + 12


async def test_an_open_breaker_costs_no_call() -> None:
    one, two = ScriptedProvider("one", [refused(500)]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two) as at:
        for _ in range(30):
            sink, _ = await at.ask()
            assert sink.status == 200
        assert len(one.calls) < 25
        before = len(one.calls)
        _, exchange = await at.ask()
        assert (len(one.calls), len(exchange.attempts)) == (before, 1)


async def test_when_every_breaker_is_open_the_caller_learns_when_to_come_back() -> None:
    one = ScriptedProvider("one", [refused(500)])
    async with bench(one, route={"retry": {"attempts": 1}}) as at:
        for _ in range(30):
            sink, _ = await at.ask()
        assert sink.status == 503
        assert json.loads(sink.body)["error"]["code"] == "no_target_available"
        assert int(sink.headers[b"retry-after"]) >= 1
        assert b"x-should-retry" not in sink.headers
        assert len(one.calls) < 25
        assert at.ledger.rows[-1].attempts == []


FAILURES: list[tuple[MainspringError, MainspringError, int]] = [
    (refused(429, 7), refused(401), 429),
    (refused(401), refused(503), 503),
    (AWAY, InvalidRequest("cannot be said"), 502),
    (InvalidRequest("cannot be said"), refused(500), 500),
]


@pytest.mark.parametrize(("first", "second", "status"), FAILURES)
async def test_the_most_useful_error_is_told(
    first: MainspringError, second: MainspringError, status: int
) -> None:
    one, two = ScriptedProvider("one", [first]), ScriptedProvider("two", [second])
    async with bench(one, two, route={"retry": {"attempts": 2}}) as at:
        sink, _ = await at.ask()
        assert sink.status == status
        assert len(at.ledger.rows[0].attempts) == 2
        assert sink.headers[b"x-mainspring-attempts"] == b"2"
        assert b"x-mainspring-provider" not in sink.headers
        assert (sink.headers.get(b"x-should-retry") is None) == (status in {429, 500, 502, 503})


async def test_another_key_is_asked_at_once() -> None:
    one, two = ScriptedProvider("one", [refused(429)], [ANSWER]), ScriptedProvider("two", [ANSWER])
    one.pool.keys.append(PooledKey("key 2"))
    async with bench(one, two) as at:
        sink, _ = await at.ask()
        assert (sink.status, sink.headers[b"x-mainspring-provider"]) == (200, b"one")
        assert (len(one.calls), len(two.calls)) == (2, 0)
        assert at.gateway.health.entries()[0].error_rate == 0


async def test_a_caller_who_left_causes_no_further_call() -> None:
    for stream in (False, True):
        one = ScriptedProvider("one", [refused(503, 4)])  # whose wait the caller does not sit out
        async with bench(one, route={"retry": {"backoff": 1}}) as at:
            exchange = at.exchange(stream=stream)
            task = asyncio.create_task(at.gateway.handle(exchange))
            await happens(lambda one=one: one.refusals)
            await asyncio.sleep(0.05)
            left = time.monotonic()
            exchange.sink.hang_up()  # type: ignore[attr-defined] # the sink of this bench
            await asyncio.wait_for(task, 20)
            assert time.monotonic() - left < 3
            (row,) = at.ledger.rows
            assert (row.status, len(one.calls), row.attempts[0].outcome) == (499, 1, "refused")


async def test_who_leaves_between_two_attempts_is_noticed() -> None:
    one, two = ScriptedProvider("one", [refused(500)]), ScriptedProvider("two", [ANSWER])
    async with bench(one, two) as at:
        exchange = at.exchange()
        call = one.call

        async def leaving(asked: Any) -> Any:
            exchange.interruptible = False
            exchange.interrupt(ClientGone("gone"))
            return await call(asked)

        one.call = leaving  # type: ignore[method-assign] # the moment between two attempts
        await at.gateway.handle(exchange)
        assert not two.calls
        assert at.ledger.rows[0].status == 499


async def test_one_deadline_for_everything() -> None:
    one = ScriptedProvider("one", [0.3, refused(500)])
    async with bench(one, timeouts={"total": 0.4}, route={"retry": {"attempts": 20, "backoff": 0.0}}) as at:
        began = time.monotonic()
        sink, _ = await at.ask()
        assert time.monotonic() - began < 5, "twenty attempts take six seconds"
        assert sink.status in {500, 504}


async def test_health_hears_exactly_once() -> None:
    scripts: list[tuple[bool, list[Step]]] = [
        (False, [ANSWER]),
        (True, STREAM),
        (False, [refused(500)]),
        (True, [HELLO, refused(500)]),
        (True, [HELLO, 5.0]),
        (False, [5.0, ANSWER]),
        (False, [b"no json"]),
    ]
    for stream, script in scripts:
        async with bench(
            ScriptedProvider("one", script), timeouts={"total": 0.3}, route={"retry": {"attempts": 1}}
        ) as at:
            await at.ask(stream=stream)
            assert [entry.in_flight for entry in at.gateway.health.entries()] == [0]
