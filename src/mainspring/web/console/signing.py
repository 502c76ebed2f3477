"""Signing in with a key, and signing out."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from mainspring.base.errors import AuthenticationFailed
from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import (
    COOKIE,
    FORM_COOKIE,
    LIFETIME_SECONDS,
    FormVisitor,
    SignInNeeded,
    keep_cookie,
    open_session,
    read_session,
)

router = APIRouter()
_FORM_SECONDS = 3600


@router.get("/sign-in")
def show(request: Request, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The sign-in page; who is signed in already goes on."""
    try:
        read_session(request.cookies.get(COOKIE, ""), request.app.state.runtime)
    except SignInNeeded:
        return _form(request, _inside(wanted))
    return RedirectResponse(base(request) + _inside(wanted), 303)


@router.post("/sign-in")
def sign_in(
    request: Request,
    key: Annotated[str, Form()] = "",
    form: Annotated[str, Form()] = "",
    wanted: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Check the key and open a session."""
    held = request.cookies.get(FORM_COOKIE, "")
    if not held or not hmac.compare_digest(held.encode(), form.encode()):
        return _form(request, _inside(wanted), "The form was too old. Please try once more.", 403)
    keys = request.app.state.runtime.keys
    try:
        checked = keys.active(keys.check(key.strip()).key_id)
    except AuthenticationFailed as error:
        # Its remedy is for programs: here a key is typed, not sent in a header.
        problem = f"{error.message} Check that all of it was copied; it begins with ms-."
        return _form(request, _inside(wanted), problem, 401)
    if checked is None:
        return _form(request, _inside(wanted), "This key has just been revoked.", 401)
    response = RedirectResponse(base(request) + _inside(wanted), 303)
    keep_cookie(response, request, COOKIE, open_session(checked), LIFETIME_SECONDS)
    return response


@router.post("/sign-out")
def sign_out(request: Request, _visitor: FormVisitor) -> Response:
    """Forget the session."""
    response = RedirectResponse(f"{base(request)}/sign-in", 303)
    response.delete_cookie(COOKIE, path=base(request) or "/")
    return response


def _form(request: Request, wanted: str, problem: str = "", status: int = 200) -> Response:
    token = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(18)
    response = page(request, "sign_in.html", None, status=status, form=token, wanted=wanted, problem=problem)
    keep_cookie(response, request, FORM_COOKIE, token, _FORM_SECONDS)
    return response


def _inside(wanted: str) -> str:
    """A path within the console; anything that might lead elsewhere becomes the overview."""
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if safe else "/"
