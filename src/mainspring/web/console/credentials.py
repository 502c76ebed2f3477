"""Keys: list, make, rotate, revoke. For admins. A new secret is shown on the answer to its form, and never again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

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
#: The windows that a key's own budget may have.
WINDOWS = {"day": "Each day", "month": "Each month", "total": "In all"}
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
        limits=limits_of,
        window_choices=WINDOWS,
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
    rps: Annotated[str, Form()] = "",
    tokens_per_minute: Annotated[str, Form()] = "",
    concurrency: Annotated[str, Form()] = "",
    usd: Annotated[str, Form()] = "",
    window: Annotated[str, Form()] = "day",
) -> Response:
    """Make a key and show its secret."""
    if not name.strip() or not tenant.strip():
        raise InvalidRequest("A key needs a name and a tenant.", remedy="Go back and fill in both.")
    if role not in {"member", "admin"} or days not in LIFETIMES or window not in WINDOWS:
        raise InvalidRequest(
            "The role, the lifetime or the window is not one of those offered.",
            remedy="Go back and choose again.",
        )
    settings = {
        name: amount
        for name, amount in (
            ("rps", _amount("Requests a second", rps, float)),
            ("tokens_per_minute", _amount("Tokens a minute", tokens_per_minute, int)),
            ("concurrency", _amount("Requests at once", concurrency, int)),
        )
        if amount is not None
    }
    dollars = _amount("Dollars", usd.strip().removeprefix("$"), float)
    runtime: Runtime = request.app.state.runtime
    key, secret = await runtime.keys.create(
        name=name.strip(),
        tenant=tenant.strip(),
        role=role,
        models=[one.strip() for one in models.split(",") if one.strip()] or None,
        expires_us=now_us() + int(days) * _DAY_US if days else None,
        payloads=False if payloads == "off" else None,
        settings=settings | ({"budget": {"usd": dollars, "window": window}} if dollars is not None else {})
        or None,
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


def limits_of(key: Key) -> list[str]:
    """The limits and the budget that a key has of its own, in words."""
    settings: dict[str, Any] = key.settings or {}
    words = [
        f"{settings[name]:,.10g} {unit}"
        for name, unit in (
            ("rps", "requests a second"),
            ("tokens_per_minute", "tokens a minute"),
            ("concurrency", "at once"),
        )
        if settings.get(name) is not None
    ]
    budget = settings.get("budget")
    if budget:
        words.append(f"${float(budget['usd']):,.10g} {WINDOWS[budget['window']].lower()}")
    return words


def _amount(name: str, text: str, kind: type[int | float]) -> float | None:
    """A number as entered, or None for an empty field.

    Raises:
        InvalidRequest: it is none, or not above nought.
    """
    text = text.strip().replace(",", "")
    if not text:
        return None
    try:
        amount = kind(text)
    except ValueError:
        amount = 0
    if not 0 < amount < math.inf:
        what = "a whole number" if kind is int else "a number"
        raise InvalidRequest(f"{name} is {what} above 0.", remedy="Go back and correct or empty the field.")
    return amount


def state_of(key: Key) -> str:
    """`active`, `expiring` (a successor exists), `expired` or `revoked`."""
    if key.revoked_us is not None:
        return "revoked"
    if key.expires_us is not None and key.expires_us <= now_us():
        return "expired"
    return "expiring" if key.replaced_by else "active"
