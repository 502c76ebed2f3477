"""Who is signed in to the console: a signed cookie that names a key, and tokens against forged forms.

The cookie holds the key's id, not the key. It is signed with a key derived from the digest that the database
keeps of the secret. So every worker and every host on one database can check it, a restart ends no session,
and a session ends the moment its key is revoked, expires or is deleted, without any table of sessions.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import Depends, Form, Request

from mainspring.base.errors import AuthenticationFailed, NotFound, PermissionDenied
from mainspring.keys.snapshot import principal_of
from mainspring.keys.types import Principal
from mainspring.web.console.rendering import base

if TYPE_CHECKING:
    from starlette.responses import Response

    from mainspring.keys.types import Key
    from mainspring.web.runtime import Runtime

COOKIE = "mainspring_console"
#: Proves that a sign-in form was got from us: sent as a cookie and as a field, which must agree.
FORM_COOKIE = "mainspring_sign_in"
LIFETIME_SECONDS = 7 * 86_400


class Visitor(msgspec.Struct, frozen=True):
    """Who is signed in. `csrf` goes into every form of this session."""

    principal: Principal
    csrf: str

    @property
    def admin(self) -> bool:
        """Whether all tenants and the keys may be seen."""
        return self.principal.role == "admin"

    @property
    def scope(self) -> str | None:
        """The tenant that the visitor is confined to; None sees all."""
        return None if self.admin else self.principal.tenant


class SignInNeeded(AuthenticationFailed):
    """There is no session, or it has ended. Answered with the sign-in page."""


def open_session(key: Key, *, now: float | None = None) -> str:
    """A cookie value for a key that was just checked."""
    expires = int((time.time() if now is None else now) + LIFETIME_SECONDS)
    claim = f"{key.id}.{expires}.{secrets.token_urlsafe(12)}"
    return f"{claim}.{_sign(key, claim)}"


def read_session(cookie: str, runtime: Runtime, *, now: float | None = None) -> Visitor:
    """The visitor behind a cookie value.

    Raises:
        SignInNeeded: it is not one of ours, has expired, or its key is no longer good.
    """
    claim, _, signature = cookie.rpartition(".")
    key_id, _, rest = claim.partition(".")
    expires, _, _ = rest.partition(".")
    key = runtime.keys.active(key_id)
    if key is None or not hmac.compare_digest(signature.encode(), _sign(key, claim).encode()):
        raise SignInNeeded("You are not signed in.", remedy="Sign in with a key.")
    if int(expires) < (time.time() if now is None else now):
        raise SignInNeeded("The session has expired.", remedy="Sign in again.")
    return Visitor(principal_of(key), _sign(key, f"form {claim}"))


def keep_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read, that no other site can make a browser send, and that only we get."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=base(request) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def signed_in(request: Request) -> Visitor:
    """Dependency: the visitor.

    Raises:
        SignInNeeded: there is none.
    """
    runtime: Runtime = request.app.state.runtime
    return read_session(request.cookies.get(COOKIE, ""), runtime)


def signed_in_admin(visitor: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
    """Dependency: the visitor, who is an admin.

    Raises:
        NotFound: a member asks; the page does not exist for them.
    """
    if not visitor.admin:
        raise NotFound("There is no such page for this key.", remedy="Sign in with an admin key.")
    return visitor


def posted(
    request: Request, visitor: Annotated[Visitor, Depends(signed_in)], csrf: Annotated[str, Form()] = ""
) -> Visitor:
    """Dependency of every form: the visitor, when the form is one that we gave to this session.

    Raises:
        PermissionDenied: the token is missing or another session's, or another site sent the form.
    """
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    if foreign or not hmac.compare_digest(csrf.encode(), visitor.csrf.encode()):
        raise PermissionDenied(
            "This form is out of date or came from elsewhere.", remedy="Reload the page and send it again."
        )
    return visitor


def posted_by_admin(visitor: Annotated[Visitor, Depends(posted)]) -> Visitor:
    """Dependency of the forms that only an admin may send."""
    return signed_in_admin(visitor)


def _sign(key: Key, text: str) -> str:
    """A signature under this key's digest; the purpose is in the message, so no other use of the digest collides."""
    mac = hmac.digest(key.digest, b"mainspring console: " + text.encode(), "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


CurrentVisitor = Annotated[Visitor, Depends(signed_in)]
Admin = Annotated[Visitor, Depends(signed_in_admin)]
FormVisitor = Annotated[Visitor, Depends(posted)]
FormAdmin = Annotated[Visitor, Depends(posted_by_admin)]
