"""What every answer of this app has, whatever made it: an id, safe headers, and no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from mainspring.base.ids import new_id
from mainspring.base.logging import get_logger, request_id
from mainspring.web.management.problems import Unreadable, problem, unexpected

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = get_logger(__name__)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Edge:
    """The outermost layer; plain ASGI, so that streams are not held up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = new_id()
        token = request_id.set(identifier)
        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", identifier)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if _has_nul(scope):
                refusal = problem(
                    Unreadable("An address cannot contain a NUL character.", remedy="Leave it out.")
                )
                await refusal(scope, receive, with_headers)
            else:
                await self._app(scope, receive, with_headers)
        except Exception as error:
            # The last resort: a bug of ours is logged with its traceback and told without it.
            _log.exception("unexpected_error", error=type(error).__name__, path=scope["path"])
            if started:
                raise  # the server cuts the connection, so that half an answer does not look whole
            await unexpected()(scope, receive, with_headers)
        finally:
            request_id.reset(token)


def _has_nul(scope: Scope) -> bool:
    """NUL is no text for Postgres; nothing that we keep has it in its name."""
    return "\x00" in scope["path"] or b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]
