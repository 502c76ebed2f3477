"""Who is asked first, and who follows."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.unit.routing.support import Clock, names

from mainspring.routing import Health, Router, Wanted, target

if TYPE_CHECKING:
    from collections.abc import Callable

THREE = ["a/m", "b/m", "c/m"]
PRICES = {
    "a/m": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 10},
    "b/m": {"input_usd_per_mtok": 5, "output_usd_per_mtok": 5},
}


def test_failover_keeps_the_order_and_says_nothing(router: Callable[..., Router]) -> None:
    plan = router({"targets": THREE}).plan("r", Wanted)
    assert names(plan) == THREE
    assert (plan.why, plan.detail) == ("route r", None)


def test_a_weighted_draw_is_where_the_random_number_falls(router: Callable[..., Router]) -> None:
    route = {"targets": THREE, "strategy": "weighted", "weights": [5, 3, 2]}
    for draws, first in (
        ([0.0, 0.0], "a/m"),
        ([0.49, 0.0], "a/m"),
        ([0.51, 0.0], "b/m"),
        ([0.99, 0.0], "c/m"),
    ):
        plan = router(route, draws=draws).plan("r", Wanted)
        assert names(plan)[0] == first
        assert sorted(names(plan)) == THREE
    # The backups are drawn too: of b and c (3 and 2), 0.7 is c.
    plan = router(route, draws=[0.0, 0.7]).plan("r", Wanted)
    assert names(plan) == ["a/m", "c/m", "b/m"]
    assert plan.why == "route r, weighted, drawn with weight 5 of 10"
    assert plan.detail == {
        "strategy": "weighted",
        "candidates": [
            {"target": "a/m", "weight": 5},
            {"target": "c/m", "weight": 2},
            {"target": "b/m", "weight": 3},
        ],
    }


def test_weights_are_shares(router: Callable[..., Router]) -> None:
    route = {"targets": THREE, "strategy": "weighted", "weights": [7, 2, 1]}
    drawn = random.Random(7)
    made = router(route, draws=[drawn.random() for _ in range(20_000)])
    first = Counter(names(made.plan("r", Wanted))[0] for _ in range(10_000))
    # Six standard deviations of a binomial share.
    for name, share in (("a/m", 0.7), ("b/m", 0.2), ("c/m", 0.1)):
        assert abs(first[name] - 10_000 * share) < 6 * (10_000 * share * (1 - share)) ** 0.5


def test_weight_nought_is_only_a_backup(router: Callable[..., Router]) -> None:
    route = {"targets": THREE, "strategy": "weighted", "weights": [0, 1, 0]}
    made = router(route, draws=[])
    for _ in range(20):
        assert names(made.plan("r", Wanted)) == ["b/m", "a/m", "c/m"]


def test_without_weights_all_weigh_the_same(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m", "b/m"], "strategy": "weighted"}, draws=[0.49, 0.51])
    assert names(made.plan("r", Wanted)) == ["a/m", "b/m"]
    assert names(made.plan("r", Wanted)) == ["b/m", "a/m"]


@pytest.mark.parametrize(
    ("tokens", "answer", "order"),
    [
        (10_000, 10, ["a/m", "b/m", "c/m"]),  # a long question: cheap input counts
        (10, 10_000, ["b/m", "a/m", "c/m"]),  # a long answer: cheap output counts
        (100, None, ["b/m", "a/m", "c/m"]),  # an answer of the usual length
    ],
)
def test_the_cheapest_is_cheapest_for_this_request(
    router: Callable[..., Router], tokens: int, answer: int | None, order: list[str]
) -> None:
    made = router({"targets": ["c/m", "a/m", "b/m"], "strategy": "cheapest"}, models=PRICES)
    plan = made.plan("r", lambda: Wanted(input_tokens=tokens, output_tokens=answer))
    assert names(plan) == order
    assert plan.detail is not None
    assert plan.detail["candidates"][2] == {"target": "c/m", "cost_nusd": None}
    if tokens == 10_000:
        assert plan.detail["candidates"][0] == {"target": "a/m", "cost_nusd": 10_100_000}
        assert plan.why == "route r, cheapest, about $0.0101"


def test_without_any_price_the_order_stays(router: Callable[..., Router]) -> None:
    plan = router({"targets": THREE, "strategy": "cheapest"}).plan("r", Wanted)
    assert names(plan) == THREE
    assert plan.why == "route r, cheapest, no price is known"


def test_the_models_in_the_box_cost_nothing(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m", "local/small"], "strategy": "cheapest"}, models=PRICES)
    assert names(made.plan("r", Wanted)) == ["local/small", "a/m"]


def answer(health: Health, name: str, seconds: float, *, stream: bool = False) -> None:
    """One good answer that took so long."""
    one = target(*name.split("/"))
    began = health.began(one)
    health.succeeded(one, first_token_s=seconds, total_s=seconds, stream=stream, began=began)


def test_the_fastest_of_two(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"], "strategy": "fastest"}, health=health)
    answer(health, "a/m", 2.0)
    assert names(made.plan("r", Wanted)) == ["b/m", "a/m"], "what is not known becomes known"
    answer(health, "b/m", 0.5)
    plan = made.plan("r", Wanted)
    assert names(plan) == ["b/m", "a/m"]
    assert plan.why == "route r, fastest, 500 ms by its load"
    # Calls under way count: with four at b and none at a, a is as fast.
    for _ in range(4):
        health.began(target("b", "m"))
    assert names(made.plan("r", Wanted)) == ["a/m", "b/m"]


def test_streams_and_whole_answers_have_times_of_their_own(
    router: Callable[..., Router], clock: Clock
) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"], "strategy": "fastest"}, health=health)
    answer(health, "a/m", 0.1, stream=True)
    answer(health, "b/m", 0.4, stream=True)
    answer(health, "a/m", 9.0)
    answer(health, "b/m", 3.0)
    assert names(made.plan("r", lambda: Wanted(stream=True))) == ["a/m", "b/m"]
    assert names(made.plan("r", Wanted)) == ["b/m", "a/m"]


def test_errors_make_slow(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"], "strategy": "fastest"}, health=health)
    for number in range(30):
        answer(health, "b/m", 0.3)
        if number % 5 < 2:
            began = health.began(target("a", "m"))
            health.failed(target("a", "m"), "refused", status=500, began=began)
        else:
            answer(health, "a/m", 0.2)
    assert not health.unwell, "two of five are not enough to leave it alone"
    assert names(made.plan("r", Wanted)) == ["b/m", "a/m"]


def test_a_slow_target_is_tried_again_some_day(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"], "strategy": "fastest"}, health=health)
    answer(health, "a/m", 5.0)
    for _ in range(100):
        clock.pass_(1)
        first = names(made.plan("r", Wanted))[0]
        answer(health, first, 5.0 if first == "a/m" and clock.now < 1005 else 0.2)
        if first == "a/m":
            break
    else:
        pytest.fail("it was never tried again")
    assert clock.now > 1010, "but not at once"


def test_of_many_two_are_drawn(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    for name, seconds in (("a/m", 0.1), ("b/m", 0.2), ("c/m", 0.3)):
        answer(health, name, seconds)
    # Places 1 and 2 of the three, best first: the best of all is not among them.
    plan = router({"targets": THREE, "strategy": "fastest"}, health=health, draws=[0.4, 0.6]).plan(
        "r", Wanted
    )
    assert names(plan) == ["b/m", "a/m", "c/m"]
    drawn = random.Random(3)
    made = router(
        {"targets": THREE, "strategy": "fastest"}, health=health, draws=[drawn.random() for _ in range(2000)]
    )
    first = Counter(names(made.plan("r", Wanted))[0] for _ in range(1000))
    assert first["c/m"] == 0, "the slowest loses against whichever is drawn with it"
    assert 600 < first["a/m"] < 730, "the best is among two of three in two of three draws"
