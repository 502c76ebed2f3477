"""How the targets are: breakers, times and calls under way."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.routing.support import Clock, names

from mainspring.base.telemetry import Meter
from mainspring.routing import Health, Router, Wanted, measure_targets, target
from mainspring.routing.health import MOST_TARGETS, is_fault
from mainspring.routing.quantiles import Quantiles

if TYPE_CHECKING:
    from collections.abc import Callable

A = target("a", "m")


def fail(health: Health, times: int, **how: Any) -> None:
    for _ in range(times):
        health.failed(A, "unreachable", began=health.began(A), **how)


def succeed(health: Health, times: int = 1, seconds: float = 0.1) -> None:
    for _ in range(times):
        health.succeeded(A, first_token_s=seconds, total_s=seconds, stream=False, began=health.began(A))


def test_it_opens_and_a_probe_closes_it(clock: Clock) -> None:
    health = Health(clock)
    fail(health, 4)
    assert health.admits(A) == "closed"
    fail(health, 1)
    assert (health.admits(A), health.wait(A)) == ("open", 1.0)
    clock.pass_(1.0)
    assert health.wait(A) == 0.0
    assert health.admits(A) == "probe"
    assert health.admits(A) == "open", "one probe at a time"
    succeed(health)
    assert (health.admits(A), health.unwell) == ("closed", set())


def test_it_stays_open_longer_each_time_up_to_eight_seconds(clock: Clock) -> None:
    health = Health(clock)
    fail(health, 5)
    waits = []
    for _ in range(6):
        waits.append(health.wait(A))
        clock.pass_(waits[-1])
        assert health.admits(A) == "probe"
        fail(health, 1)
    assert waits == [1, 2, 4, 8, 8, 8]
    clock.pass_(8)
    assert health.admits(A) == "probe"
    succeed(health)
    clock.pass_(31)
    fail(health, 5)
    assert health.wait(A) == 1.0, "what was long ago is forgiven"


def test_a_probe_that_hangs_gives_its_place_away(clock: Clock) -> None:
    health = Health(clock)
    fail(health, 5)
    clock.pass_(1)
    assert health.admits(A) == "probe"
    hanging = health.began(A)
    clock.pass_(4)
    assert health.admits(A) == "probe", "recovery must not wait for a call that hangs"
    fresh = health.began(A)
    health.failed(A, "timeout", began=hanging)
    assert health.admits(A) == "open", "the old probe tells of the time before"
    health.answered(A, first_token_s=0.1, began=fresh)
    assert health.admits(A) == "closed"


def test_a_probe_without_a_verdict_frees_its_place(clock: Clock) -> None:
    health = Health(clock)
    fail(health, 5)
    clock.pass_(1)
    assert health.admits(A) == "probe"
    health.let_go(A, began=health.began(A))
    assert health.admits(A) == "probe"


def test_verdicts_of_calls_that_began_before_do_not_count(clock: Clock) -> None:
    health = Health(clock)
    old = [health.began(A) for _ in range(20)]
    clock.pass_(0.1)
    fail(health, 25)
    assert health.admits(A) == "open"
    clock.pass_(1)
    assert health.admits(A) == "probe"
    succeed(health)
    for began in old:
        health.failed(A, "timeout", began=began)
    assert health.admits(A) == "closed"


def test_a_third_of_errors_is_not_down(clock: Clock) -> None:
    health = Health(clock)
    drawn = random.Random(1)
    for _ in range(20_000):
        clock.pass_(0.005)
        if drawn.random() < 0.3:
            fail(health, 1)
        else:
            succeed(health)
        assert health.admits(A) == "closed"
    assert 0.2 < health.error_rate(A) < 0.4


def test_an_outage_under_load_is_seen_within_a_tenth_of_a_second(clock: Clock) -> None:
    health = Health(clock)
    for _ in range(2000):
        clock.pass_(0.005)
        succeed(health)
    calls = 0
    while health.admits(A) == "closed":
        clock.pass_(0.005)
        fail(health, 1)
        calls += 1
    assert calls <= 20


def test_quick_failures_do_not_outvote_slow_answers(clock: Clock) -> None:
    health = Health(clock)
    for number in range(60):
        began = health.began(A)
        if number % 3 == 0:
            health.failed(A, "refused", status=500, began=began)
    assert health.admits(A) == "closed", "forty calls are still under way"


@pytest.mark.parametrize(
    ("kind", "status", "counts"),
    [
        ("refused", 500, True),
        ("refused", 529, True),
        ("refused", 401, True),
        ("refused", 400, False),
        ("refused", 404, False),
        ("refused", 429, False),
        ("unreachable", None, True),
        ("timeout", None, True),
        ("protocol", None, True),
        ("cut", None, True),
        ("cancelled", None, False),
        ("failed", None, False),
    ],
)
def test_whose_fault_it_is(kind: Any, status: int | None, counts: bool) -> None:
    assert is_fault(kind, status) is counts


def test_a_target_that_hangs_is_found_out_by_hedges(clock: Clock) -> None:
    health = Health(clock)
    succeed(health, 20, 0.1)
    clock.pass_(30)
    for _ in range(5):
        began = health.began(A)
        clock.pass_(0.2)
        health.outrun(A, waited_s=0.2, stream=False, began=began)
    assert health.admits(A) == "closed", "twice the usual is only slow"
    for _ in range(20):
        began = health.began(A)
        clock.pass_(1)
        health.outrun(A, waited_s=1.0, stream=True, began=began)
    assert health.admits(A) == "closed", "nothing is known of its streams"
    health.answered(A, first_token_s=0.1)
    for _ in range(30):
        health.answered(A, first_token_s=0.1)
    clock.pass_(60)
    for _ in range(6):
        began = health.began(A)
        clock.pass_(1)
        health.outrun(A, waited_s=6.0, stream=True, began=began)
    assert ("a", "m") in health.unwell


def test_quantiles_are_right_within_a_bucket() -> None:
    drawn = random.Random(5)
    for spread in (0.1, 1.0):
        times = sorted(drawn.lognormvariate(-1, spread) for _ in range(4000))
        quantiles = Quantiles(0.0)
        for seconds in times:
            quantiles.add(seconds, 0.0)
        for quantile in (0.5, 0.9, 0.95, 0.99):
            found = quantiles.value(quantile, 0.0)
            assert found == pytest.approx(times[int(quantile * 4000)], rel=0.06)


def test_quantiles_forget_and_never_grow() -> None:
    quantiles = Quantiles(0.0)
    assert quantiles.value(0.95, 0.0) is None
    for _ in range(1000):
        quantiles.add(5.0, 0.0)
    for _ in range(1000):
        quantiles.add(0.1, 1200.0)
    assert quantiles.value(0.95, 1200.0) == pytest.approx(0.1, rel=0.06)
    for day in range(1, 400):  # weights are scaled down long before they overflow
        quantiles.add(0.2, day * 86_400.0)
    assert quantiles.seen(400 * 86_400.0) < 2


def test_enough_must_be_seen(clock: Clock) -> None:
    health = Health(clock)
    succeed(health, 17)
    assert health.expected_first_token(A, 0.95, stream=False) is None
    succeed(health, 3)
    clock.pass_(0.01)
    assert health.expected_first_token(A, 0.95, stream=False) == pytest.approx(0.1, rel=0.06)
    assert health.expected_first_token(A, 0.95) is None, "of streams nothing was seen"
    assert health.expected_first_token(target("x", "y"), 0.5) is None


def test_what_is_told_of_it(clock: Clock) -> None:
    health = Health(clock)
    succeed(health, 20)
    fail(health, 40)
    health.began(target("b", "n"))
    a, b = health.entries()
    assert (a.provider, a.model, a.state, a.in_flight, a.last_failure) == ("a", "m", "open", 0, "unreachable")
    assert a.opened_us is not None
    assert a.whole_p50_ms == pytest.approx(100, rel=0.06)
    assert (b.state, b.in_flight, b.opened_us, b.first_token_p50_ms) == ("closed", 1, None, None)
    meter = Meter()
    measure_targets(health, meter)
    text = meter.render()[0].decode()
    assert 'mainspring_target_breaker{model="m",provider="a"} 2.0' in text
    assert 'mainspring_target_in_flight{model="n",provider="b"} 1.0' in text


def test_memory_does_not_grow_with_names(clock: Clock) -> None:
    health = Health(clock)
    busy = target("busy", "m")
    health.began(busy)
    fail(health, 5)
    for number in range(MOST_TARGETS + 200):
        one = target("x", str(number))
        health.succeeded(one, first_token_s=0.1, began=health.began(one))
    known = {(one.provider, one.model) for one in health.entries()}
    assert len(known) == MOST_TARGETS
    assert {("busy", "m"), ("a", "m"), ("x", str(MOST_TARGETS + 199))} <= known


def test_open_breakers_go_last_not_away(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"]}, health=health)
    fail(health, 5)
    plan = made.plan("r", Wanted)
    assert names(plan) == ["b/m", "a/m"]
    assert plan.why == "route r, a/m last (breaker open)"
    assert plan.detail == {
        "strategy": "failover",
        "candidates": [{"target": "b/m"}, {"target": "a/m", "note": "breaker open"}],
    }
    clock.pass_(1)
    assert names(made.plan("r", Wanted)) == ["a/m", "b/m"], "somebody has to be the probe"
    assert health.admits(A) == "probe"
    assert names(made.plan("r", Wanted)) == ["b/m", "a/m"], "but only one"
    succeed(health)
    assert names(made.plan("r", Wanted)) == ["a/m", "b/m"]
    assert made.plan("r", Wanted).detail is None


def test_the_share_of_an_open_target_goes_to_the_others(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    route = {"targets": ["a/m", "b/m", "c/m"], "strategy": "weighted", "weights": [8, 1, 1]}
    fail(health, 5)
    assert names(router(route, health=health, draws=[0.6]).plan("r", Wanted)) == ["c/m", "b/m", "a/m"]


def test_the_fastest_that_was_down_is_probed(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    made = router({"targets": ["a/m", "b/m"], "strategy": "fastest"}, health=health)
    b = target("b", "m")
    for _ in range(10):
        succeed(health, 1, 0.1)
        health.succeeded(b, first_token_s=0.5, total_s=0.5, stream=False, began=health.began(b))
    fail(health, 20)
    for _ in range(60):
        clock.pass_(0.5)
        first = made.plan("r", Wanted).targets[0]
        if first == A:
            assert health.admits(A) == "probe"
            succeed(health)
            break
        health.succeeded(first, first_token_s=0.5, total_s=0.5, stream=False, began=health.began(first))
    assert not health.unwell, "within half a minute somebody tried"


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order: a breaker is never stuck, and calls are never miscounted."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.health = Health(self.clock)
        self.open: list[float] = []
        self.probes: list[tuple[float, float]] = []

    @initialize(failures=st.integers(0, 10))
    def begin(self, failures: int) -> None:
        fail(self.health, failures)

    @rule(seconds=st.floats(0.001, 5))
    def wait(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @rule()
    def call(self) -> None:
        verdict = self.health.admits(A)
        assert verdict in {"closed", "probe", "open"}
        if verdict == "probe":
            assert all(self.clock.now - at >= 4 for at, _ in self.probes), (
                "one probe at a time, for four seconds"
            )
        if verdict != "open":
            began = self.health.began(A)
            self.open.append(began)
            if verdict == "probe":
                self.probes.append((self.clock.now, began))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 1000), end=st.sampled_from(["ok", "fault", "fine", "gone", "outrun"]))
    def end(self, which: int, end: str) -> None:
        began = self.open.pop(which % len(self.open))
        self.probes = [(at, probe) for at, probe in self.probes if probe != began]
        if end == "ok":
            self.health.succeeded(A, first_token_s=0.1, total_s=0.2, began=began)
        elif end == "fault":
            self.health.failed(A, "timeout", began=began)
        elif end == "fine":
            self.health.failed(A, "refused", status=400, began=began)
        elif end == "gone":
            self.health.let_go(A, began=began)
        else:
            self.health.outrun(A, waited_s=1.0, began=began)
        if self.health.admits(A) == "closed":
            self.probes.clear()

    @invariant()
    def counts_add_up(self) -> None:
        entries = self.health.entries()
        assert sum(one.in_flight for one in entries) == len(self.open)
        for one in entries:
            assert (("a", "m") in self.health.unwell) == (one.state != "closed")
            assert (one.retry_in_s is None) == (one.state == "closed")
            assert (one.opened_us is None) == (one.state == "closed")
            assert 0 <= one.error_rate <= 1

    @invariant()
    def it_lets_somebody_through_within_ten_seconds(self) -> None:
        assert self.health.wait(A) <= 8

    def teardown(self) -> None:
        """A target that is well again is found out, whatever came before."""
        self.clock.pass_(8)
        if self.health.admits(A) != "closed":
            succeed(self.health)
        assert self.health.admits(A) == "closed"


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
