"""Where rules get their numbers: the sums of the ledger, and the states of the rooms below.

Sums are read from the rollups, never from the answers: a window of minutes reads a few rows of minutes, one of days a few
rows of days. Rules that want the same sums share one query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.alerts.rules import MILLION
from mainspring.alerts.types import Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mainspring.alerts.rules import Rule
    from mainspring.ledger import Ledger, UsageRow

    #: Known in memory, or to be asked for.
    State = list[Reading] | Awaitable[list[Reading]]

#: A rule does not look at more groups than this; the ones with most requests come first.
MOST_GROUPS = 500
_MINUTE_US = 60 * MILLION
_MS_FIELDS = {
    "latency_mean": "latency_mean_ms",
    "latency_p50": "p50_ms",
    "latency_p95": "p95_ms",
    "latency_p99": "p99_ms",
    "first_token_mean": "first_token_mean_ms",
    "first_token_p50": "first_token_p50_ms",
    "first_token_p95": "first_token_p95_ms",
    "first_token_p99": "first_token_p99_ms",
}
_ERROR_RATES = {"error_rate", "attempt_error_rate"}
_NEEDS_HISTOGRAM = {name for name in _MS_FIELDS if not name.endswith("_mean")}


class Sources:
    """What rules read.

    Args:
        ledger: of the instance.
        states: readings of the metrics that are states, by metric.
    """

    def __init__(self, ledger: Ledger, states: dict[str, Callable[[], State]]) -> None:
        self._ledger = ledger
        self._states = states

    async def read(self, rule: Rule, now_us: int, shared: dict[Any, list[UsageRow]]) -> list[Reading]:
        """The readings of a rule. `shared` holds the sums that were read in this round.

        Raises:
            StoreError: the database is away.
        """
        if not rule.windowed:
            state = self._states.get(rule.metric)
            found = [] if state is None else state()
            return found if isinstance(found, list) else await found
        # Whole minutes, the one under way among them: never less than the window, at most a minute more.
        since_us = (now_us - rule.over_us) // _MINUTE_US * _MINUTE_US
        percentiles = rule.metric in _NEEDS_HISTOGRAM
        first_tokens = percentiles and rule.metric.startswith("first_token_")
        key = (rule.over_us, rule.per, tuple(sorted(rule.where.items())), percentiles, first_tokens)
        if key not in shared:
            shared[key] = await self._ledger.usage(
                by=rule.per,
                since_us=since_us,
                until_us=now_us,
                where=rule.where,
                percentiles=percentiles,
                first_tokens=first_tokens,
            )
        return readings(rule, shared[key])


def readings(rule: Rule, rows: list[UsageRow]) -> list[Reading]:
    """Sums as readings. Without a group there is always one, also where nothing was asked."""
    if rule.per is None:
        row = rows[0] if rows else None
        return [Reading(subject="", value=value_of(rule, row), tenant=rule.tenant)]
    return [
        Reading(
            subject=f"{rule.per}={row.group}",
            value=value_of(rule, row),
            tenant=row.group if rule.per == "tenant" else rule.tenant,
        )
        for row in rows[:MOST_GROUPS]
        if row.group is not None  # what never reached a provider is about none
    ]


def value_of(rule: Rule, row: UsageRow | None) -> int | None:
    """The metric of one group in its unit; None where there were too few requests."""
    if row is None:
        return 0 if rule.min_requests == 0 and rule.metric in {"requests", "spend", "tokens"} else None
    counted, errors = row.requests, row.errors
    if rule.metric == "attempt_error_rate":
        counted, errors = row.attempts, row.attempt_errors
    if counted < rule.min_requests:
        return None
    if rule.metric in _MS_FIELDS:
        milliseconds: float | None = getattr(row, _MS_FIELDS[rule.metric])
        return None if milliseconds is None else round(milliseconds * 1000)
    if rule.metric in _ERROR_RATES:
        return errors * MILLION // counted if counted else None
    return {"requests": counted, "spend": row.cost_nusd}.get(rule.metric, row.tokens)
