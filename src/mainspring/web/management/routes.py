"""`/api/v1/routes`: where a call may go. For admins only; what a key may call is at `/v1/models`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.web.management.access import AskingAdmin, json, runtime_of
from mainspring.web.management.reference import described
from mainspring.web.management.route_views import Route, route_views

router = APIRouter(prefix="/api/v1/routes", tags=["routes"])


@router.get("", **described("List routes", list[Route], refusals=(403,)))
async def list_routes(request: Request, _: AskingAdmin) -> Response:
    """Every route in force, with its targets in order, its rules, and the breakers that this process knows of."""
    runtime = runtime_of(request)
    items = route_views(runtime.gateway.planner, runtime.health.entries())
    return json({"items": items, "next": None})
