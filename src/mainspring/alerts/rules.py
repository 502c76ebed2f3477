"""Rules as they are evaluated: everything in whole numbers, and the words for them.

A rule compares a number with a threshold. It fires on the bad side of the threshold, is good on the good side of
`recover`, and in between stays as it is, so that a number that trembles around the threshold does not flap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from mainspring.base.durations import parse_seconds
from mainspring.base.money import dollars, from_usd
from mainspring.base.settings.alerts import WINDOWED, Dimension, Metric, RuleSettings, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.base.settings import AlertsSettings

MILLION = 1_000_000
#: Larger numbers are told as this one: an alert that no column takes would keep all others from being written.
MOST = 1 << 62
#: Rates and latencies of fewer requests say nothing.
_ENOUGH = 20
#: A target that fails is soon asked only now and then, which is little but says enough.
_ENOUGH_ATTEMPTS = 5
_FILTERS: tuple[Dimension, ...] = ("tenant", "route", "provider", "model", "feature")
#: A fifth to the good side of the threshold is good again, unless the rule says where.
_RECOVER_ABOVE, _RECOVER_BELOW = (4, 5), (6, 5)
_AMOUNTS = frozenset({"spend", "tokens", "requests"})
_ERROR_RATES = frozenset({"error_rate", "attempt_error_rate"})
_TIMES = frozenset(WINDOWED) - _AMOUNTS - _ERROR_RATES | {"secret_age"}
_SHARES = _ERROR_RATES | {"budget"}
_COUNTS = {"tokens": "tokens", "requests": "requests", "database_queue": "rows"}
_NAMES: dict[Metric, str] = {
    "spend": "spend",
    "tokens": "tokens",
    "requests": "requests",
    "error_rate": "error rate",
    "attempt_error_rate": "failed attempts",
    "latency_mean": "mean latency",
    "latency_p50": "median latency",
    "latency_p95": "p95 latency",
    "latency_p99": "p99 latency",
    "first_token_mean": "mean time to the first token",
    "first_token_p50": "median time to the first token",
    "first_token_p95": "p95 time to the first token",
    "first_token_p99": "p99 time to the first token",
    "budget": "budget",
    "provider_health": "provider",
    "secret_age": "age of a secret",
    "database_queue": "queue of the database",
}
#: What is watched without being told to. Each is replaced by a rule of the same name.
DEFAULTS: dict[str, RuleSettings] = {
    "budgets": RuleSettings(metric="budget", above=0.5, resolve_after="0s"),
    "providers": RuleSettings(metric="provider_health", lasting="30s", severity="critical"),
}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. Durations are microseconds, thresholds whole numbers in the metric's unit (see `Alert`)."""

    name: str
    metric: Metric
    threshold: int
    high_is_bad: bool
    recover: int
    over: str
    over_us: int
    lasting_us: int
    resolve_after_us: int
    min_requests: int
    where: dict[str, str]
    per: Dimension | None
    channels: tuple[str, ...]
    severity: Severity

    @property
    def windowed(self) -> bool:
        """Whether it sums over answers."""
        return self.metric in WINDOWED

    @property
    def tenant(self) -> str | None:
        """The tenant that everything it finds belongs to, if it says so."""
        return self.where.get("tenant")

    def fires(self, value: int | None, threshold: int | None = None) -> bool:
        """Whether a value is bad. Nothing to judge is not bad."""
        if value is None:
            return False
        limit = self.threshold if threshold is None else threshold
        if self.metric == "budget":  # a cap is reached, not passed
            return value >= limit
        return value > limit if self.high_is_bad else value < limit

    def is_good(self, value: int | None) -> bool:
        """Whether a value is good again. Nothing to judge is."""
        if value is None:
            return True
        return value <= self.recover if self.high_is_bad else value >= self.recover

    def worse(self, one: int | None, other: int | None) -> int | None:
        """The worse of two values."""
        if one is None or other is None:
            return other if one is None else one
        return max(one, other) if self.high_is_bad else min(one, other)


def compile_rules(settings: AlertsSettings, *, old_days: float = 90) -> list[Rule]:
    """The rules of a configuration, the ones that need not be written among them.

    Args:
        settings: the section.
        old_days: from when on a secret is old.
    """
    secrets = RuleSettings(metric="secret_age", above=old_days * 86_400, severity="info", resolve_after="0s")
    defaults = {**DEFAULTS, "secrets": secrets} if settings.defaults else {}
    named: Mapping[str, RuleSettings] = {**defaults, **settings.rules}
    return [_compiled(name, rule, tuple(settings.channels)) for name, rule in named.items()]


