"""`/api/v1/ledger`: the answers, one row each, and as they come in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from mainspring.base.clock import iso
from mainspring.base.errors import NotFound, StoreError
from mainspring.ledger import LedgerFilter
from mainspring.web.management import views
from mainspring.web.management.access import (
    NO_NUL,
    After,
    Asking,
    Id,
    Limit,
    Since,
    Tenant,
    Until,
    instant,
    json,
    runtime_of,
    scope_of,
)
from mainspring.web.management.reference import described

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mainspring.ledger import Inference
    from mainspring.web.runtime import Runtime

router = APIRouter(prefix="/api/v1/ledger", tags=["ledger"])

#: How often a silent tail looks whether the server is stopping.
_TICK_SECONDS = 0.5
#: How long a page looks for answers before it gives what it has found.
_SEARCH_SECONDS = 1.0
_SEARCHED = {
    "searched_back_to": {
        "type": "string",
        "description": "Only where the search took too long: until when was looked; `next` goes on from there.",
    }
}


def _exactly(what: str) -> Any:
    """A parameter that a column must equal."""
    return Query(max_length=300, pattern=NO_NUL, description=f"Only answers of exactly this {what}.")


def where(  # noqa: PLR0917 - one parameter per column that can be filtered by; FastAPI passes them by name
    principal: Asking,
    tenant: Tenant = None,
    user: Annotated[str | None, _exactly("user")] = None,
    feature: Annotated[str | None, _exactly("feature")] = None,
    session: Annotated[str | None, _exactly("session")] = None,
    route: Annotated[str | None, _exactly("route")] = None,
    provider: Annotated[str | None, _exactly("provider")] = None,
    model: Annotated[str | None, _exactly("model")] = None,
    key_id: Annotated[str | None, _exactly("key, by its id")] = None,
    status: Annotated[
        Literal["ok", "error", "cut"] | None,
        Query(
            description="How it ended: `error` has a status of 400 and more, `cut` is a stream that broke off."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
) -> LedgerFilter:
    """Dependency: which rows are asked for, within what the key may see."""
    return LedgerFilter(
        tenant=scope_of(principal, tenant),
        user=user,
        feature=feature,
        session=session,
        route=route,
        provider=provider,
        model=model,
        key_id=key_id,
        status=status,
        since_us=instant(since, "since"),
        until_us=instant(until, "until"),
    )


Where = Annotated[LedgerFilter, Depends(where)]


@router.get("", **described("List answers", list[views.Answer], refusals=(403,), more=_SEARCHED))
async def list_answers(request: Request, rows: Where, limit: Limit = 50, after: After = None) -> Response:
    """Newest first. A key sees the answers of its tenant; an admin's sees all.

    A filter that few answers pass may take long: after a second the page is what was found so far, `searched_back_to`
    says until when was looked, and `next` goes on from there. Then a page may be short, or empty, and not the last.
    """
    page = await runtime_of(request).ledger.page(rows, limit=limit, after=after, seconds=_SEARCH_SECONDS)
    body = {"items": [views.answer_view(row) for row in page.items], "next": page.next}
    if page.searched_us is not None:
        body["searched_back_to"] = iso(page.searched_us)
    return json(body)


@router.get(
    "/tail", **described("Follow answers", views.Answer, media_type="text/event-stream", refusals=(403,))
)
async def tail_answers(request: Request, principal: Asking, rows: Where) -> Response:
    """Server-sent events, one per answer as it is recorded by any process, from now on.

    It ends with the key: within a second after that was revoked or has expired. It ends, too, when the database is away.
    """
    runtime = runtime_of(request)
    headers = {"x-accel-buffering": "no"}
    events = _events(runtime, principal.key_id, rows)
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


@router.get("/{id}", **described("Look an answer up", views.FullAnswer, refusals=(404,)))
async def get_answer(
    request: Request,
    principal: Asking,
    id: Id,  # noqa: A002 - the name in the path
    payload: Annotated[
        bool, Query(description="Whether to return what was asked and answered, too.")
    ] = False,
) -> Response:
    """One answer by the id that its client got as `x-request-id`, with its attempts and feedback."""
    ledger = runtime_of(request).ledger
    row = await ledger.get(id, scope_of(principal, None))
    if row is None:
        raise NotFound("There is no such answer.", remedy="Ask with the x-request-id of an answer of yours.")
    kept = await ledger.payload(id) if payload else None
    return json(views.full_answer_view(row, await ledger.feedback(id), kept))


async def _events(runtime: Runtime, key_id: str, rows: LedgerFilter) -> AsyncIterator[bytes]:
    """Each new answer as an event, a comment now and then while there is none, until the server stops or the key ends."""
    yield b": from now on\n\n"
    answers = runtime.ledger.tail(rows)
    coming: asyncio.Future[Inference] = asyncio.ensure_future(anext(answers))
    silent_ticks = 0
    try:
        while not runtime.draining:
            await asyncio.wait({coming}, timeout=_TICK_SECONDS)
            if runtime.keys.active(key_id) is None:
                yield b": the key works no more\n\n"
                return
            if coming.done():
                try:
                    row = coming.result()
                except StoreError as error:
                    yield f": {error.message}\n\n".encode()
                    return
                coming = asyncio.ensure_future(anext(answers))
                silent_ticks = 0
                yield b"id: %b\ndata: %b\n\n" % (row.id.encode(), msgspec.json.encode(views.answer_view(row)))
                continue
            silent_ticks += 1
            if silent_ticks * _TICK_SECONDS >= runtime.settings.server.keepalive_seconds:
                silent_ticks = 0
                yield b": keepalive\n\n"
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
