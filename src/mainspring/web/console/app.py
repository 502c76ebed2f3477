"""The console as one application to be mounted: its pages, its static files, its headers and its error pages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from mainspring.base.errors import InvalidRequest, MainspringError, NotFound
from mainspring.web.console import (
    alarms,
    answer,
    credentials,
    limiting,
    live,
    overview,
    playground,
    records,
    signing,
    spending,
    upstreams,
)
from mainspring.web.console.rendering import STATIC, base, packed_file, page, static_file
from mainspring.web.console.sessions import COOKIE, SignInNeeded, read_session

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mainspring.web.console.sessions import Visitor
    from mainspring.web.runtime import Runtime

#: Only our own files, no frames, no inline script or style. Pages hold conversations, so nobody keeps a copy.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "cache-control": "no-store",
}
_A_YEAR = 31_536_000


def create_console(runtime: Runtime) -> FastAPI:
    """The console of an opened runtime, to be mounted at `/console`."""
    app = FastAPI(title="Mainspring console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runtime = runtime
    for module in (
        signing,
        overview,
        records,
        live,
        answer,
        credentials,
        upstreams,
        alarms,
        spending,
        limiting,
        playground,
    ):
        app.include_router(module.router)
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    app.add_exception_handler(MainspringError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(
        Exception, _refuse
    )  # Starlette raises it again afterwards, so that it is logged
    app.add_middleware(_Headers)
    return app


class _Headers:
    """Adds the security headers to every response; plain ASGI, so that streams are not held up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def _static(request: Request, name: str) -> Response:
    """One of our own files; the address changes with the contents, so browsers may keep it."""
    if name not in STATIC:
        raise NotFound(f"There is no file {name!r}.")
    headers = {"cache-control": f"public, max-age={_A_YEAR}, immutable", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            packed_file(name), media_type=STATIC[name], headers={**headers, "content-encoding": "gzip"}
        )
    return Response(static_file(name), media_type=STATIC[name], headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    """An error as a page: what is wrong, what to do, and a way on."""
    if isinstance(error, SignInNeeded):
        wanted = request.url.path.removeprefix(base(request)) if request.method == "GET" else "/"
        if request.method == "GET" and request.url.query:
            wanted += f"?{request.url.query}"
        return RedirectResponse(f"{base(request)}/sign-in?next={quote(wanted, safe='/')}", 303)
    known = _known(error)
    shown = {"code": known.http_status, "message": known.message, "remedy": known.remedy}
    return page(request, "error.html", _visitor(request), status=known.http_status, **shown)


def _known(error: Exception) -> MainspringError:
    """Errors of the framework in our own words."""
    if isinstance(error, MainspringError):
        return error
    if isinstance(error, HTTPException) and error.status_code == 404:  # noqa: PLR2004 - the HTTP status
        return NotFound("There is no such page.", remedy="Start again from the overview.")
    if not isinstance(error, HTTPException | RequestValidationError):
        return MainspringError("Something went wrong inside Mainspring.", remedy="The log has the details.")
    return InvalidRequest(
        "This address or form cannot be understood.", remedy="Go back and check what was entered."
    )


def _visitor(request: Request) -> Visitor | None:
    """Who is signed in, if anyone: an error page has the usual navigation."""
    try:
        return read_session(request.cookies.get(COOKIE, ""), request.app.state.runtime)
    except SignInNeeded:
        return None
