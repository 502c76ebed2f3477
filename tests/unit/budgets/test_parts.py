"""The parts of budgets that know no database: windows, forecasts, what is learned, what a budget may say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mainspring.base.errors import InvalidRequest
from mainspring.budgets import Bounds, Budget, NewBudget, changed, checked, windows
from mainspring.budgets.charge import worst
from mainspring.budgets.forecast import forecast
from mainspring.budgets.holders import EXPIRY, Holder, Wake, is_gone, this_process
from mainspring.budgets.learning import ENOUGH, Learned
from mainspring.gateway.bounds import bounds_of
from mainspring.gateway.exchange import Envelope
from mainspring.providers.prices import Rates
from mainspring.providers.types import Operation


def budget(**values: Any) -> Budget:
    fields = {"scope": {"tenant": "a"}, "usd": 1, "window": "total"} | values
    return checked(NewBudget(**fields))


def bounds(operation: Operation, body: bytes) -> Bounds:
    said = msgspec.json.decode(body.replace(b"{", b'{"model":"m",', 1), type=Envelope)
    return bounds_of(operation, body, said, has_parts=b'"type"' in body)


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc] # year, month, ...


def test_a_month_ends_where_the_next_begins() -> None:
    monthly = budget(window="month")
    for year, month in ((2026, 1), (2026, 2), (2026, 12)):
        begin, end = windows.window(monthly, us(year, month, 28, 23, 59))
        assert begin == us(year, month, 1)
        assert end == us(year + month // 12, month % 12 + 1, 1)
        assert windows.window(monthly, end)[0] == end
        assert windows.window(monthly, end - 1)[0] == begin


@pytest.mark.parametrize("window", ["day", "month", "rolling", "total"])
def test_a_moment_is_in_the_slice_that_it_is_counted_in(window: str) -> None:
    one = budget(window=window, period="7d" if window == "rolling" else None)
    moment = us(2026, 11, 21, 13, 37)
    slice_ = windows.span(one, moment)
    assert slice_.bucket_us <= moment < slice_.ends_us
    assert windows.lowest_bucket(one, slice_.room_us, moment) <= slice_.bucket_us
    assert slice_.bucket_us <= windows.highest_bucket(one, slice_.room_us)
    begin, end = windows.window(one, moment)
    assert begin <= slice_.bucket_us
    assert slice_.ends_us <= end


def test_a_rolling_window_counts_a_slice_until_all_of_it_has_left() -> None:
    one = budget(window="rolling", period="1h")
    spent_at = us(2026, 11, 21, 12, 0) + 59_000_000
    slice_ = windows.span(one, spent_at)
    last = slice_.ends_us - 1
    assert windows.lowest_bucket(one, 0, last + 3_600_000_000) <= slice_.bucket_us
    assert windows.lowest_bucket(one, 0, last + 3_600_000_001) > slice_.bucket_us


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"usd": -1}, "cannot be negative"),
        ({"tokens": -1}, "cannot be negative"),
        ({"usd": "much"}, "not an amount"),
        ({"usd": float("nan")}, "not an amount"),
        ({"usd": 10**12}, "at most"),
        ({"usd": None}, "caps neither"),
        ({"scope": {"planet": "x"}}, "no scope 'planet'"),
        ({"scope": {}}, "exactly one"),
        ({"scope": {"tenant": ""}}, "printable"),
        ({"scope": {"model": "gpt"}}, "not a model of a provider"),
        ({"tenant": "b"}, "its own tenant"),
        ({"window": "week"}, "no window 'week'"),
        ({"window": "rolling"}, "needs its period"),
        ({"window": "rolling", "period": "1s"}, "between a minute and a year"),
        ({"window": "rolling", "period": "soon"}, "not a duration"),
        ({"policy": "beg"}, "no policy 'beg'"),
        ({"policy": "step_down"}, "needs a route"),
        ({"step_down": "cheap"}, "Only the policy step_down"),
        ({"policy": "queue", "queue_seconds": 1e9}, "0 to 600"),
        ({"thresholds": [0]}, "per cent above 0"),
    ],
)
def test_one_sentence_for_what_cannot_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        budget(**values)
    assert caught.value.param
    assert caught.value.remedy


def test_a_route_that_is_not_there() -> None:
    wanted = NewBudget(scope={"tenant": "a"}, usd=1, window="day", policy="step_down", step_down="cheap")
    with pytest.raises(InvalidRequest, match="no route 'cheap'"):
        checked(wanted, ["default"])
    assert checked(wanted, ["cheap"]).step_down == "cheap"


def test_changes_must_fit_together_too() -> None:
    one = budget(policy="step_down", step_down="cheap")
    refused = changed(one, {"policy": "refuse"})
    assert refused.step_down is None
    assert changed(one, {"policy": "queue"}).queue_seconds == 10
    assert changed(one, {"usd": "0.000000001"}).nusd == 1
    with pytest.raises(InvalidRequest, match="caps neither"):
        changed(one, {"usd": None})


def test_the_worst_is_rounded_up_and_takes_the_dearest_tier() -> None:
    tiers = (Rates(100, 1_000_000, 10, 125, 200), Rates(400, 2_000_000, 40, 500, 800, above=1000))
    assert worst(tiers, 1, 0, writes_cache=False) == 1
    assert worst(tiers, 1000, 1, writes_cache=False) == 2
    assert worst(tiers, 1001, 1, writes_cache=False) == 3
    assert worst((Rates(1_000_000, None, 0, 1_250_000, 2_000_000),), 10, 0, writes_cache=True) == 20


def test_bounds_are_never_below_what_is_asked() -> None:
    body = b'{"messages":[{"content":"hi"}],"max_tokens":5,"max_completion_tokens":9,"n":3}'
    assert bounds(Operation.CHAT, body)[:4] == (len(body) + 128, 9, None, 3)
    assert bounds(Operation.CHAT, b'{"max_tokens":null,"n":"x"}')[1:4] == (None, None, 1)
    assert bounds(Operation.CHAT, b'{"max_tokens":true}').output is None
    assert bounds(Operation.COMPLETIONS, b'{"best_of":4,"n":2}').choices == 4
    picture = b'{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x"}}]}]}'
    assert bounds(Operation.CHAT, picture).prompt > 8000
    assert bounds(Operation.EMBEDDINGS, b'{"input":"x"}') == Bounds(141, 0, answers=False)
    assert bounds(Operation.MESSAGES, b'{"system":[{"type":"text","cache_control":{}}]}').writes_cache


def test_lengths_and_bounds_are_learned() -> None:
    learned = Learned()
    assert learned.usual_output("p", "m") is None
    for _ in range(ENOUGH):
        assert learned.note("p", "m", 10, 100, 1000, 500) is None
    assert learned.usual_output("p", "m") == 256
    raised = learned.note("p", "m", 2000, 100, 1000, 500)
    assert raised is not None
    assert raised.prompt == pytest.approx(2.2)
    assert learned.correction("p", "m") == raised
    assert learned.note("p", "m", 2100, 100, 1000, 500) is None
    assert learned.note("p", "m", 10**9, 100, 1000, 500).prompt == 16  # type: ignore[union-attr] # it was passed
    assert learned.note("p", "other", 10, 100, 1000, 0) is None


def test_one_odd_call_makes_the_others_dearer_only_for_a_while() -> None:
    learned = Learned()
    learned.note("p", "m", 4000, 900, 1000, 500)
    assert learned.correction("p", "m") == (pytest.approx(4.4), pytest.approx(1.98))
    for _ in range(35):
        learned.note("p", "m", 10, 900, 1000, 500)
    assert learned.correction("p", "m").prompt == pytest.approx(1 + 3.4 / 2, rel=0.02)
    assert learned.correction("p", "m").output == pytest.approx(1.98), "its answers go on to be too long"
    for _ in range(600):
        learned.note("p", "m", 10, 100, 1000, 500)
    assert learned.correction("p", "m") == (pytest.approx(1, abs=1e-3), pytest.approx(1, abs=1e-3))


def test_a_steady_pace_is_foretold_and_a_wild_one_with_doubt() -> None:
    common = {"slice_us": 60, "now_us": 600, "ends_us": 1200, "cap": 150}
    assert forecast([10, 10, 10, 0], **common) is None
    assert forecast([0] * 10, **common) is None
    steady = forecast([10] * 10 + [0], **common)
    assert steady is not None
    assert (steady.low, steady.likely, steady.high) == (200, 200, 200)
    assert steady.full_us == 900
    wild = forecast([0, 20] * 5 + [0], **common)
    assert wild is not None
    assert wild.low < 200 < wild.high
    assert wild.low >= 100
    assert wild.full_late_us is None or wild.full_late_us > 900
    assert forecast([10] * 10 + [0], **{**common, "cap": 1000}).full_us is None  # type: ignore[union-attr] # it was told


def test_the_dead_are_known_by_the_kernel_or_by_their_silence() -> None:
    own = this_process()
    assert is_gone(own) is False
    assert is_gone(own._replace(started="1")) is True
    elsewhere = Holder("x", "another machine", 1, "1", 5)
    assert is_gone(elsewhere) is None
    wake, killed = Wake(grace=1.0), own._replace(id="killed", started="1")
    assert wake.dead([own, elsewhere, killed], 0.0, own.id) == []
    assert wake.dead([own, elsewhere, killed], 1.0, own.id) == [killed]
    assert wake.dead([elsewhere], EXPIRY, own.id) == [elsewhere]
    assert wake.dead([elsewhere._replace(beat=6)], EXPIRY, own.id) == []
    assert wake.dead([elsewhere._replace(beat=6)], 2 * EXPIRY - 1, own.id) == []
