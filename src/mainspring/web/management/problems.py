"""Errors as RFC 9457 problem documents: for what we raise on purpose, for what the framework refuses, for our bugs."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from mainspring.base.errors import InvalidRequest, MainspringError
from mainspring.base.logging import request_id
from mainspring.web.surfaces import SURFACES, meant_by

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong. `code` is stable and for programs; `detail` says what is wrong and what to do, for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    #: The field of the body or the query that is to blame.
    param: str | None = None
    request_id: str | None = None


class Unreadable(InvalidRequest):
    """An address or a body that cannot be read at all: it is no JSON, or has characters that no text has."""


class Unprocessable(InvalidRequest):
    """A body or a query that can be read, but says something that cannot be."""

    status = 422


class UnsupportedMediaType(InvalidRequest):
    """A body that does not say that it is JSON."""

    status = 415
    code = "unsupported_media_type"


#: Codes for what the framework refuses before a handler is asked.
_CODES = {404: "not_found", 405: "method_not_allowed"}
_DETAILS = {
    404: "There is nothing at this address. The API reference is at /docs.",
    405: "This address does not take that method.",
}


def add_handlers(app: FastAPI) -> None:
    """Make an app answer every error with a problem document."""
    app.add_exception_handler(MainspringError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)


def problem(error: MainspringError) -> Response:
    """An error as a response.

    Here 400 means that the request cannot be read, and 422 that it says something that cannot be, be it against the
    schema or against a rule that only the rooms below know. On the protocol surfaces both are 400, as their clients
    expect.
    """
    status, headers = error.http_status, {}
    if (
        isinstance(error, InvalidRequest)
        and not isinstance(error, Unreadable)
        and status == InvalidRequest.status
    ):
        status = Unprocessable.status
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="mainspring"'
    return _response(status, error.code, str(error), param=error.param, headers=headers)


def unexpected() -> Response:
    """The answer to a bug of ours: it says nothing about the inside; the log does, under the same id."""
    detail = "Something went wrong inside Mainspring. The log tells more under this request id."
    return _response(500, MainspringError.code, detail)


async def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MainspringError), "registered for it"
    return problem(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    """The first thing that is wrong with the path or the query."""
    assert isinstance(error, RequestValidationError), "registered for it"
    first = error.errors()[0]
    name = str(first["loc"][-1])
    unlike = first["type"] == "string_pattern_mismatch"  # the pattern is for programs
    wrong = f"{name} is not written as it must be." if unlike else f"{name}: {first['msg']}."
    return problem(Unprocessable(wrong, remedy="The API reference is at /docs.", param=name))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    status = error.status_code
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(sorted(_allowed(request)))
    code, detail = _CODES.get(status, "http_error"), _DETAILS.get(status, str(error.detail))
    if f"/v1{request.url.path}".rstrip("/") in SURFACES:  # a client whose base_url lacks its end
        detail = f"There is nothing at this address. {meant_by(request.url.path)}"
    return _response(status, code, detail, headers=headers)


def _allowed(request: Request) -> set[str]:
    """Every method that some route takes at this address; Starlette names only those of the first."""
    routes = (
        route for route in request.app.router.routes if route.matches(request.scope)[0] is not Match.NONE
    )
    return {method for route in routes for method in getattr(route, "methods", None) or ()}


def _response(
    status: int, code: str, detail: str, *, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    document = Problem(
        title=HTTPStatus(status).phrase if status in _PHRASES else "Error",
        status=status,
        code=code,
        detail=detail,
        param=param,
        request_id=request_id.get(),
    )
    return Response(msgspec.json.encode(document), status, headers=headers, media_type=MEDIA_TYPE)


_PHRASES = {status.value for status in HTTPStatus}
