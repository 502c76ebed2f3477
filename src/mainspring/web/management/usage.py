"""`/api/v1/usage`: requests, tokens, money and latency, summed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.base.clock import now_us
from mainspring.base.durations import parse_seconds
from mainspring.ledger import Grouping, Ledger, UsageRow  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.management import views
from mainspring.web.management.access import Asking, Since, Tenant, Until, instant, json, runtime_of, scope_of
from mainspring.web.management.problems import Unprocessable
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])

_DAY_US = 86_400_000_000
_MINUTE, _DAY = 60, 86_400
#: More rows than a chart can show and a client wants; each step of a grouped series is a query.
_MOST_STEPS = 10_000
_MOST_GROUPED_STEPS = 400


@router.get("", **described("Sum answers up", list[views.Usage], refusals=(403,)))
async def get_usage(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    principal: Asking,
    by: Annotated[
        Grouping | None, Query(description="What to group by; without it, one row for everything.")
    ] = None,
    since: Since = "7d",
    until: Until = None,
    step: Annotated[
        str | None,
        Query(
            description="A series: rows for every interval of this length, such as `1m`, `1h`, `1d`.",
            json_schema_extra={"pattern": "^[1-9][0-9]{0,2}[mhdw]$"},
        ),
    ] = None,
    tenant: Tenant = None,
) -> Response:
    """The groups with most requests first; in a series, interval by interval. Where nothing happened is left out.

    Sums by user and by key are kept by UTC day, without percentiles.
    """
    ledger = runtime_of(request).ledger
    only = scope_of(principal, tenant)
    until_us, since_us = instant(until, "until"), instant(since, "since")
    until_us = now_us() if until_us is None else until_us
    since_us = until_us - 7 * _DAY_US if since_us is None else since_us
    if step is None:
        rows = await ledger.usage(by=by, since_us=since_us, until_us=until_us, tenant=only, first_tokens=True)
    else:
        seconds = _step(step, by, until_us - since_us)
        if by is None:
            rows = await ledger.series(
                since_us=since_us, until_us=until_us, step_seconds=seconds, tenant=only, first_tokens=True
            )
        else:
            rows = await _grouped(ledger, by, since_us, until_us, seconds, only)
    return json({"items": [views.usage_view(row) for row in rows], "next": None})


async def _grouped(  # noqa: PLR0917 - one call, right above
    ledger: Ledger, by: Grouping, since_us: int, until_us: int, step_seconds: int, tenant: str | None
) -> list[UsageRow]:
    """A series of groups: the sums of each interval in turn."""
    step_us = step_seconds * 1_000_000
    rows: list[UsageRow] = []
    for start in range(since_us // step_us * step_us, until_us, step_us):
        for row in await ledger.usage(
            by=by, since_us=start, until_us=start + step_us, tenant=tenant, first_tokens=True
        ):
            row.bucket_us = start
            rows.append(row)
    return rows


def _step(text: str, by: Grouping | None, span_us: int) -> int:
    """Seconds of a step that the sums are kept for, and that does not cut the span into too many pieces."""
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise Unprocessable(f"step: {error}.", remedy="Write 1m, 1h or 1d.", param="step") from None
    unit = _DAY if by in {"user", "key"} else _MINUTE
    if seconds < unit or seconds % unit:
        raise Unprocessable(
            f"step must be whole {'days' if unit == _DAY else 'minutes'} here.",
            remedy="Write 1d.",
            param="step",
        )
    most = _MOST_STEPS if by is None else _MOST_GROUPED_STEPS
    if span_us > seconds * 1_000_000 * most:
        raise Unprocessable(f"That is more than {most} steps.", remedy="Take a longer step.", param="step")
    return int(seconds)