def _compiled(name: str, rule: RuleSettings, channels: tuple[str, ...]) -> Rule:
    high_is_bad = rule.below is None
    threshold = _whole(rule.metric, rule.threshold)
    if rule.recover is not None:
        recover = _whole(rule.metric, rule.amount(rule.recover))
    else:
        part, whole = _RECOVER_ABOVE if high_is_bad else _RECOVER_BELOW
        recover = threshold * part // whole if high_is_bad else -(-threshold * part // whole)
    enough = 0
    if rule.metric in WINDOWED and rule.metric not in _AMOUNTS:
        enough = _ENOUGH_ATTEMPTS if rule.metric == "attempt_error_rate" else _ENOUGH
    return Rule(
        name=name,
        metric=rule.metric,
        threshold=threshold,
        high_is_bad=high_is_bad,
        recover=recover,
        over=rule.over,
        over_us=_micro(rule.over),
        lasting_us=_micro(rule.lasting),
        resolve_after_us=_micro(rule.resolve_after),
        min_requests=enough if rule.min_requests is None else rule.min_requests,
        where={key: value for key in _FILTERS if (value := getattr(rule, key)) is not None},
        per=rule.per,
        channels=channels if rule.channels is None else tuple(rule.channels),
        severity=rule.severity,
    )


def _whole(metric: Metric, amount: float) -> int:
    """A threshold in the metric's unit."""
    if metric == "spend":
        return min(from_usd(amount), MOST)
    return min(round(amount * MILLION if metric in _TIMES or metric in _SHARES else amount), MOST)


def _micro(text: str) -> int:
    return round(parse_seconds(text) * MILLION)


def unit_of(metric: Metric) -> Literal["usd", "seconds", "share", "count"]:
    """What a value of a metric counts, for programs."""
    if metric == "spend":
        return "usd"
    return "seconds" if metric in _TIMES else "share" if metric in _SHARES else "count"


def show(metric: Metric, value: int | None) -> str:
    """A value as people read it: `$12.50`, `7.2%`, `850 ms`, `1200 requests`."""
    if value is None:
        return "nothing"
    if metric == "spend":
        return dollars(value)
    if metric in _SHARES:
        return f"{value / 10_000:.3g}%" if value < MILLION else f"{value / 10_000:.0f}%"
    if metric == "provider_health":
        return "unhealthy" if value else "healthy"
    if metric in _TIMES:
        return _time(value)
    unit = _COUNTS[metric]
    return f"{value} {unit.removesuffix('s') if value == 1 else unit}"


def _time(us: int) -> str:
    seconds = us / MILLION
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def summary(rule: Rule, subject: str, value: int | None, threshold: int, detail: str) -> str:
    """An alert in one sentence without its full stop."""
    about = " ".join([subject, *(f"{key}={text}" for key, text in rule.where.items())]).strip()
    if rule.metric == "budget" and detail:
        return detail  # it names the budget
    if rule.metric in {"budget", "provider_health", "secret_age"}:
        return (
            f"{subject}: {detail}"
            if detail
            else f"{_NAMES[rule.metric]} {subject}: {show(rule.metric, value)}"
        )
    side = "above" if rule.high_is_bad else "below"
    named = rule.metric not in {"requests", "tokens"}  # the unit names them
    text = f"{_NAMES[rule.metric]} {show(rule.metric, value)}" if named else show(rule.metric, value)
    text += f" over {rule.over}" if rule.windowed else ""
    text += f" ({side} {show(rule.metric, threshold)})"
    return f"{text[:1].upper()}{text[1:]}{f' for {about}' if about else ''}"


def describe(rule: Rule) -> str:
    """A rule in words: `error rate above 5% over 5m, per provider`."""
    if rule.metric == "provider_health":
        text = "providers whose breaker is not closed"
    elif rule.metric == "budget":
        text = f"budgets of which {show(rule.metric, rule.threshold)} or more is spent"
    else:
        side = "above" if rule.high_is_bad else "below"
        named = "" if rule.metric in _COUNTS else f"{_NAMES[rule.metric]} "
        text = f"{named}{side} {show(rule.metric, rule.threshold)}"
    text += f" over {rule.over}" if rule.windowed else ""
    text += "".join(f", {key} {value}" for key, value in rule.where.items())
    text += f", for each {rule.per}" if rule.per else ""
    return text + (f", lasting {rule.lasting_us / MILLION:g} s" if rule.lasting_us else "")
