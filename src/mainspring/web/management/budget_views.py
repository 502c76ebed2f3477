"""How budgets look in JSON. Used by the API and by `--json` of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import iso
from mainspring.budgets.refusals import period
from mainspring.web.management.views import dollars

if TYPE_CHECKING:
    from mainspring.budgets import Budget as StoredBudget
    from mainspring.budgets import Standing


class Budget(msgspec.Struct, kw_only=True):
    """A budget and how it stands in its window.

    `scope` names what it is about: a key, tenant, user, feature or model. `held_usd` is what server processes hold of the
    rest: reserved by calls under way, or ready for the next ones. `remaining_usd` is the cap less what is spent.
    """

    id: str
    name: str
    scope: dict[str, str]
    tenant: str | None
    usd: float | None
    tokens: int | None
    window: str
    period: str | None
    policy: str
    step_down: str | None
    queue_seconds: float
    thresholds: list[int]
    created: str
    starts: str
    window_start: str
    window_end: str | None
    spent_usd: float | None
    spent_tokens: int
    remaining_usd: float | None
    remaining_tokens: int | None
    held_usd: float | None
    held_tokens: int
    share: float
    crossed: list[int]
    answers: int


def budget_view(standing: Standing) -> Budget:
    """A budget as JSON has it."""
    budget = standing.budget
    return Budget(
        id=budget.id,
        name=budget.name,
        scope={budget.kind: budget.subject},
        tenant=budget.tenant,
        usd=dollars(budget.nusd),
        tokens=budget.tokens,
        window=budget.window,
        period=period(budget.period_us) if budget.period_us is not None else None,
        policy=budget.policy,
        step_down=budget.step_down,
        queue_seconds=budget.queue_seconds,
        thresholds=list(budget.thresholds),
        created=iso(budget.created_us),
        starts=iso(budget.starts_us),
        window_start=iso(standing.window_us),
        window_end=iso(standing.ends_us) if standing.ends_us is not None else None,
        spent_usd=dollars(standing.nusd),
        spent_tokens=standing.tokens,
        remaining_usd=None if budget.nusd is None else dollars(max(0, budget.nusd - standing.nusd)),
        remaining_tokens=None if budget.tokens is None else max(0, budget.tokens - standing.tokens),
        held_usd=dollars(standing.held_nusd),
        held_tokens=standing.held_tokens,
        share=round(standing.share, 6),
        crossed=list(standing.crossed),
        answers=standing.answers,
    )


def scope_text(budget: StoredBudget) -> str:
    """What a budget is about, for people: `user ann of acme`."""
    within = budget.tenant is not None and budget.kind in {"user", "feature", "model"}
    return f"{budget.kind} {budget.subject}" + (f" of {budget.tenant}" if within else "")
