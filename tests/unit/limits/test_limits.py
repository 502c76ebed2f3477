"""What is granted, denied, given back and told."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from mainspring.base.settings import LimitsSettings
from mainspring.base.telemetry import Meter
from mainspring.keys import Subject
from mainspring.limits import Grant, Limits
from mainspring.limits.usual import Usual
from mainspring.store.shared.memory import MemoryShared

ANN = Subject("acme", "k-1", "ann", None)
BOB = Subject("acme", "k-1", "bob", None)


class Clock:
    def __init__(self) -> None:
        self.now = 1e12

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock | None = None, parts: int = 1, **settings: Any) -> tuple[Limits, MemoryShared]:
    shared = MemoryShared(parts, clock or Clock())
    return Limits(shared, LimitsSettings(**{"rps_per_user": 0, **settings}), Meter()), shared


def no_tokens(request: None, usual: Usual) -> int:
    raise AssertionError("nothing counts tokens here")


async def grant_of(made: Limits, who: Subject = ANN, tokens: int | None = None) -> Grant:
    grant = await made.admit(who, no_tokens if tokens is None else lambda _, usual: tokens or 0, None)
    assert grant is not None
    return grant


def told(grant: Grant, *, anthropic: bool = False) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in grant.headers(anthropic=anthropic)}


async def test_nothing_is_about_it() -> None:
    made, _ = limits()
    assert await made.admit(ANN, no_tokens, None) is None
    made, _ = limits(tokens_per_minute_per_user=100)
    assert (
        await made.admit(ANN, lambda _, usual: 0, None) is None
    )  # what uses no tokens is under no limit on tokens


async def test_a_denial_says_which_limit_and_when() -> None:
    clock = Clock()
    made, _ = limits(clock, rps_per_user=10)
    grants = [await grant_of(made) for _ in range(11)]
    assert [grant.denied is None for grant in grants] == [True] * 10 + [False]
    refusal = made.refusal(grants[-1])
    assert (refusal.http_status, refusal.code, refusal.limit) == (429, "rate_limit_exceeded", "rps_per_user")
    assert (refusal.retry_after, refusal.retry_after_ms) == (1, 100)
    assert refusal.message == "The limit of 10 requests a second for each user is reached."
    clock.now += refusal.retry_after_ms * 1000
    assert (await grant_of(made)).denied is None
    assert (await grant_of(made, BOB)).denied is None


async def test_of_several_that_have_no_room_the_last_to_have_it_is_named() -> None:
    made, _ = limits(rps_per_user=10, rps_per_tenant=0.5)
    await grant_of(made)
    refusal = made.refusal(await grant_of(made))
    assert (refusal.limit, refusal.retry_after) == ("rps_per_tenant", 2)


async def test_places_are_free_again_once_however_often_they_are_released() -> None:
    made, shared = limits(concurrency_per_user=2)
    first, second, third = [await grant_of(made) for _ in range(3)]
    assert third.denied is not None
    refusal = made.refusal(third)
    assert (refusal.limit, refusal.retry_after) == ("concurrency_per_user", 1)
    third.release()
    assert (await grant_of(made)).denied is not None
    for _ in range(3):
        first.release()
    assert (await grant_of(made)).denied is None
    assert (await grant_of(made)).denied is not None
    second.release()
    assert sum(shared.meters.held.values()) == 1


async def test_tokens_are_reserved_and_the_truth_is_counted() -> None:
    clock = Clock()
    made, shared = limits(clock, tokens_per_minute_per_user=6000)
    grant = await grant_of(made, tokens=4000)
    assert (await grant_of(made, tokens=2001)).denied is not None
    grant.settle(1000)
    grant.release()
    grant.settle(9999)
    grant.release()
    assert not shared.meters.held
    assert (await grant_of(made, tokens=5001)).denied is not None
    assert (await grant_of(made, tokens=5000)).denied is None


async def test_more_than_was_reserved_delays_the_next() -> None:
    clock = Clock()
    made, _ = limits(clock, tokens_per_minute_per_user=6000)
    grant = await grant_of(made, tokens=10)
    grant.settle(12_000)
    grant.release()
    denied = await grant_of(made, tokens=100)
    refusal = made.refusal(denied)
    assert refusal.retry_after == 61
    clock.now += 61e6
    assert (await grant_of(made, tokens=100)).denied is None


async def test_a_request_that_failed_before_it_used_anything_costs_no_tokens() -> None:
    made, shared = limits(tokens_per_minute_per_user=100)
    grant = await grant_of(made, tokens=100)
    grant.release()
    assert not shared.meters.held
    assert (await grant_of(made, tokens=100)).denied is None


async def test_headers() -> None:
    made, _ = limits(rps_per_user=10, rps_per_tenant=1000, tokens_per_minute_per_user=6000)
    grant = await grant_of(made, tokens=1500)
    assert told(grant) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "4500",
        "x-ratelimit-reset-tokens": "15s",
    }
    before = time.time()
    also = told(grant, anthropic=True)
    reset = datetime.fromisoformat(also["anthropic-ratelimit-requests-reset"]).timestamp()
    assert before + 0.1 - 1e-3 <= reset < time.time() + 1.1
    assert also["anthropic-ratelimit-requests-limit"] == "10"
    assert also["anthropic-ratelimit-tokens-remaining"] == "4500"


async def test_a_change_of_the_limits_keeps_what_was_used() -> None:
    made, _ = limits(rps_per_user=10)
    for _ in range(10):
        await grant_of(made)
    made.configure(LimitsSettings(rps_per_user=20))
    grants = [await grant_of(made) for _ in range(11)]
    assert sum(grant.denied is None for grant in grants) == 0  # a second's worth is still in the meter


async def test_without_redis_several_processes_have_their_parts() -> None:
    made, shared = limits(parts=4, rps_per_user=10, concurrency_per_key=2)
    assert not shared.status().working
    grants = [await grant_of(made) for _ in range(4)]
    assert [grant.denied is None for grant in grants] == [True, False, False, False]
    grants[0].release()
    assert (await grant_of(made)).denied is None


async def test_a_flood_is_counted_and_a_few_of_it_recorded() -> None:
    meter = Meter()
    made = Limits(MemoryShared(clock=Clock()), LimitsSettings(rps_per_user=1), meter)
    await grant_of(made)
    recorded = 0
    for _ in range(500):
        grant = await grant_of(made)
        made.refusal(grant)
        recorded += made.worth_a_row(grant, ANN)
    assert 10 <= recorded <= 12
    (rest,) = made.unrecorded()
    assert (rest.subject, rest.limit, rest.denials) == ("ann", "rps_per_user", 500 - recorded)
    assert b'mainspring_limit_denials_total{limit="rps_per_user"} 500.0' in meter.render()[0]


def test_of_a_flood_at_a_spent_budget_a_few_are_recorded_for_each_key() -> None:
    made = Limits(MemoryShared(clock=Clock()), LimitsSettings(), Meter())
    told = [made.budget_worth_a_row("b", ANN) for _ in range(500)]
    recorded = [number for number in told if number is not None]
    assert 100 <= len(recorded) <= 102
    assert sum(recorded) <= 500 - len(recorded)
    assert made.unrecorded() == []
    assert made.budget_worth_a_row("b", Subject("acme", "k-2", "ann", None)) == 0


def test_what_is_usual_is_learned() -> None:
    usual = Usual()
    assert usual.prompt("m", 400) == 101
    assert usual.output("m", None) == 500
    assert usual.output("m", 64) == 64
    for _ in range(50):
        usual.learn("m", size=400, prompt=200, output=100)
    assert usual.prompt("m", 400) == pytest.approx(200, abs=2)
    assert usual.output("m", None) == pytest.approx(101, abs=2)
    assert usual.output("m", 4096) == pytest.approx(101, abs=2)
    assert usual.output("m", 20) == 20
    for output in (0, 200) * 50:
        usual.learn("m", size=None, prompt=0, output=output)
    assert 250 < usual.output("m", None) < 350


def test_what_is_usual_for_made_up_names_is_forgotten() -> None:
    usual = Usual()
    for number in range(20_000):
        usual.learn(f"m{number}", size=1, prompt=1, output=1)
    assert len(usual._models) <= 5_000
