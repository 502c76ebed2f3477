"""`/api/v1/keys`: who may ask. For admins only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.keys.service import LONGEST_OVERLAP_SECONDS
from mainspring.keys.validation import LONGEST_NAME, MOST_MODELS, MOST_USD, NAME_PATTERN
from mainspring.web.management import views
from mainspring.web.management.access import (
    TIME_PATTERN,
    After,
    AskingAdmin,
    Id,
    Limit,
    Tenant,
    body_of,
    instant,
    json,
    runtime_of,
)
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)]


class KeyBudget(msgspec.Struct, forbid_unknown_fields=True):
    """Dollars per window: a budget that comes with the key, and stays with its successors by rotation."""

    usd: Annotated[float, Meta(gt=0, le=MOST_USD)]
    window: Literal["day", "month", "total"]


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be made. `expires` is a time (RFC 3339) or a duration from now (`90d`).

    `models` names the routes and models that it may use; without it, all. `payloads` says whether what is asked
    with it is kept; without it, as the route and the settings say. `rps`, `tokens_per_minute` and `concurrency` take
    the place of the configured limits of a key.
    """

    name: Name
    tenant: Name
    role: Literal["member", "admin"] = "member"
    models: Annotated[list[Name], Meta(min_length=1, max_length=MOST_MODELS)] | None = None
    expires: Annotated[str, Meta(extra_json_schema={"pattern": TIME_PATTERN})] | None = None
    payloads: bool | None = None
    rps: Annotated[float, Meta(gt=0)] | None = None
    tokens_per_minute: Annotated[int, Meta(gt=0)] | None = None
    concurrency: Annotated[int, Meta(gt=0)] | None = None
    budget: KeyBudget | None = None


class RotateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key still works, in seconds; a day by default."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=LONGEST_OVERLAP_SECONDS)] = 86_400


@router.post(
    "", status_code=201, **described("Make a key", views.NewKey, 201, body=KeyRequest, refusals=(403,))
)
async def create_key(request: Request, _: AskingAdmin) -> Response:
    """The answer holds the secret, which is shown this once and cannot be had again."""
    wanted = await body_of(request, KeyRequest)
    settings: dict[str, Any] = {}
    for limit in ("rps", "tokens_per_minute", "concurrency"):
        if getattr(wanted, limit) is not None:
            settings[limit] = getattr(wanted, limit)
    if wanted.budget is not None:
        settings["budget"] = msgspec.structs.asdict(wanted.budget)
    key, secret = await runtime_of(request).keys.create(
        name=wanted.name,
        tenant=wanted.tenant,
        role=wanted.role,
        models=wanted.models,
        payloads=wanted.payloads,
        expires_us=instant(wanted.expires, "expires", ahead=True),
        settings=settings or None,
    )
    return json(views.new_key_view(key, secret), 201)


@router.get("", **described("List keys", list[views.Key], refusals=(403,)))
async def list_keys(
    request: Request, _: AskingAdmin, tenant: Tenant = None, limit: Limit = 50, after: After = None
) -> Response:
    """Newest first; revoked and expired ones too."""
    page = await runtime_of(request).keys.list(tenant=tenant, limit=limit, after=after)
    return json({"items": [views.key_view(key) for key in page.items], "next": page.next})


@router.get("/{id}", **described("Look a key up", views.Key, refusals=(403, 404)))
async def get_key(request: Request, _: AskingAdmin, id: Id) -> Response:  # noqa: A002 - the name in the path
    """One key, without its secret."""
    return json(views.key_view(await runtime_of(request).keys.get(id)))


@router.delete("/{id}", **described("Revoke a key", views.Key, refusals=(403, 404)))
async def revoke_key(request: Request, _: AskingAdmin, id: Id) -> Response:  # noqa: A002 - the name in the path
    """It stops working for good, in every server process within a second. Doing so twice is no error."""
    return json(views.key_view(await runtime_of(request).keys.revoke(id)))


@router.post(
    "/{id}/rotate",
    status_code=201,
    **described("Rotate a key", views.NewKey, 201, body=RotateRequest, refusals=(403, 404, 409)),
)
async def rotate_key(request: Request, _: AskingAdmin, id: Id) -> Response:  # noqa: A002 - the name in the path
    """Make a key with the same rights that takes the place of this one, which works on for `overlap_seconds`."""
    wanted = await body_of(request, RotateRequest)
    key, secret = await runtime_of(request).keys.rotate(id, overlap_seconds=wanted.overlap_seconds)
    return json(views.new_key_view(key, secret), 201)
