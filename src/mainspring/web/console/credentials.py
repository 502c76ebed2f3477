"""Keys: list, make, rotate, revoke. For admins. A new secret is shown on the answer to its form, and never again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest
from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import Admin, FormAdmin  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from mainspring.keys.types import Key
    from mainspring.web.runtime import Runtime

router = APIRouter()
_LIMIT = 50
_DAY_US = 86_400_000_000
#: Days of life: value of the form, words.
LIFETIMES = {"": "Never", "1": "In a day", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
#: How long an old key goes on beside its successor, in seconds: value of the form, words.
OVERLAPS = {"0": "End at once", "3600": "Keep 1 hour", "86400": "Keep 1 day", "604800": "Keep 7 days"}


@router.get("/keys")
async def show(request: Request, visitor: Admin) -> Response:
    """The list, newest first, and the form for a new key."""
    runtime: Runtime = request.app.state.runtime
    after = request.query_params.get("after") or None
    found = await runtime.keys.list(limit=_LIMIT, after=after)
    done = request.query_params.get("done", "")
    return page(
        request,
        "keys.html",
        visitor,
        items=found.items,
        next=found.next,
        after=after,
        state=state_of,
        lifetimes=LIFETIMES,
        overlaps=OVERLAPS,
        done=done,
    )


@router.post("/keys")
async def create(
    *,
    request: Request,
    visitor: FormAdmin,
    name: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = "",
    role: Annotated[str, Form()] = "member",
    models: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "",
    payloads: Annotated[str, Form()] = "",
) -> Response:
    """Make a key and show its secret."""
    if not name.strip() or not tenant.strip():
        raise InvalidRequest("A key needs a name and a tenant.", remedy="Go back and fill in both.")
    if role not in {"member", "admin"} or days not in LIFETIMES:
        raise InvalidRequest(
            "The role or the lifetime is not one of those offered.", remedy="Go back and choose again."
        )
    runtime: Runtime = request.app.state.runtime
    key, secret = await runtime.keys.create(
        name=name.strip(),
        tenant=tenant.strip(),
        role=role,
        models=[one.strip() for one in models.split(",") if one.strip()] or None,
        expires_us=now_us() + int(days) * _DAY_US if days else None,
        payloads=False if payloads == "off" else None,
    )
    return page(request, "key_made.html", visitor, status=201, key=key, secret=secret, replaces=None)


@router.post("/keys/{key_id}/rotate")
async def rotate(
    request: Request, visitor: FormAdmin, key_id: str, overlap: Annotated[str, Form()] = "0"
) -> Response:
    """Make a successor with a new secret; the old key goes on for the overlap."""
    if overlap not in OVERLAPS:
        raise InvalidRequest("This overlap is not one of those offered.", remedy="Go back and choose again.")
    runtime: Runtime = request.app.state.runtime
    key, secret = await runtime.keys.rotate(key_id, overlap_seconds=int(overlap))
    return page(
        request, "key_made.html", visitor, status=201, key=key, secret=secret, replaces=OVERLAPS[overlap]
    )


@router.post("/keys/{key_id}/revoke")
async def revoke(request: Request, _visitor: FormAdmin, key_id: str) -> Response:
    """End a key at once."""
    runtime: Runtime = request.app.state.runtime
    await runtime.keys.revoke(key_id)
    return RedirectResponse(f"{base(request)}/keys?done=revoked", 303)


def state_of(key: Key) -> str:
    """`active`, `expiring` (a successor exists), `expired` or `revoked`."""
    if key.revoked_us is not None:
        return "revoked"
    if key.expires_us is not None and key.expires_us <= now_us():
        return "expired"
    return "expiring" if key.replaced_by else "active"
