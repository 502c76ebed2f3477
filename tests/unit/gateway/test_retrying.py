"""The budget of extra calls, and the pauses between them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.support.gateway import ScriptedProvider, bench

from mainspring.base.errors import ProviderRefused
from mainspring.gateway.retrying import MOST, RESERVE, Budget, pause


@given(
    share=st.floats(0, 1),
    steps=st.lists(st.sampled_from(["request", "take", "spend"]), max_size=100),
)
def test_extra_calls_never_pass_their_share(share: float, steps: list[str]) -> None:
    budget, requests, extra = Budget(share), 0, 0
    for step in steps:
        if step == "request":
            requests += 1
            budget.earn()
        elif step == "take":
            extra += budget.take()
        else:
            budget.spend()
    assert extra <= (RESERVE if share else 0) + share * requests + 1e-6


@given(good=st.integers(0, 2000), share=st.floats(0.01, 1))
def test_a_burst_after_a_long_good_time_stays_a_burst(good: int, share: float) -> None:
    budget = Budget(share)
    for _ in range(good):
        budget.earn()
    assert sum(budget.take() for _ in range(100)) <= MOST + 1


@given(rate=st.floats(0, 0.6), seed=st.integers(0, 1000))
def test_a_single_target_that_fails_is_called_at_most_1_3_times(rate: float, seed: int) -> None:
    """Every failed call is made again as long as the budget pays for it."""
    budget, calls, dice = Budget(0.2), 0, random.Random(seed)
    for _ in range(300):
        calls += 1
        budget.earn()
        while dice.random() < rate and budget.take():
            calls += 1
    assert calls <= 1.2 * 300 + RESERVE


def test_nothing_is_made_again_without_a_budget() -> None:
    budget = Budget(0.0)
    budget.earn()
    assert budget.empty
    assert not budget.take()


@given(
    number=st.integers(1, 1000),
    base=st.floats(0, 60),
    retry_after=st.one_of(st.none(), st.floats(0, 100)),
)
def test_pauses(number: int, base: float, retry_after: float | None) -> None:
    asked = retry_after or 0.0
    seconds = pause(number, base, retry_after)
    assert asked <= seconds <= asked + min(base * 2 ** min(number - 1, 16), 30.0) + 1e-9


def test_pauses_are_spread_over_the_whole_time() -> None:
    drawn = sorted(pause(1, 1.0, None) for _ in range(1000))
    assert drawn[100] < 0.2
    assert drawn[900] > 0.8


async def test_a_new_configuration_earns_no_extra_calls() -> None:
    conflict = ProviderRefused("one answered 409", upstream_status=409, upstream_body=b"{}")
    one = ScriptedProvider("one", [conflict])
    async with bench(one, route={"retry": {"attempts": 2, "backoff": 0, "budget": 0.2}}) as at:
        for _ in range(40):
            await at.ask()
        for _ in range(10):
            async with bench(one, route={"retry": {"attempts": 2, "backoff": 0, "budget": 0.2}}) as later:
                later.gateway.adopt(at.gateway)
                await later.ask()
        assert 50 + RESERVE < len(one.calls) <= 50 + RESERVE + 0.2 * 50
        async with bench(one, route={"retry": {"attempts": 2, "backoff": 0, "budget": 0}}) as last:
            last.gateway.adopt(at.gateway)
            before = len(one.calls)
            await last.ask()
            assert len(one.calls) == before + 1
