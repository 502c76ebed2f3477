"""One page per answer: what was asked, what answered, how it went, what it cost, and what people said of it."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest, NotFound, StoreError
from mainspring.base.ids import new_id
from mainspring.ledger.types import Feedback, Inference, Payload
from mainspring.web.console import formatting
from mainspring.web.console.assembly import assemble
from mainspring.web.console.blocks import decode, pretty
from mainspring.web.console.charts import Span, span
from mainspring.web.console.conversation import Conversation, fit, images, read_answer, read_request
from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import Admin, CurrentVisitor, FormVisitor  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from mainspring.web.console.sessions import Visitor
    from mainspring.web.runtime import Runtime

router = APIRouter()
_REQUEST_BUDGET, _ANSWER_BUDGET, _RAW_BUDGET = 9000, 6000, 1500
_UNLIMITED = 1 << 40
_IMAGE_TYPES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
_LONGEST_NAME, _LONGEST_COMMENT = 64, 4000


@router.get("/ledger/{request_id}")
async def show(
    request: Request, visitor: CurrentVisitor, request_id: str, whole: Annotated[str, Query(alias="all")] = ""
) -> Response:
    """The page of one answer; `?all=1` leaves nothing out."""
    runtime: Runtime = request.app.state.runtime
    row = await find(runtime, visitor, request_id)
    try:
        payload, away = await runtime.ledger.payload(request_id), False
    except StoreError:  # of the blobs: the row has been read, and is worth a page without its contents
        payload, away = None, True
    scale = _UNLIMITED if whole else 1
    key = runtime.keys.active(row.key_id) if row.key_id else None
    return page(
        request,
        "answer.html",
        visitor,
        row=row,
        key_name=key.name if key else "",
        tokens=token_buckets(row),
        spans=waterfall(row),
        away=away,
        asked=_asked(payload, scale),
        answered=_answered(payload, row, scale),
        raw=_raw(payload, scale),
        feedback=await runtime.ledger.feedback(request_id),
        has_config=visitor.admin and await runtime.ledger.config(row.config_hash) is not None,
        saved="saved" in request.query_params,
    )


@router.get("/ledger/{request_id}/{side}.txt")
async def raw(request: Request, visitor: CurrentVisitor, request_id: str, side: str) -> Response:
    """The request or the response as recorded, as plain text that no browser will interpret."""
    runtime: Runtime = request.app.state.runtime
    await find(runtime, visitor, request_id)
    payload = await runtime.ledger.payload(request_id)
    body = {"request": payload.request, "response": payload.response}.get(side) if payload else None
    if body is None:
        raise NotFound(
            "This was not kept.", remedy="Payloads can be switched on in [ledger], per route and per key."
        )
    return Response(pretty(body), media_type="text/plain; charset=utf-8")


@router.get("/ledger/{request_id}/images/{number}")
async def image(request: Request, visitor: CurrentVisitor, request_id: str, number: str) -> Response:
    """One image out of a request. Only pictures that cannot hold a script are served."""
    runtime: Runtime = request.app.state.runtime
    await find(runtime, visitor, request_id)
    payload = await runtime.ledger.payload(request_id)
    found = images(payload.request) if payload else {}
    media_type, data = found.get(number, ("", ""))
    if media_type not in _IMAGE_TYPES:
        raise NotFound("There is no such image.", remedy="The raw request has what was sent.")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise NotFound(
            "This image is not valid base64.", remedy="The raw request has what was sent."
        ) from None
    return Response(content, media_type=media_type)


@router.get("/config/{config_hash}")
async def config(request: Request, _visitor: Admin, config_hash: str) -> Response:
    """The configuration that was in force, as recorded. For admins: it names tenants, addresses and secrets.

    Of secrets it holds the names, never the values.
    """
    found = await request.app.state.runtime.ledger.config(config_hash)
    if found is None:
        raise NotFound("No configuration is recorded under this hash.")
    return Response(pretty(found), media_type="text/plain; charset=utf-8")


@router.post("/ledger/{request_id}/feedback")
async def add_feedback(
    *,
    request: Request,
    visitor: FormVisitor,
    request_id: str,
    name: Annotated[str, Form()] = "",
    value: Annotated[str, Form()] = "",
    comment: Annotated[str, Form()] = "",
) -> Response:
    """Add what the visitor says of an answer, and show the page again."""
    runtime: Runtime = request.app.state.runtime
    row = await find(runtime, visitor, request_id)
    name, comment = name.strip(), comment.strip()
    if not name or len(name) > _LONGEST_NAME or len(comment) > _LONGEST_COMMENT:
        raise InvalidRequest(
            "Feedback needs a short name.", remedy="Go back and name what is judged, such as helpful."
        )
    feedback = Feedback(
        id=new_id(),
        request_id=request_id,
        created_us=now_us(),
        tenant=row.tenant,
        name=name,
        value=read_value(value),
        comment=comment or None,
        key_id=visitor.principal.key_id,
    )
    if feedback.value is None and feedback.comment is None:
        raise InvalidRequest("Feedback needs a value or a comment.", remedy="Go back and enter one of them.")
    await runtime.ledger.add_feedback(feedback)
    return RedirectResponse(f"{base(request)}/ledger/{request_id}?saved#feedback", 303)


async def find(runtime: Runtime, visitor: Visitor, request_id: str) -> Inference:
    """The row of an answer that the visitor may see.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    row = await runtime.ledger.get(request_id, visitor.scope)
    if row is None:
        raise NotFound(
            "There is no answer with this id.",
            remedy="Check the id; it is the x-request-id header of the answer.",
        )
    return row


