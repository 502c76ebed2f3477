"""Laws of the meters: never more than the rule in any window, a denied request changes nothing, what is given back
is free and no more than that."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mainspring.store.shared import Allowance, Ask
from mainspring.store.shared.memory import Meters

_rates = st.builds(
    Allowance, st.floats(100, 1e6, allow_nan=False), st.one_of(st.integers(1, 50), st.floats(1, 50))
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=200, deadline=None)
@given(
    allowance=_rates, steps=st.lists(st.tuples(st.floats(0, 3e6), st.integers(1, 4)), min_size=1, max_size=80)
)
def test_never_more_than_the_rule_in_any_window(allowance: Allowance, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    meters = Meters(clock)
    passed: list[tuple[float, float]] = []
    for later, units in steps:
        clock.now += later
        if meters.take([Ask("m", allowance, min(units, int(allowance.capacity)))]).admitted:
            passed.append((clock.now, min(units, int(allowance.capacity))))
    for index, (start, _) in enumerate(passed):
        sum_of = 0.0
        for end, units in passed[index:]:
            sum_of += units
            most = allowance.capacity + (end - start + 1) / allowance.emission_us
            assert sum_of <= most + 1e-6


@settings(max_examples=100, deadline=None)
@given(allowance=_rates)
def test_the_rule_is_used_to_the_full(allowance: Allowance) -> None:
    clock = Clock()
    meters = Meters(clock)
    passed = 0
    for _ in range(400):
        passed += meters.take([Ask("m", allowance, 1)]).admitted
        clock.now += allowance.emission_us / 2
    assert passed >= int(allowance.capacity) + 200 - 2


class TokensUnderWay(RuleBasedStateMachine):
    """Reservations and truths in any order; the truth is counted when it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.meters = Meters(self.clock)
        self.allowance = Allowance(1000.0, 500.0)
        self.under_way: list[int] = []
        self.truths: list[tuple[float, int]] = []

    @rule(later=st.floats(0, 400_000))
    def wait(self, later: float) -> None:
        self.clock.now += later

    @rule(units=st.integers(1, 500))
    def reserve(self, units: int) -> None:
        before = (self.meters.level("m"), self.meters.held.get("m", 0))
        taken = self.meters.take([Ask("other", self.allowance, 0, 1), Ask("m", self.allowance, 0, units)])
        if taken.admitted:
            self.under_way.append(units)
            self.meters.give([Ask("other", self.allowance, 0, 1)])
        else:
            assert (self.meters.level("m"), self.meters.held.get("m", 0)) == before
            assert "other" not in self.meters.held

    @precondition(lambda self: self.under_way)
    @rule(share=st.floats(0, 1))
    def settle(self, share: float) -> None:
        units = self.under_way.pop(0)
        truth = int(units * share)
        self.meters.give([Ask("m", self.allowance, truth, units)])
        if truth:
            self.truths.append((self.clock.now, truth))

    @invariant()
    def what_is_held_is_what_is_under_way(self) -> None:
        assert self.meters.held.get("m", 0) == sum(self.under_way)

    @invariant()
    def truths_keep_to_the_rule(self) -> None:
        for index, (start, _) in enumerate(self.truths):
            window = self.truths[index:]
            most = self.allowance.capacity + (window[-1][0] - start + 1) / self.allowance.emission_us
            assert sum(units for _, units in window) <= most + 1e-6


TestTokensUnderWay = TokensUnderWay.TestCase
TestTokensUnderWay.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_many_users_are_forgotten_when_they_are_gone() -> None:
    clock = Clock()
    meters = Meters(clock)
    rate = Allowance(100_000.0, 10.0)
    for number in range(200_000):
        meters.take([Ask(f"u{number}", rate, 1)])
    assert len(meters) == 200_000
    clock.now += 2e6
    for _ in range(64):
        meters.sweep()
    assert len(meters) == 0
