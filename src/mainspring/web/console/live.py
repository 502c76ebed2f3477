"""The live tail: rows of the ledger as they are completed, as server-sent events that hold ready table rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from mainspring.base.errors import StoreError
from mainspring.web.console.records import read_form
from mainspring.web.console.rendering import base, fragment
from mainspring.web.console.sessions import COOKIE, CurrentVisitor, SignInNeeded, read_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mainspring.ledger.types import Inference, LedgerFilter
    from mainspring.web.runtime import Runtime

router = APIRouter()
#: How often a silent tail shows that it is alive, and asks whether its session still is.
_BEAT_SECONDS = 2.0


@router.get("/ledger/tail")
async def tail(request: Request, visitor: CurrentVisitor) -> StreamingResponse:
    """Rows that match the form of the ledger page, from now on, until the reader leaves or the session ends."""
    wanted = read_form(request.query_params, visitor)
    events = _events(request, wanted.where, base(request), tenants=visitor.admin)
    headers = {"x-accel-buffering": "no", "cache-control": "no-store"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(request: Request, where: LedgerFilter, root: str, *, tenants: bool) -> AsyncIterator[str]:
    runtime: Runtime = request.app.state.runtime
    rows = runtime.ledger.tail(where)
    waiting: asyncio.Task[Inference] | None = None
    yield "retry: 2000\n: listening\n\n"
    try:
        while not runtime.draining:
            waiting = waiting or asyncio.ensure_future(anext(rows))
            done, _ = await asyncio.wait({waiting}, timeout=_BEAT_SECONDS)
            if not _signed_in(request, runtime):
                yield "event: end\ndata: The session has ended.\n\n"
                return
            if not done:
                yield ": alive\n\n"
                continue
            try:
                row, waiting = waiting.result(), None
            except StoreError:
                return  # the page asks again, and shows meanwhile that it is not live
            html = fragment("_row.html", base=root, row=row, tenants=tenants)
            yield f"id: {row.id}\nevent: row\ndata: {' '.join(html.split())}\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting
        if isinstance(rows, AsyncGenerator):
            await rows.aclose()


def _signed_in(request: Request, runtime: Runtime) -> bool:
    try:
        read_session(request.cookies.get(COOKIE, ""), runtime)
    except SignInNeeded:
        return False
    return True