def read_value(text: str) -> float | bool | str | None:
    """A value as entered: `true` and `false`, a number, or a category."""
    text = text.strip()[:_LONGEST_NAME]
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text or None
    return number if math.isfinite(number) else text


def token_buckets(row: Inference) -> list[tuple[str, int]]:
    """The buckets that are not empty, and always input and output."""
    buckets = [
        ("Input", row.input_tokens),
        ("Cache read", row.cache_read_tokens),
        ("Cache write", row.cache_write_tokens),
        ("Output", row.output_tokens),
        ("Reasoning", row.reasoning_tokens),
    ]
    return [(name, tokens) for name, tokens in buckets if tokens or name in {"Input", "Output"}]


def waterfall(row: Inference) -> list[Span]:
    """The answer as a whole, and each attempt, on one scale."""
    last = max([row.done_us, *(attempt.ended_us for attempt in row.attempts)])
    window = (row.received_us, max(last, row.received_us + 1))
    length = formatting.duration((row.done_us - row.received_us) / 1000)
    detail = f"Answered in {length}"
    if row.first_byte_us is not None:
        detail += f", first byte after {formatting.duration((row.first_byte_us - row.received_us) / 1000)}"
    whole = (row.received_us, row.first_byte_us, row.done_us)
    spans = [span("Whole answer", "all", window, whole, label=length, detail=detail)]
    for number, attempt in enumerate(row.attempts, 1):
        ended = attempt.ended_us or row.done_us
        length = formatting.duration((ended - attempt.started_us) / 1000)
        outcome = "ok" if attempt.outcome == "ok" else "bad"
        name = f"{number}. {attempt.provider}/{attempt.model}{' (hedge)' if attempt.hedge else ''}"
        times = (attempt.started_us, attempt.first_byte_us, ended)
        spans.append(
            span(
                name, outcome, window, times, label=length, detail=f"{name}: {attempt.outcome} after {length}"
            )
        )
    return spans


def _asked(payload: Payload | None, scale: int) -> Conversation | None:
    if payload is None:
        return None
    return fit(read_request(payload.request), _REQUEST_BUDGET * scale, 3000 * scale)


def _answered(payload: Payload | None, row: Inference, scale: int) -> Conversation | None:
    """The answer as a conversation; a stream that broke shows what came and why it broke."""
    if payload is None or payload.response is None:
        return None
    document = decode(payload.response)
    if not isinstance(document, dict):
        document = assemble(payload.response)
    answered = read_answer(document)
    if document.get("broken"):
        answered.turns.extend(read_answer({"error": document["broken"]}).turns)
    if row.dialect.endswith("embeddings"):
        return answered
    return fit(answered, _ANSWER_BUDGET * scale, 4000 * scale)


def _raw(payload: Payload | None, scale: int) -> list[tuple[str, str, str, bool]]:
    """Side, size, text and whether it was cut, of the request and the response as recorded."""
    sides = []
    for side, body in (("request", payload.request), ("response", payload.response)) if payload else ():
        if body is not None:
            most = _RAW_BUDGET * scale
            text = pretty(body[: 4 * most]) if len(body) > 4 * most else pretty(body)
            sides.append((side, formatting.size(len(body)), text[:most], len(text) > most))
    return sides
