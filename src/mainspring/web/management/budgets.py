"""`/api/v1/budgets`: caps on money and tokens. A member reads those of its tenant; admins do the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.budgets import NewBudget
from mainspring.budgets.validation import LONGEST_QUEUE, MOST_TOKENS, MOST_USD
from mainspring.keys.validation import LONGEST_NAME, NAME_PATTERN
from mainspring.web.management import budget_views as views
from mainspring.web.management.access import (
    After,
    Asking,
    AskingAdmin,
    Id,
    Limit,
    Tenant,
    body_of,
    json,
    runtime_of,
    scope_of,
)
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/budgets", tags=["budgets"])

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)]
Usd = Annotated[float, Meta(ge=0, le=MOST_USD)]
Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
Threshold = Annotated[int, Meta(gt=0, le=1000)]
Thresholds = Annotated[list[Threshold], Meta(max_length=10)]
Queue = Annotated[float, Meta(ge=0, le=LONGEST_QUEUE)]
Policy = Literal["refuse", "step_down", "queue"]


class Scope(msgspec.Struct, forbid_unknown_fields=True):
    """What a budget is about: exactly one of these. A model is written `provider/model`, a key is its id."""

    key: Name | None = None
    tenant: Name | None = None
    user: Name | None = None
    feature: Name | None = None
    model: Name | None = None


class BudgetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A budget to be made: `usd`, `tokens` or both in each `window`.

    `tenant` narrows a budget on a user, feature or model to one tenant. A rolling window has a `period` such as `7d`.
    At the cap, `policy` refuses; or goes to the route `step_down`; or waits up to `queue_seconds` for room.
    `thresholds` are per cent of the cap at which a crossing is noted; 50, 80 and 100 without it.
    """

    scope: Scope
    window: Literal["day", "month", "rolling", "total"]
    usd: Usd | None = None
    tokens: Tokens | None = None
    period: Annotated[str, Meta(max_length=20)] | None = None
    name: Name | None = None
    tenant: Name | None = None
    policy: Policy = "refuse"
    step_down: Name | None = None
    queue_seconds: Queue | None = None
    thresholds: Thresholds | None = None


class BudgetChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be otherwise; null takes a cap away. What a budget is about and its window stay as they are."""

    usd: Usd | UnsetType | None = UNSET
    tokens: Tokens | UnsetType | None = UNSET
    name: Name | UnsetType = UNSET
    policy: Policy | UnsetType = UNSET
    step_down: Name | UnsetType | None = UNSET
    queue_seconds: Queue | UnsetType = UNSET
    thresholds: Thresholds | UnsetType = UNSET


@router.post(
    "",
    status_code=201,
    **described("Make a budget", views.Budget, 201, body=BudgetRequest, refusals=(403,)),
)
async def create_budget(request: Request, _: AskingAdmin) -> Response:
    """Answers when the budget is in force in every process. What is asked from then on counts."""
    wanted = await body_of(request, BudgetRequest)
    fields: dict[str, Any] = msgspec.structs.asdict(wanted)
    scope = {kind: name for kind, name in msgspec.structs.asdict(wanted.scope).items() if name is not None}
    budgets, routes = runtime_of(request).budgets, runtime_of(request).gateway.planner.route_names()
    made = await budgets.create(NewBudget(**{**fields, "scope": scope}), routes=routes)
    return json(views.budget_view(await budgets.get(made.id)), 201)


@router.get("", **described("List budgets", list[views.Budget], refusals=(403,)))
async def list_budgets(
    request: Request, principal: Asking, tenant: Tenant = None, limit: Limit = 50, after: After = None
) -> Response:
    """Newest first, with what is spent of each. A member sees those of its tenant."""
    page = await runtime_of(request).budgets.list(
        tenant=scope_of(principal, tenant), limit=limit, after=after
    )
    return json({"items": [views.budget_view(item) for item in page.items], "next": page.next})


@router.get("/{id}", **described("Look a budget up", views.Budget, refusals=(403, 404)))
async def get_budget(request: Request, principal: Asking, id: Id) -> Response:  # noqa: A002 - the name in the path
    """One budget, and how it stands."""
    standing = await runtime_of(request).budgets.get(id, tenant=scope_of(principal, None))
    return json(views.budget_view(standing))


@router.patch("/{id}", **described("Change a budget", views.Budget, body=BudgetChange, refusals=(403, 404)))
async def change_budget(request: Request, _: AskingAdmin, id: Id) -> Response:  # noqa: A002 - as above
    """In force everywhere within half a second; calls under way keep what they have reserved."""
    wanted = msgspec.structs.asdict(await body_of(request, BudgetChange))
    changes = {name: value for name, value in wanted.items() if value is not UNSET}
    runtime = runtime_of(request)
    standing = await runtime.budgets.change(id, changes, routes=runtime.gateway.planner.route_names())
    return json(views.budget_view(standing))


@router.delete("/{id}", **described("Delete a budget", views.Budget, refusals=(403, 404)))
async def delete_budget(request: Request, _: AskingAdmin, id: Id) -> Response:  # noqa: A002 - as above
    """It counts no more; the answer says how it stood."""
    budgets = runtime_of(request).budgets
    standing = await budgets.get(id)
    await budgets.delete(id)
    return json(views.budget_view(standing))
