"""Which limits are about whom."""

from __future__ import annotations

from typing import Any

from mainspring.base.settings import LimitsSettings
from mainspring.keys import Subject
from mainspring.limits.rules import Rules


def subject(user: str | None = "ann", feature: str | None = None, **own: Any) -> Subject:
    return Subject("acme", "k-1", user, feature, **own)


def names(settings: LimitsSettings, who: Subject) -> list[tuple[str, float]]:
    return [(rule.name, rule.limit) for rule in Rules(settings).about(who).rules]


def test_by_default_users_have_ten_requests_a_second() -> None:
    assert names(LimitsSettings(), subject()) == [("rps_per_user", 10)]
    assert names(LimitsSettings(), subject(user=None)) == []
    assert names(LimitsSettings(rps_per_user=0), subject()) == []


def test_every_kind_and_scope() -> None:
    settings = LimitsSettings(
        rps_per_key=5,
        rps_per_tenant=100,
        rps_per_feature=7,
        tokens_per_minute_per_tenant=1000,
        concurrency_per_user=2,
    )
    assert names(settings, subject(feature="chat")) == [
        ("rps_per_user", 10),
        ("concurrency_per_user", 2),
        ("rps_per_key", 5),
        ("rps_per_tenant", 100),
        ("tokens_per_minute_per_tenant", 1000),
        ("rps_per_feature", 7),
    ]


def test_a_key_has_its_own_in_place_of_those_of_all_keys() -> None:
    settings = LimitsSettings(rps_per_user=0, rps_per_key=5, concurrency_per_key=3)
    assert names(settings, subject(rps=50.0)) == [("rps_per_key", 50), ("concurrency_per_key", 3)]
    assert names(settings, subject(tokens_per_minute=600)) == [
        ("rps_per_key", 5),
        ("tokens_per_minute_per_key", 600),
        ("concurrency_per_key", 3),
    ]


def test_two_subjects_share_a_meter_only_if_they_are_one() -> None:
    settings = LimitsSettings(rps_per_tenant=1, rps_per_feature=1)
    rules = Rules(settings)

    def meters(tenant: str, user: str, feature: str) -> list[str]:
        return [ask.key for ask in rules.about(Subject(tenant, "k", user, feature)).asks]

    made = [meters("a", "b", "b"), meters("ab", "", ""), meters("a", "bb", "c"), meters("b", "b", "b")]
    assert len({name for one in made for name in one}) == 3 * 4 - 1  # twice the tenant a


def test_bursts() -> None:
    settings = LimitsSettings(
        rps_per_user=0.5, rps_per_key=20, tokens_per_minute_per_user=6000, burst_seconds=2
    )
    rates = {rule.name: rule.allowance for rule in Rules(settings).all()}
    assert (rates["rps_per_user"].emission_us, rates["rps_per_user"].capacity) == (2_000_000, 1)
    assert (rates["rps_per_key"].emission_us, rates["rps_per_key"].capacity) == (50_000, 40)
    assert rates["tokens_per_minute_per_user"].capacity == 6000


def test_words() -> None:
    settings = LimitsSettings(
        rps_per_user=1, tokens_per_minute_per_key=90_000, concurrency_per_feature=3, rps_per_tenant=0.5
    )
    assert {rule.words for rule in Rules(settings).all()} == {
        "1 request a second for each user",
        "90,000 tokens a minute for each key",
        "0.5 requests a second for each tenant",
        "3 requests at once for each feature",
    }
