"""Alerts: the open ones first, what was, and what became of the messages. Members see what is about their tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from mainspring.alerts import AlertFilter
from mainspring.alerts.rules import show as show_value
from mainspring.base.errors import InvalidRequest
from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import CurrentVisitor, FormAdmin  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from mainspring.alerts import Alerts, Delivery
    from mainspring.web.runtime import Runtime

router = APIRouter()
_LIMIT = 50
#: More open ones than this are counted, not shown.
_OPEN = 100
_MESSAGES = 12
#: How long to be silent, in seconds: value of the form, words.
SILENCES = {"3600": "1 hour", "28800": "8 hours", "86400": "1 day", "604800": "7 days", "0": "Not any more"}
#: What the page says after a form: by the value in the address.
DONE = {
    "acknowledged": "Acknowledged: there are no reminders about it any more.",
    "silenced": "The silence is noted.",
    "sent": "The channel took the test message.",
    "failed": "The channel did not take the test message; the list of messages says why.",
}


@router.get("/alerts")
async def show(request: Request, visitor: CurrentVisitor) -> Response:
    """The open alerts, a page of the resolved ones, and for admins the channels and messages."""
    runtime: Runtime = request.app.state.runtime
    alerts = runtime.alerts
    after = request.query_params.get("after") or None
    current = await alerts.list(AlertFilter(tenant=visitor.scope, state="open"), limit=_OPEN)
    history = await alerts.list(
        AlertFilter(tenant=visitor.scope, state="resolved"), limit=_LIMIT, after=after
    )
    done = request.query_params.get("done", "")
    return page(
        request,
        "alerts.html",
        visitor,
        current=sorted(current.items, key=lambda alert: _RANK[alert.severity]),
        more=current.next is not None,
        history=history.items,
        next=history.next,
        after=after,
        silences=await alerts.silences(),
        shown=show_value,
        rules=alerts.rules if visitor.admin else [],
        channels=alerts.channels if visitor.admin else {},
        messages=await _messages(alerts) if visitor.admin else [],
        lengths=SILENCES,
        done=DONE.get(done, ""),
        failed=done == "failed",
    )


@router.post("/alerts/test")
async def send_test(request: Request, _visitor: FormAdmin, channel: Annotated[str, Form()] = "") -> Response:
    """Send a test message and come back with what came of it."""
    runtime: Runtime = request.app.state.runtime
    delivery = await runtime.alerts.test(channel)
    return _back(request, delivery.state)


@router.post("/alerts/{alert_id}/acknowledge")
async def acknowledge(request: Request, visitor: FormAdmin, alert_id: str) -> Response:
    """Note that the visitor knows."""
    runtime: Runtime = request.app.state.runtime
    await runtime.alerts.acknowledge(alert_id, who=visitor.principal.name)
    return _back(request, "acknowledged")


@router.post("/alerts/{alert_id}/silence")
async def silence(
    request: Request,
    visitor: FormAdmin,
    alert_id: str,
    seconds: Annotated[str, Form()] = "3600",
    whole_rule: Annotated[str, Form()] = "",
) -> Response:
    """Send nothing about it for a while."""
    if seconds not in SILENCES:
        raise InvalidRequest("This length is not one of those offered.", remedy="Go back and choose again.")
    runtime: Runtime = request.app.state.runtime
    await runtime.alerts.silence(
        alert_id, seconds=int(seconds), who=visitor.principal.name, whole_rule=bool(whole_rule)
    )
    return _back(request, "silenced")


_RANK = {"critical": 0, "warning": 1, "info": 2}


async def _messages(alerts: Alerts) -> list[Delivery]:
    return (await alerts.deliveries(limit=_MESSAGES)).items


def _back(request: Request, done: str) -> Response:
    return RedirectResponse(f"{base(request)}/alerts?{urlencode({'done': done})}", 303)
