"""The limits: what is in force, who was held back in the last hour, and where the meters are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from mainspring.limits.lately import denied_lately
from mainspring.limits.rules import SCOPES
from mainspring.web.console.rendering import page
from mainspring.web.console.sessions import CurrentVisitor  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from starlette.responses import Response

    from mainspring.limits import RuleStatus
    from mainspring.web.runtime import Runtime

router = APIRouter()

#: What is counted, and how a number of it is said.
KINDS = {
    "requests": ("Requests", "a second"),
    "tokens": ("Tokens", "a minute"),
    "concurrency": ("Under way", "at once"),
}


@router.get("/limits")
async def show(request: Request, visitor: CurrentVisitor) -> Response:
    """The page."""
    runtime: Runtime = request.app.state.runtime
    status = runtime.limits.status()
    table: dict[str, dict[str, RuleStatus]] = {scope: {} for scope in SCOPES}
    for rule in status.rules:
        table[rule.scope][rule.kind] = rule
    return page(
        request,
        "limits.html",
        visitor,
        kinds=KINDS,
        table=table,
        shared=status.shared,
        denied=await denied_lately(runtime.ledger, tenant=visitor.scope),
    )
