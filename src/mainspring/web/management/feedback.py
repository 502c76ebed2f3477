"""`/api/v1/feedback`: what people and programs say of an answer."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import Meta
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.base.clock import now_us
from mainspring.base.errors import NotFound
from mainspring.base.ids import new_id
from mainspring.keys.validation import NAME_PATTERN
from mainspring.ledger import Feedback
from mainspring.web.management import views
from mainspring.web.management.access import NO_NUL, Asking, body_of, json, runtime_of, scope_of
from mainspring.web.management.problems import Unprocessable
from mainspring.web.management.reference import described

router = APIRouter(prefix="/api/v1/feedback", tags=["feedback"])

_LONGEST_NAME = 100
_LONGEST_CATEGORY = 200
_LONGEST_COMMENT = 10_000


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is said of an answer: a number, a boolean or a category, a comment, or just a name (`copied`)."""

    request_id: str
    name: Annotated[str, Meta(min_length=1, max_length=_LONGEST_NAME, pattern=NAME_PATTERN)]
    value: float | bool | Annotated[str, Meta(max_length=_LONGEST_CATEGORY)] | None = None
    comment: Annotated[str, Meta(max_length=_LONGEST_COMMENT)] | None = None


@router.post(
    "",
    status_code=201,
    **described("Say something of an answer", views.Feedback, 201, body=FeedbackRequest, refusals=(404,)),
)
async def create_feedback(request: Request, principal: Asking) -> Response:
    """`request_id` is the `x-request-id` of the answer. Several may stand under one name; the newest counts."""
    given = _checked(await body_of(request, FeedbackRequest))
    ledger = runtime_of(request).ledger
    row = await ledger.get(given.request_id, scope_of(principal, None))
    if row is None:
        raise NotFound(
            "There is no such answer.",
            remedy="Pass the x-request-id of an answer of yours.",
            param="request_id",
        )
    feedback = Feedback(
        id=new_id(),
        request_id=row.id,
        created_us=now_us(),
        tenant=row.tenant,
        name=given.name,
        value=given.value,
        comment=given.comment,
        key_id=principal.key_id,
    )
    await ledger.add_feedback(feedback)
    return json(views.feedback_view(feedback), 201)


@router.get("", **described("List what was said of an answer", list[views.Feedback], refusals=(404,)))
async def list_feedback(
    request: Request,
    principal: Asking,
    request_id: Annotated[
        str, Query(max_length=64, pattern=NO_NUL, description="The `x-request-id` of the answer.")
    ],
) -> Response:
    """Oldest first."""
    ledger = runtime_of(request).ledger
    if await ledger.get(request_id, scope_of(principal, None)) is None:
        raise NotFound(
            "There is no such answer.",
            remedy="Pass the x-request-id of an answer of yours.",
            param="request_id",
        )
    said = await ledger.feedback(request_id)
    return json({"items": [views.feedback_view(each) for each in said], "next": None})


def _checked(given: FeedbackRequest) -> FeedbackRequest:
    if isinstance(given.value, float) and not math.isfinite(given.value):
        raise Unprocessable("value must be a finite number.", param="value")
    return given
