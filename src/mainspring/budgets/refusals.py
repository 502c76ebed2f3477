"""What a caller is told when a budget has too little left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import iso, now_us
from mainspring.base.errors import BudgetExceeded, StoreError, UnknownPrice
from mainspring.base.money import dollars
from mainspring.budgets import windows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.budgets.entry import Entry
    from mainspring.budgets.service import Budgets
    from mainspring.budgets.types import Budget


async def exceeded(budgets: Budgets, entry: Entry, time_us: int, nusd: int, tokens: int) -> BudgetExceeded:
    """The refusal of a call that needs `nusd` and `tokens`: which budget, what is spent, when it frees."""
    budget = entry.budget
    room_us = entry.span(time_us).room_us
    try:
        spent = await budgets.spent(budget, room_us)
    except StoreError:
        spent = None  # the refusal stands without the sum
    parts = []
    if budget.nusd is not None:
        gone = f"{dollars(spent[0])} of {dollars(budget.nusd)}" if spent else f"of {dollars(budget.nusd)}"
        parts.append(f"{gone} spent, and this request may cost {dollars(nusd)}")
    if budget.tokens is not None:
        gone = f"{spent[1]:,} of {budget.tokens:,}" if spent else f"of {budget.tokens:,}"
        parts.append(f"{gone} tokens used, and this request may use {tokens:,}")
    ends = windows.ends(budget, time_us)
    when = frees(budget, ends)
    return BudgetExceeded(
        f"The budget {budget.name!r} ({_scope(budget)}, {window(budget)}) has too little left: {'; '.join(parts)}.",
        remedy=f"{when} A smaller max_tokens, or a higher budget, may fit before.",
        retry_after=_seconds(budget, ends),
        budget_id=budget.id,
        step_down=budget.step_down if budget.policy == "step_down" else None,
    )


def unknown_price(provider: str, model: str, entries: Iterable[Entry]) -> UnknownPrice:
    """The refusal of a call that nobody can price."""
    budget = next(entry.budget for entry in entries if entry.budget.nusd is not None)
    name = f"{provider}/{model}"
    return UnknownPrice(
        f"The price of {name} is not known, and the budget {budget.name!r} caps dollars.",
        remedy=f'Set [models."{name}"] input_usd_per_mtok = ... and output_usd_per_mtok = ... in mainspring.toml.',
        budget_id=budget.id,
    )


def frees(budget: Budget, ends_us: int | None) -> str:
    """When there is room again."""
    if ends_us is not None:
        return f"It resets at {iso(ends_us)[:16].replace('T', ' ')} UTC."
    if budget.window == "rolling":
        return "Room comes back as what was spent leaves the window."
    return "It never resets."


def window(budget: Budget) -> str:
    """The window in words."""
    if budget.window == "rolling":
        return f"over {period(budget.period_us or windows.DAY_US)}"
    return {"day": "each day", "month": "each month", "total": "in all"}[budget.window]


def period(period_us: int) -> str:
    """A length of time as it is written: `7d`, `12h`, `90s`."""
    seconds = period_us // windows.SECOND_US
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _seconds(budget: Budget, ends_us: int | None) -> int | None:
    if ends_us is not None:
        return max(1, -(-(ends_us - now_us()) // windows.SECOND_US))
    if budget.window == "rolling":
        return max(1, windows.slice_us(budget) // windows.SECOND_US)
    return None


def _scope(budget: Budget) -> str:
    within = (
        f" of {budget.tenant}"
        if budget.tenant is not None and budget.kind in {"user", "feature", "model"}
        else ""
    )
    return f"{budget.kind} {budget.subject}{within}"
