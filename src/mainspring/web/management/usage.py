"""`/api/v1/usage`: requests, tokens, money and latency, summed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.base.clock import now_us
from mainspring.base.durations import parse_seconds
from mainspring.ledger import Grouping  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.management import views
from mainspring.web.management.access import Asking, Since, Tenant, Until, instant, json, runtime_of, scope_of
from mainspring.web.management.problems import Unprocessable
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])

_DAY_US = 86_400_000_000
_MOST_STEPS = 10_000
_MINUTE = 60


@router.get("", **described("Sum answers up", list[views.Usage], refusals=(403,)))
async def usage(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    principal: Asking,
    by: Annotated[
        Grouping | None, Query(description="What to group by; without it, one row for everything.")
    ] = None,
    since: Since = "7d",
    until: Until = None,
    step: Annotated[
        str | None,
        Query(max_length=20, description="One row per interval of this length instead: `1m`, `1h`, `1d`."),
    ] = None,
    tenant: Tenant = None,
    model: Annotated[str | None, Query(max_length=300, description="With `step`: only this model.")] = None,
) -> Response:
    """The groups with most requests first, or the intervals in order, without those in which nothing happened."""
    ledger = runtime_of(request).ledger
    only = scope_of(principal, tenant)
    until_us = instant(until, "until") or now_us()
    since_us = instant(since, "since") or until_us - 7 * _DAY_US
    if step is None:
        if model is not None:
            raise Unprocessable("model narrows a series.", remedy="Add step, or use by=model.", param="model")
        rows = await ledger.usage(by=by, since_us=since_us, until_us=until_us, tenant=only)
    else:
        if by is not None:
            raise Unprocessable("A series is not grouped.", remedy="Use either by or step.", param="step")
        seconds = _step(step, until_us - since_us)
        rows = await ledger.series(
            since_us=since_us, until_us=until_us, step_seconds=seconds, tenant=only, model=model
        )
    return json({"items": [views.usage_view(row) for row in rows], "next": None})


def _step(text: str, span_us: int) -> int:
    """Seconds of a step that is whole minutes and does not cut the span into too many pieces."""
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise Unprocessable(f"step: {error}.", remedy="Write 1m, 1h or 1d.", param="step") from None
    if seconds < _MINUTE or seconds % _MINUTE:
        raise Unprocessable("step must be whole minutes.", remedy="Write 1m, 1h or 1d.", param="step")
    if span_us > seconds * 1_000_000 * _MOST_STEPS:
        raise Unprocessable(
            f"That is more than {_MOST_STEPS} steps.", remedy="Take a longer step.", param="step"
        )
    return int(seconds)
