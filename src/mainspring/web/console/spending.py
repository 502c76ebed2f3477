"""Budgets: how each of them stands, one in detail with its burn-down and a forecast, and forms to make, change and delete.

Members see those of their tenant; admins see all and change them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest
from mainspring.base.money import NANO, dollars
from mainspring.budgets import NewBudget, windows
from mainspring.budgets.forecast import forecast
from mainspring.budgets.refusals import frees, window
from mainspring.budgets.types import KINDS, POLICIES
from mainspring.web.console.charts import Series, lines
from mainspring.web.console.formatting import moment, short_count, short_usd
from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import CurrentVisitor, FormAdmin  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.management.budget_views import scope_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.budgets import Budget, Standing
    from mainspring.web.console.charts import Chart
    from mainspring.web.runtime import Runtime

router = APIRouter()
_LIMIT = 50
#: Values of the form for a window, and their words.
WINDOWS = {
    "day": "Each day (UTC)",
    "month": "Each month (UTC)",
    "rolling/7d": "Over any 7 days",
    "rolling/30d": "Over any 30 days",
    "total": "In all",
}
POLICY_WORDS = {
    "refuse": "Refuse requests",
    "step_down": "Go to a cheaper route",
    "queue": "Wait for room",
}
DONE = {"made": "made", "changed": "changed", "deleted": "deleted"}
#: A budget without an end is drawn over so many days, and looked ahead for a third of what it has run.
_MOST_DAYS = 90


@router.get("/budgets")
async def show(request: Request, visitor: CurrentVisitor) -> Response:
    """All of them, newest first, and the form for a new one."""
    runtime: Runtime = request.app.state.runtime
    after = request.query_params.get("after") or None
    found = await runtime.budgets.list(tenant=visitor.scope, limit=_LIMIT, after=after)
    return page(
        request,
        "budgets.html",
        visitor,
        items=found.items,
        next=found.next,
        after=after,
        done=DONE.get(request.query_params.get("done", "")),
        kinds=KINDS,
        window_choices=WINDOWS,
        policies=POLICY_WORDS,
        routes=runtime.gateway.planner.route_names(),
        **_WORDS,
    )


@router.post("/budgets")
async def create(
    *,
    request: Request,
    visitor: FormAdmin,
    kind: Annotated[str, Form()] = "",
    subject: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = "",
    usd: Annotated[str, Form()] = "",
    tokens: Annotated[str, Form()] = "",
    window: Annotated[str, Form()] = "day",
    policy: Annotated[str, Form()] = "refuse",
    step_down: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
) -> Response:
    """Make a budget; the page comes back when it is in force."""
    del visitor
    if window not in WINDOWS or policy not in POLICIES:
        raise InvalidRequest(
            "This window or policy is not one of those offered.", remedy="Go back and choose again."
        )
    kind_of_window, _, period = window.partition("/")
    runtime: Runtime = request.app.state.runtime
    wanted = NewBudget(
        scope={kind: subject.strip()},
        tenant=tenant.strip() or None,
        usd=usd.strip().removeprefix("$") or None,
        tokens=_whole("tokens", tokens),
        window=kind_of_window,
        period=period or None,
        policy=policy,
        step_down=step_down or None if policy == "step_down" else None,
        name=name.strip() or None,
    )
    await runtime.budgets.create(wanted, routes=runtime.gateway.planner.route_names())
    return RedirectResponse(f"{base(request)}/budgets?done=made", 303)


@router.get("/budgets/{budget_id}")
async def show_one(request: Request, visitor: CurrentVisitor, budget_id: str) -> Response:
    """One budget: its window so far, and how it goes on."""
    runtime: Runtime = request.app.state.runtime
    standing = await runtime.budgets.get(budget_id, tenant=visitor.scope)
    slices = await runtime.budgets.history(budget_id, tenant=visitor.scope)
    burn = burn_down(standing, slices, now_us())
    return page(
        request,
        "budget.html",
        visitor,
        one=standing,
        burn=burn,
        done=DONE.get(request.query_params.get("done", "")),
        policies=POLICY_WORDS,
        routes=runtime.gateway.planner.route_names(),
        **_WORDS,
    )


@router.post("/budgets/{budget_id}")
async def change(
    *,
    request: Request,
    visitor: FormAdmin,
    budget_id: str,
    usd: Annotated[str, Form()] = "",
    tokens: Annotated[str, Form()] = "",
    policy: Annotated[str, Form()] = "refuse",
    step_down: Annotated[str, Form()] = "",
) -> Response:
    """Put other caps or another policy in force."""
    del visitor
    runtime: Runtime = request.app.state.runtime
    changes: dict[str, Any] = {
        "usd": usd.strip().removeprefix("$") or None,
        "tokens": _whole("tokens", tokens),
        "policy": policy,
        "step_down": (step_down or None) if policy == "step_down" else None,
    }
    await runtime.budgets.change(budget_id, changes, routes=runtime.gateway.planner.route_names())
    return RedirectResponse(f"{base(request)}/budgets/{budget_id}?done=changed", 303)


@router.post("/budgets/{budget_id}/delete")
async def delete(request: Request, _visitor: FormAdmin, budget_id: str) -> Response:
    """Let a budget count and refuse no more."""
    runtime: Runtime = request.app.state.runtime
    await runtime.budgets.delete(budget_id)
    return RedirectResponse(f"{base(request)}/budgets?done=deleted", 303)


class Burn:
    """What is drawn and said of a window."""

    def __init__(self, chart: Chart, rows: list[tuple[int, str, str]], words: str) -> None:
        self.chart = chart
        self.rows = rows
        self.words = words


def burn_down(standing: Standing, slices: Sequence[tuple[int, int, int]], now: int) -> Burn:
    """The window of a budget as a chart: what was spent until when, the cap, and where it leads."""
    budget = standing.budget
    by_money = budget.nusd is not None
    cap = (budget.nusd if by_money else budget.tokens) or 0
    width = windows.slice_us(budget)
    begin, end = _frame(standing, width, now)
    amounts = {bucket: (nusd if by_money else tokens) for bucket, nusd, tokens in slices}
    before = sum(amount for bucket, amount in amounts.items() if bucket < begin)
    times = list(range(begin, max(end, begin + width), width))
    passed = [amounts.get(bucket, 0) for bucket in times if bucket <= now]
    ahead = (
        None
        if budget.window == "rolling"
        else forecast(passed, slice_us=width, now_us=now, ends_us=end, cap=cap - before)
    )
    unit = NANO if by_money else 1
    total, spent = before, []
    for amount in passed:
        total += amount
        spent.append(total / unit)
    gap: list[float | None] = [None] * (len(times) - len(spent))
    series = [Series("spent", "c1", [*spent, *gap]), Series("cap", "cbad", [cap / unit] * len(times))]
    if ahead is not None and gap:
        for name, value in (("forecast, high", ahead.high), ("forecast, low", ahead.low)):
            rise = ((before + value) / unit - spent[-1]) / len(gap)
            line = [spent[-1] + rise * (step + 1) for step in range(len(gap))]
            series.append(
                Series(
                    name, "c2" if "high" in name else "c4", [*([None] * (len(spent) - 1)), spent[-1], *line]
                )
            )
    chart = lines("Spent so far", times, series, label=_label(by_money), columns=[1])
    rows = [
        (bucket, _amount(amounts.get(bucket, 0), by_money), _amount(round(sum_ * unit), by_money))
        for bucket, sum_ in zip(times, spent, strict=False)
    ]
    return Burn(chart, rows, _words(standing, ahead, before, end, by_money))


def _frame(standing: Standing, width: int, now: int) -> tuple[int, int]:
    """What is drawn: the window; of a budget without an end what was lately, and a little of what comes."""
    budget = standing.budget
    if budget.window == "rolling":
        return windows.begins(budget, now) // width * width, now // width * width + width
    if budget.window != "total":
        ends = standing.ends_us
        assert ends is not None, "days and months end"
        return windows.window(budget, now)[0], ends
    begin = max(budget.starts_us, now - _MOST_DAYS * windows.DAY_US) // width * width
    return begin, now // width * width + width * max(8, 1 + (now - begin) // width // 3)


def _words(standing: Standing, ahead: Any, before: int, end: int, by_money: bool) -> str:
    """The forecast as a sentence, with what it does not know."""
    budget = standing.budget
    if budget.window == "rolling":
        return "A rolling window frees as it goes: what was spent at its beginning leaves it all the time."
    if ahead is None:
        return "Too little has happened in this window to say how it goes on."
    when = "the end of the window" if standing.ends_us is not None else f"{_when(end)}"
    low, high = _amount(round(before + ahead.low), by_money), _amount(round(before + ahead.high), by_money)
    text = f"If it goes on as lately, {low} to {high} by {when} (eight times in ten)."
    if ahead.full_us is not None:
        late = "not before the end at all" if ahead.full_late_us is None else _when(ahead.full_late_us)
        text += f" The cap is reached about {_when(ahead.full_us)}; it may be {_when(ahead.full_early_us)}, or {late}."
    elif ahead.full_early_us is not None:
        text += f" The cap is probably not reached; if the pace is at its upper end, {_when(ahead.full_early_us)}."
    else:
        text += " The cap is not reached at that pace."
    return text


def _when(us: int | None) -> str:
    return f"{moment(us)[:16]} UTC" if us is not None else "never"


def _label(by_money: bool) -> Any:
    return (lambda value: short_usd(value * NANO)) if by_money else short_count


def _amount(amount: int, by_money: bool) -> str:
    return dollars(amount) if by_money else f"{amount:,} tokens"


def _whole(field: str, text: str) -> int | None:
    text = text.strip().replace(",", "").replace(" ", "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidRequest(
            f"{field} is a whole number.", remedy="Go back and enter one.", param=field
        ) from None


def _spent(standing: Standing) -> list[tuple[str, str, float, float]]:
    """Each cap: what is spent of it, of how much, and both shares in per cent of the bar."""
    budget, parts = standing.budget, []
    if budget.nusd is not None:
        parts.append((standing.nusd, standing.held_nusd, budget.nusd, True))
    if budget.tokens is not None:
        parts.append((standing.tokens, standing.held_tokens, budget.tokens, False))
    return [
        (
            _amount(spent, by_money),
            _amount(cap, by_money),
            round(min(100.0, 100 * spent / cap if cap else 100.0), 1),
            round(min(100.0, 100 * held / cap if cap else 0.0), 1),
        )
        for spent, held, cap, by_money in parts
    ]


def _state(standing: Standing) -> tuple[str, str, str]:
    """A class, the share that is spent, and a word about it."""
    if standing.share >= 1 or standing.budget.nusd == 0 or standing.budget.tokens == 0:
        return "bad", "100%", "used up"
    share = f"{math.floor(standing.share * 100)}%"
    reached = any(standing.share * 100 >= one for one in standing.budget.thresholds)
    return ("warn" if reached else "ok"), share, ""


def _usd_field(budget: Budget) -> str:
    return "" if budget.nusd is None else f"{budget.nusd / NANO:.9f}".rstrip("0").rstrip(".")


_WORDS: dict[str, Any] = {
    "about": scope_text,
    "each": window,
    "frees": frees,
    "spent": _spent,
    "state": _state,
    "usd_field": _usd_field,
}
