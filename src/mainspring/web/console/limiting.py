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

    from mainspring.web.runtime import Runtime

router = APIRouter()

#: How a number of what is counted is said.
KINDS = {
    "requests": "requests a second",
    "tokens": "tokens a minute",
    "concurrency": "requests at once",
}


@router.get("/limits")
async def show(request: Request, visitor: CurrentVisitor) -> Response:
    """The page."""
    runtime: Runtime = request.app.state.runtime
    status = runtime.limits.status()
    return page(
        request,
        "limits.html",
        visitor,
        kinds=KINDS,
        rules=sorted(status.rules, key=lambda rule: SCOPES.index(rule.scope)),
        shared=status.shared,
        denied=await denied_lately(runtime.ledger, runtime.limits, tenant=visitor.scope),
        name_of=lambda key_id: (
            key.name if (key := runtime.keys.active(key_id)) is not None else "a key that is gone"
        ),
    )
