"""Which key a call is made with, which keys rest, and for how long."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from mainspring.base.errors import (
    ProviderCoolingDown,
    ProviderDrained,
    ProviderRefused,
    ProviderWithoutKey,
    SecretError,
)
from mainspring.base.secrets import Secret
from mainspring.providers.pool import KeyPool, PooledKey
from mainspring.providers.types import Drain


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("pool", "rests"):
        monkeypatch.setattr(f"mainspring.providers.{module}.monotonic", made)
    return made


def pool(*names: str, **options: Any) -> KeyPool:
    made = KeyPool(
        "up", [PooledKey(name, name) for name in names], header="authorization: Bearer %s", **options
    )
    for name in names:
        made.put(name, Secret(f"sk-{name}"), None)
    return made


def refusal(status: int, kind: str | None = None, **headers: str) -> ProviderRefused:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderRefused("no", upstream_status=status, upstream_type=kind, upstream_headers=named)


async def refuse(made: KeyPool, key: PooledKey, error: ProviderRefused, model: str = "m") -> bool:
    return await made.refused(key, key.credentials, model, error)


def shares(made: KeyPool, calls: int, model: str = "m") -> Counter[str]:
    return Counter(made.choose(model).label for _ in range(calls))


def test_keys_of_unknown_headroom_take_turns() -> None:
    assert shares(pool("a", "b", "c"), 300) == {"a": 100, "b": 100, "c": 100}


def test_calls_follow_the_headroom(clock: Clock) -> None:
    made = pool("a", "b")
    a, b = made.keys
    a.answered("m", {"x-ratelimit-remaining-requests": "900", "x-ratelimit-reset-requests": "60s"})
    b.answered("m", {"x-ratelimit-remaining-requests": "100", "x-ratelimit-reset-requests": "60s"})
    assert shares(made, 100) == {"a": 90, "b": 10}
    assert shares(made, 100, "another model") == {"a": 50, "b": 50}
    # The scarcer of requests and tokens counts.
    a.answered("m", {"x-ratelimit-remaining-requests": "900", "x-ratelimit-remaining-tokens": "1000"})
    b.answered("m", {"x-ratelimit-remaining-requests": "900", "x-ratelimit-remaining-tokens": "3000"})
    clock.now += 0.2  # weights hold for a moment
    assert shares(made, 100) == {"a": 25, "b": 75}
    a.answered("m", {"anthropic-ratelimit-requests-remaining": "0"})
    b.answered("m", {"anthropic-ratelimit-requests-remaining": "50"})
    clock.now += 0.2
    assert shares(made, 100)["b"] >= 99
    clock.now += 61  # nothing of it is true any more
    assert shares(made, 100) == {"a": 50, "b": 50}


async def test_a_key_rests_after_a_429_for_the_model_that_was_asked(clock: Clock) -> None:
    made = pool("a", "b")
    a, b = made.keys
    error = refusal(429, retry_after="7")
    assert not await refuse(made, a, error)
    assert error.key == "a"
    assert shares(made, 10) == {"b": 10}
    assert shares(made, 10, "other") == {"a": 5, "b": 5}
    assert made.ready("m") == 0
    await refuse(made, b, refusal(429, retry_after_ms="2500"))
    assert made.ready("m") == pytest.approx(2.5)
    assert made.ready("other") == made.ready() == 0
    with pytest.raises(ProviderCoolingDown) as caught:
        made.choose("m")
    assert (caught.value.http_status, caught.value.retry_after) == (429, 3)
    clock.now += 2.5
    assert shares(made, 10) == {"b": 10}
    clock.now += 4.5
    assert shares(made, 10) == {"a": 5, "b": 5}


async def test_how_long_it_rests(clock: Clock) -> None:
    async def rest(error: ProviderRefused, *, new: bool = True) -> float:
        nonlocal made
        made = pool("a") if new else made
        await refuse(made, made.keys[0], error)
        return made.ready("m")

    made = pool("a")
    assert await rest(refusal(429, retry_after="86400")) == 900
    assert await rest(refusal(429, retry_after="0")) == pytest.approx(0.1)
    spent = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1m5s"}
    assert await rest(refusal(429, **spent)) == pytest.approx(65)
    assert await rest(refusal(429)) == 2
    for expected in (4, 8, 16, 32, 60, 60):
        clock.now += made.ready("m")
        assert await rest(refusal(429), new=False) == expected
    assert await rest(refusal(429), new=False) == 60, (
        "calls that were under way together are refused together"
    )
    clock.now += 60
    made.answered(made.keys[0], "m", {})
    assert await rest(refusal(429), new=False) == 2, "an answer starts it anew"


async def test_an_answer_that_was_under_way_does_not_end_a_rest(clock: Clock) -> None:
    made = pool("a")
    await refuse(made, made.keys[0], refusal(429, retry_after="5"))
    made.answered(made.keys[0], "m", {})
    assert made.ready("m") == 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, None), (429, "insufficient_quota"), (402, None), (400, "credit_balance_too_low")],
)
async def test_a_key_that_is_not_accepted_is_left_out_while_there_is_another(
    clock: Clock, status: int, kind: str | None
) -> None:
    made = pool("a", "b")
    a, b = made.keys
    with capture_logs() as log:
        for _ in range(3):
            await refuse(made, a, refusal(status, kind))
    assert [event["key_label"] for event in log] == ["a"], "the log says so once"
    assert "sk-" not in str(log)
    assert shares(made, 10) == shares(made, 10, "other") == {"b": 10}
    clock.now += 60
    assert shares(made, 10) == {"a": 5, "b": 5}
    await refuse(made, a, refusal(status, kind))
    clock.now += 119
    assert shares(made, 10) == {"b": 10}
    # The last one stays in use: what the provider says is clearer than what we would.
    await refuse(made, b, refusal(status, kind))
    assert made.ready("m") == 0
    assert set(shares(made, 10)) == {"a", "b"}
    made.answered(a, "m", {})
    assert shares(made, 10) == {"a": 10}


async def test_a_forbidden_model_is_the_matter_of_that_model(clock: Clock) -> None:
    made = pool("a", "b")
    await refuse(made, made.keys[0], refusal(403))
    assert shares(made, 10) == {"b": 10}
    assert shares(made, 10, "other") == {"a": 5, "b": 5}


async def test_other_errors_are_not_the_keys_fault() -> None:
    made = pool("a", "b")
    for status in (400, 404, 500, 503, 529):
        await refuse(made, made.keys[0], refusal(status, retry_after="60"))
    assert shares(made, 10) == {"a": 5, "b": 5}


async def test_a_key_that_was_rotated_meanwhile_is_sent_again() -> None:
    async def renew(reference: str) -> None:
        asked.append(reference)
        if rotated:
            made.put(reference, Secret(rotated.pop()), None)

    asked: list[str] = []
    rotated = ["sk-new"]
    made = pool("a", renew=renew)
    key = made.keys[0]
    before = key.credentials
    assert await made.refused(key, before, "m", refusal(401))
    assert key.credentials == b"authorization: Bearer sk-new\r\n"
    assert await made.refused(key, before, "m", refusal(401)), "a call that was sent with the old one"
    assert asked == ["a"]
    assert not await made.refused(key, key.credentials, "m", refusal(401))
    assert asked == ["a", "a"]


def test_a_secret_that_is_not_there_or_cannot_be_sent() -> None:
    made = KeyPool("up", [PooledKey("env:A", "env:A")], header="x-api-key: %s")
    made.put("env:A", None, SecretError("The environment variable A is not set.", remedy="Set A."))
    assert made.ready() == math.inf
    with pytest.raises(ProviderWithoutKey, match=r"up has no key .*A is not set\. Set A") as error:
        made.choose("m")
    assert (error.value.http_status, error.value.retryable) == (503, False)
    made.put("env:A", Secret("sk-1"), None)
    assert made.choose("m").credentials == b"x-api-key: sk-1\r\n"
    made.put("env:A", Secret("sk-\u2013"), None)
    assert made.choose("m").credentials == b"x-api-key: sk-1\r\n", "the last good one stays in use"
    assert "a header cannot carry" in str(made.keys[0].problem)


async def test_the_same_key_twice_counts_once() -> None:
    made = pool("a", "b")
    made.put("b", Secret("sk-a"), None)
    assert [key.twin for key in made.keys] == [None, "a"]
    assert shares(made, 10) == {"a": 10}
    await refuse(made, made.keys[0], refusal(429, retry_after="5"))
    assert made.ready("m") > 4
    made.put("b", Secret("sk-b"), None)
    assert made.ready("m") == 0


def test_drained() -> None:
    made = pool("a", "b")
    drain = Drain("up", "a", 1, "ann")
    made.keys[0].drain = drain
    made.settle()
    assert shares(made, 10) == {"b": 10}
    made.keys[1].drain = drain
    made.settle()
    assert made.ready() == math.inf
    with pytest.raises(ProviderDrained, match="every key"):
        made.choose("m")
    made.keys[0].drain = made.keys[1].drain = None
    made.drain = drain
    made.settle()
    with pytest.raises(ProviderDrained, match="mainspring providers undrain up"):
        made.choose("m")
    alone = KeyPool("local")
    assert alone.ready() == 0
    alone.drain = drain
    alone.settle()
    assert alone.ready("m") == math.inf


async def test_what_was_learnt_outlives_a_reload(clock: Clock) -> None:
    before, after = pool("a", "b"), pool("a", "c")
    await refuse(before, before.keys[0], refusal(429, retry_after="9"))
    after.adopt(before)
    assert shares(after, 10) == {"c": 10}


async def test_memory_does_not_grow_with_the_names_of_models(clock: Clock) -> None:
    made = pool("a", "b")
    for number in range(1000):
        model = f"m{number}"
        made.answered(made.keys[0], model, {})
        await refuse(made, made.keys[1], refusal(429), model)
    assert len(made.keys[0].models()) <= 200
    assert len(made.keys[1].resting.current()) <= 200
