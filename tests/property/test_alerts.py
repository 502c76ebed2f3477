"""Laws of rules: an alert opens only after it was bad for long enough, resolves only after it was good for long enough,
never flaps between the two thresholds, and is not confused by clocks that jump."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainspring.alerts.delivery import pause
from mainspring.alerts.evaluation import Standing, judge
from mainspring.alerts.rules import Rule, compile_rules, show
from mainspring.alerts.sources import readings, value_of
from mainspring.alerts.types import Reading
from mainspring.base.settings import AlertsSettings
from mainspring.ledger import UsageRow

SECOND = 1_000_000
amounts = st.integers(0, 10**15)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    above = draw(st.booleans())
    threshold = draw(st.integers(0, 1000))
    recover = draw(st.integers(0, threshold) if above else st.integers(threshold, 2000))
    return Rule(
        name="r",
        metric="requests",
        threshold=threshold,
        high_is_bad=above,
        recover=recover,
        over="1m",
        over_us=60 * SECOND,
        lasting_us=draw(st.integers(0, 20)) * SECOND,
        resolve_after_us=draw(st.integers(0, 20)) * SECOND,
        min_requests=0,
        where={},
        per=None,
        channels=(),
        severity="info",
    )


steps = st.lists(st.tuples(st.integers(0, 10), st.none() | st.integers(0, 2000)), max_size=60)


@given(rules(), steps)
def test_opens_and_resolves_only_after_it_lasted(rule: Rule, course: list[tuple[int, int | None]]) -> None:
    now, standing = 0, Standing(open=False, since_us=None)
    bad_for: int | None = None
    good_for: int | None = None
    for seconds, value in course:
        now += seconds * SECOND
        fires, good = rule.fires(value), rule.is_good(value)
        assert not (fires and good)
        bad_for = (bad_for if bad_for is not None else now) if fires else None
        good_for = (good_for if good_for is not None else now) if good else None
        verdict = judge(rule, Reading(subject="", value=value), standing, now)
        if verdict.action == "open":
            assert not standing.open
            assert bad_for is not None
            assert now - bad_for >= rule.lasting_us
            good_for = None
        elif verdict.action == "resolve":
            assert standing.open
            assert good_for is not None
            assert now - good_for >= rule.resolve_after_us
            bad_for = None
        elif not standing.open and bad_for is not None:
            assert now - bad_for < rule.lasting_us
        assert verdict.standing.open == (verdict.action in {"open", "keep"})
        standing = verdict.standing


@given(rules(), st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(0, 2000))
def test_clock_that_jumps_back_only_makes_it_wait(rule: Rule, times: list[int], value: int) -> None:
    standing = Standing(open=False, since_us=None)
    opened = 0
    for second in times:
        verdict = judge(rule, Reading(subject="", value=value), standing, second * SECOND)
        assert verdict.standing.since_us is None or verdict.standing.since_us <= second * SECOND
        opened += verdict.action == "open"
        standing = verdict.standing
    assert opened <= 1 or not rule.fires(value)
    if rule.fires(value) and rule.lasting_us == 0:
        assert opened == 1


@given(rules(), st.lists(st.integers(0, 2000), max_size=40))
def test_between_the_thresholds_nothing_changes(rule: Rule, values: list[int]) -> None:
    standing, now = Standing(open=True, since_us=None), 0
    between = [v for v in values if not rule.fires(v) and not rule.is_good(v)]
    for value in between:
        now += 60 * SECOND
        verdict = judge(rule, Reading(subject="", value=value), standing, now)
        assert verdict.action == "keep"
        standing = verdict.standing


@given(
    st.sampled_from(
        [
            "spend",
            "tokens",
            "requests",
            "error_rate",
            "latency_p95",
            "first_token_mean",
            "first_token_p95",
            "attempt_error_rate",
        ]
    ),
    st.data(),
)
def test_readings_are_whole_numbers_of_the_sums(metric: str, data: st.DataObject) -> None:
    requests = data.draw(st.integers(0, 10**9))
    row = UsageRow(
        group="g",
        requests=requests,
        errors=data.draw(st.integers(0, requests)),
        cost_nusd=data.draw(amounts),
        output_tokens=data.draw(amounts),
        p95_ms=data.draw(st.none() | st.floats(0, 1e6)),
        first_token_mean_ms=data.draw(st.none() | st.floats(0, 1e6)),
        first_token_p95_ms=data.draw(st.none() | st.floats(0, 1e6)),
        attempts=data.draw(st.integers(0, 10**9)),
    )
    settings = AlertsSettings.model_validate(
        {"defaults": False, "rules": {"r": {"metric": metric, "above": 0, "min_requests": 1, "per": "model"}}}
    )
    (rule,) = compile_rules(settings)
    value = value_of(rule, row)
    assert value is None or isinstance(value, int)
    assert show(rule.metric, value)
    if metric == "spend" and requests:
        assert value == row.cost_nusd
    if metric == "error_rate" and requests:
        assert value == row.errors * 1_000_000 // requests
    if metric == "attempt_error_rate" and row.attempts:
        assert value == 0
    assert [each.subject for each in readings(rule, [row, UsageRow(requests=5)])] == ["model=g"]


@given(
    st.integers(1, 10_000), st.booleans(), st.none() | st.floats(0, 1e12), st.floats(0, 1, exclude_max=True)
)
def test_pauses_are_bounded(attempt: int, final: bool, retry_after: float | None, luck: float) -> None:
    seconds = pause(attempt, final=final, retry_after=retry_after, luck=luck)
    assert 1 <= seconds <= 21_600 * 1.2
