"""States of the rooms below as readings: what rules of a metric without a window look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.alerts.rules import MILLION, MOST
from mainspring.alerts.types import Reading
from mainspring.base.clock import now_us
from mainspring.base.money import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.base.settings.alerts import Severity
    from mainspring.budgets import Budgets, Crossing
    from mainspring.providers import Ages
    from mainspring.providers.pool import KeyPool
    from mainspring.routing import Health
    from mainspring.store import Database

_DAY_US = 86_400_000_000
#: Per cent: from when on a budget is a warning, and when it is used up.
_MOST, _ALL = 80, 100


async def budgets(room: Budgets) -> list[Reading]:
    """One reading for each budget that has reached a threshold in its window: the share that is spent.

    Raises:
        StoreError: the database is away.
    """
    return [
        Reading(
            subject=f"{each.subject or 'budget'} ({each.budget})",
            value=min(each.spent * MILLION // each.cap, MOST) if each.cap else MILLION,
            tenant=each.tenant,
            window_us=each.window_us,
            threshold=each.threshold * MILLION // 100,
            severity=_severity(each.threshold),
            detail=f"{each.threshold}% of the budget of {each.subject or each.budget} is spent: {_amount(each)}",
        )
        for each in await room.crossed()
    ]


def _severity(percent: int) -> Severity:
    """A cap that is reached stops requests; one that is near will."""
    return "critical" if percent >= _ALL else "warning" if percent >= _MOST else "info"


def _amount(crossing: Crossing) -> str:
    if crossing.unit == "usd":
        return f"{dollars(crossing.spent)} of {dollars(crossing.cap)}"
    return f"{crossing.spent:,} of {crossing.cap:,} tokens"


def provider_health(health: Health) -> list[Reading]:
    """One reading for each target whose breaker is not closed: 1. Of this process, which sees its own calls."""
    return [
        Reading(
            subject=f"{entry.provider}/{entry.model}",
            value=1,
            detail=f"its breaker is {entry.state.replace('_', '-')}"
            + (f", last failure {entry.last_failure}" if entry.last_failure else ""),
        )
        for entry in health.entries()
        if entry.state != "closed"
    ]


def database_queue(database: Database) -> list[Reading]:
    """Rows that wait for the writer of this process."""
    return [Reading(subject="", value=database.depth)]


def secret_age(ages: Ages, pools: Iterable[KeyPool]) -> list[Reading]:
    """How long each key of a provider has been in use, where that is known."""
    now = now_us()
    return [
        Reading(
            subject=f"{pool.provider} {key.label}",
            value=now - since,
            detail=f"in use for {(now - since) // _DAY_US} days",
        )
        for pool in pools
        for key in pool.keys
        if (since := ages.since(pool.provider, key)) is not None
    ]
