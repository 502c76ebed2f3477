"""`/api/v1/limits`: the limits in force, who was held back lately, and how the shared state is doing."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.base.clock import iso
from mainspring.limits.lately import denied_lately
from mainspring.web.management.access import Asking, Tenant, json, runtime_of, scope_of
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/limits", tags=["limits"])


class LimitRule(msgspec.Struct):
    """A limit in force: requests a second, tokens a minute, or requests at once; `burst` may come at once."""

    name: str
    kind: str
    scope: str
    limit: float
    burst: float


class SharedState(msgspec.Struct):
    """Where limits are kept, as the process that was asked sees it.

    While `working` is false, each of `processes` decides by its part of every limit; `reason` says why, `remedy`
    what to do.
    """

    kind: str
    place: str
    working: bool
    reason: str
    remedy: str
    since: str
    processes: int


class DeniedSubject(msgspec.Struct):
    """Somebody who was held back in the last hour."""

    limit: str
    scope: str
    tenant: str
    subject: str
    denials: int
    last: str


class Limits(msgspec.Struct):
    """Everything about limits."""

    rules: list[LimitRule]
    shared: SharedState
    denied: list[DeniedSubject]


@router.get("", **described("Show the limits", Limits, refusals=(403,)))
async def get_limits(request: Request, principal: Asking, tenant: Tenant = None) -> Response:
    """What `[limits]` says, and what came of it. Keys may have limits of their own: see `/api/v1/keys`."""
    runtime = runtime_of(request)
    only = scope_of(principal, tenant)
    status = runtime.limits.status()
    shared = msgspec.structs.asdict(status.shared)
    since = iso(shared.pop("since_us"))
    if principal.role != "admin":
        shared["place"] = shared["remedy"] = (
            ""  # where it is, and what to do there, is the operator's business
        )
    denied = [
        DeniedSubject(one.limit, one.scope, one.tenant, one.subject, one.denials, iso(one.last_us))
        for one in await denied_lately(runtime.ledger, runtime.limits, tenant=only)
    ]
    rules = [LimitRule(**msgspec.structs.asdict(rule)) for rule in status.rules]
    return json(Limits(rules, SharedState(**shared, since=since), denied))
