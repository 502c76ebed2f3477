"""`/api/v1/alerts`: what is wrong, and who was told. A member reads what is about its tenant; admins do the rest."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import Meta
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.alerts import AlertFilter
from mainspring.base.durations import parse_seconds
from mainspring.web.management import alert_views as views
from mainspring.web.management.access import (
    NO_NUL,
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
from mainspring.web.management.problems import Unprocessable
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])

_DURATION = r"^[0-9]{1,4}[smhdw]$"
ChannelName = Annotated[str, Meta(min_length=1, max_length=100, pattern=NO_NUL)]


class SilenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long nothing is sent (`2h`, `7d`; `0s` ends a silence): about this subject, or with `whole_rule` about any."""

    duration: Annotated[str, Meta(extra_json_schema={"pattern": _DURATION})]
    whole_rule: bool = False


class TestRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which channel is to get a test message."""

    channel: ChannelName


@router.get("", **described("List alerts", list[views.Alert], refusals=(403,)))
async def list_alerts(
    *,
    request: Request,
    principal: Asking,
    state: Annotated[Literal["open", "resolved"] | None, Query(description="Only these.")] = None,
    rule: Annotated[
        str | None, Query(max_length=200, pattern=NO_NUL, description="Only of this rule.")
    ] = None,
    severity: Annotated[
        Literal["info", "warning", "critical"] | None, Query(description="Only of this severity.")
    ] = None,
    tenant: Tenant = None,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Newest first. A member sees those about its tenant."""
    alerts = runtime_of(request).alerts
    where = AlertFilter(tenant=scope_of(principal, tenant), state=state, rule=rule, severity=severity)
    page = await alerts.list(where, limit=limit, after=after)
    silences = await alerts.silences()
    items = [views.alert_view(alert, silences.of(alert)) for alert in page.items]
    return json({"items": items, "next": page.next})


@router.get("/messages", **described("List messages to channels", list[views.Message], refusals=(403,)))
async def list_messages(
    request: Request,
    _: AskingAdmin,
    channel: Annotated[
        str | None, Query(max_length=100, pattern=NO_NUL, description="Only to this channel.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Newest first."""
    page = await runtime_of(request).alerts.deliveries(channel=channel, limit=limit, after=after)
    return json({"items": [views.message_view(each) for each in page.items], "next": page.next})


@router.post(
    "/test", **described("Send a test message", views.Message, body=TestRequest, refusals=(403, 404))
)
async def send_test_message(request: Request, _: AskingAdmin) -> Response:
    """Sent at once, and once. The answer says what came of it: `state` is `sent` or `failed`, with the reason in `error`."""
    wanted = await body_of(request, TestRequest)
    return json(views.message_view(await runtime_of(request).alerts.test(wanted.channel)))


@router.get("/{id}", **described("Look an alert up", views.FullAlert, refusals=(404,)))
async def get_alert(request: Request, principal: Asking, id: Id) -> Response:  # noqa: A002 - the name in the path
    """One alert, with the newest messages about it for admins."""
    alerts = runtime_of(request).alerts
    alert = await alerts.get(id, tenant=scope_of(principal, None))
    messages = (await alerts.deliveries(alert_id=id)).items if principal.role == "admin" else []
    silences = await alerts.silences()
    return json(views.full_alert_view(alert, silences.of(alert), messages))


@router.post("/{id}/acknowledge", **described("Acknowledge an alert", views.Alert, refusals=(403, 404)))
async def acknowledge_alert(request: Request, principal: AskingAdmin, id: Id) -> Response:  # noqa: A002 - as above
    """Say that somebody knows: there are no reminders any more. Doing so twice is no error."""
    alerts = runtime_of(request).alerts
    alert = await alerts.acknowledge(id, who=principal.name)
    return json(views.alert_view(alert, (await alerts.silences()).of(alert)))


@router.post(
    "/{id}/silence",
    **described("Silence an alert", views.Silence, body=SilenceRequest, refusals=(403, 404)),
)
async def silence_alert(request: Request, principal: AskingAdmin, id: Id) -> Response:  # noqa: A002 - as above
    """Send nothing about what this alert is about for a while, also when it resolves and opens again."""
    wanted = await body_of(request, SilenceRequest)
    try:
        seconds = parse_seconds(wanted.duration)
    except ValueError as error:
        raise Unprocessable(f"duration: {error}.", remedy="Write 30m, 2h or 7d.", param="duration") from None
    made = await runtime_of(request).alerts.silence(
        id, seconds=seconds, who=principal.name, whole_rule=wanted.whole_rule
    )
    return json(views.silence_view(made))
