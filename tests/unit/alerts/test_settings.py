"""What may stand in the file, and the one sentence that each mistake gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mainspring.alerts.rules import compile_rules, describe, summary
from mainspring.base.errors import ConfigError
from mainspring.base.settings import AlertsSettings, load

if TYPE_CHECKING:
    from pathlib import Path

CHANNEL = '[alerts.channels.ops]\nkind = "webhook"\nurl = "env:OPS_WEBHOOK"\n'
MAIL = '[alerts.channels.m]\nkind = "email"\nhost = "h"\nsender = "a@b.c"\nto = ["d@e.f"]\n'
RULE = '[alerts.rules.errors]\nmetric = "error_rate"\n'

MISTAKES = {
    "unknown channel": (
        RULE + 'above = 0.1\nchannels = ["oops"]\n' + CHANNEL,
        "alerts.rules.errors: there is no channel 'oops' (known: ops); add [alerts.channels.oops].",
    ),
    "no threshold": (RULE, "alerts.rules.errors: it has no threshold; write `above = ...` or `below = ...`."),
    "two thresholds": (
        RULE + "above = 0.1\nbelow = 0.01\n",
        "alerts.rules.errors: it has both `above` and `below`; write two rules.",
    ),
    "negative": (RULE + "above = -0.1\n", "alerts.rules.errors: `above` cannot be negative."),
    "more than all": (
        RULE + "above = 5\n",
        "alerts.rules.errors: an error rate is a share.",
    ),
    "text for a number": (
        '[alerts.rules.r]\nmetric = "spend"\nabove = "5m"\n',
        "alerts.rules.r: a threshold of spend is a number.",
    ),
    "bad duration": (
        RULE + 'above = 0.1\nover = "5x"\n',
        "alerts.rules.errors.over: '5x' is not a duration; write 30s, 5m, 2h or 7d.",
    ),
    "short window": (
        RULE + 'above = 0.1\nover = "5s"\n',
        "alerts.rules.errors.over: a window has between 1m and 31d, not 5s.",
    ),
    "bad side": (
        RULE + "above = 0.1\nrecover = 0.2\n",
        "alerts.rules.errors: `recover` is on the bad side of the threshold.",
    ),
    "window of a state": (
        '[alerts.rules.r]\nmetric = "secret_age"\nabove = "30d"\nover = "1h"\n',
        "alerts.rules.r: secret_age is a state, not a sum over answers; leave out `over`.",
    ),
    "threshold of health": (
        '[alerts.rules.r]\nmetric = "provider_health"\nabove = 1\n',
        "alerts.rules.r: provider_health has no threshold; leave it out.",
    ),
    "misspelt metric": (
        '[alerts.rules.r]\nmetric = "errors"\nabove = 1\n',
        "alerts.rules.r.metric must be",
    ),
    "misspelt key": (
        RULE + "abov = 0.1\n",
        "alerts.rules.errors.abov is not a setting. Did you mean 'above'?",
    ),
    "mail without host": (
        '[alerts.channels.m]\nkind = "email"\nsender = "a@b.c"\nto = ["d@e.f"]\n',
        "alerts.channels.m: a channel of kind email needs `host`.",
    ),
    "mail without recipient": (
        '[alerts.channels.m]\nkind = "email"\nhost = "h"\nsender = "a@b.c"\n',
        "alerts.channels.m: a channel of kind email needs `to`.",
    ),
    "no address": (
        '[alerts.channels.m]\nkind = "email"\nhost = "h"\nsender = "a@b.c"\nto = ["nobody"]\n',
        "alerts.channels.m: 'nobody' is not an e-mail address.",
    ),
    "password in the clear": (
        MAIL + 'security = "plain"\nusername = "u"\npassword = "env:P"\n',
        "alerts.channels.m: a password is not sent over a plain connection; use starttls or tls.",
    ),
    "name without password": (
        MAIL + 'username = "u"\n',
        "alerts.channels.m: `username` and `password` belong together; give both or neither.",
    ),
    "webhook without address": (
        '[alerts.channels.w]\nkind = "webhook"\n',
        "alerts.channels.w: a channel of kind webhook needs `url`.",
    ),
    "key of another kind": (
        '[alerts.channels.w]\nkind = "slack"\nurl = "env:U"\nsecret = "env:S"\n',
        "alerts.channels.w: a channel of kind slack has no `secret`.",
    ),
    "not http": (
        '[alerts.channels.x]\nkind = "slack"\nurl = "ftp://h"\n',
        "alerts.channels.x: `url` does not begin with http:// or https://.",
    ),
    "too often": (
        '[alerts]\nevery = "1s"\nremind = "1s"\n',
        "alerts: `remind` is less than 60 seconds.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_sentence(mistake: str, tmp_path: Path) -> None:
    text, sentence = MISTAKES[mistake]
    file = tmp_path / "mainspring.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as told:
        load(file)
    wrong, _, cure = sentence.rstrip(".").partition("; ")
    assert wrong in told.value.message
    assert cure.lower() in str(told.value).lower()
    assert "\n" not in str(told.value)


def test_no_secret_is_in_the_snapshot(tmp_path: Path) -> None:
    file = tmp_path / "mainspring.toml"
    file.write_text(
        '[alerts.channels.w]\nkind = "webhook"\nurl = "https://hooks.example.com/T0KEN"\nsecret = "whsec_SECRET"\n'
        + CHANNEL,
        "utf-8",
    )
    settings = load(file)
    text = settings.snapshot()[1].decode()
    assert "T0KEN" not in text
    assert "SECRET" not in text
    assert "env:OPS_WEBHOOK" in text
    assert "T0KEN" not in repr(settings)


def test_rules_that_need_not_be_written_and_their_words() -> None:
    settings = AlertsSettings.model_validate(
        {
            "channels": {"ops": {"kind": "slack", "url": "env:U"}, "cto": {"kind": "slack", "url": "env:V"}},
            "rules": {
                "errors": {"metric": "error_rate", "above": 0.05, "per": "provider", "channels": ["ops"]},
                "slow": {"metric": "latency_p95", "above": "90s", "over": "10m", "lasting": "2m"},
                "spend": {"metric": "spend", "above": 12.5, "over": "1d", "tenant": "acme"},
                "dead": {"metric": "requests", "below": 10, "recover": 30},
            },
        }
    )
    rules = {rule.name: rule for rule in compile_rules(settings, old_days=30)}
    assert {name: describe(rule) for name, rule in rules.items()} == {
        "budgets": "budgets of which 50% or more is spent",
        "providers": "providers whose breaker is not closed, lasting 30 s",
        "secrets": "age of a secret above 30 days",
        "errors": "error rate above 5% over 5m, for each provider",
        "slow": "p95 latency above 90 s over 10m, lasting 120 s",
        "spend": "spend above $12.50 over 1d, tenant acme",
        "dead": "below 10 requests over 5m",
    }
    assert rules["errors"].channels == ("ops",)
    assert rules["spend"].channels == ("ops", "cto")
    assert (rules["spend"].threshold, rules["spend"].recover) == (12_500_000_000, 10_000_000_000)
    assert (rules["dead"].threshold, rules["dead"].recover) == (10, 30)
    assert (rules["slow"].min_requests, rules["spend"].min_requests) == (20, 0)
    said = summary(rules["spend"], "", 13_000_000_001, rules["spend"].threshold, "")
    assert said == "Spend $13.00 over 1d (above $12.50) for tenant=acme"
    assert [rule.name for rule in compile_rules(AlertsSettings(defaults=False))] == []
