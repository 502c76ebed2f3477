"""Everything that is no protocol surface, as ASGI: management, console, documentation, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.base.errors import ClientGone

if TYPE_CHECKING:
    from mainspring.web.asgi import App, Message
    from mainspring.web.http1.connection import Connection
    from mainspring.web.http1.response import Response


async def serve_page(app: App, connection: Connection, response: Response, state: dict[str, Any]) -> None:
    """Answer a request, whose body may still be arriving.

    Args:
        app: an ASGI app.
        connection: on which the request came.
        response: to that request.
        state: of the app's lifespan.
    """
    request = response.request
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if request.http10 else "1.1",
        "server": _address(connection, "sockname"),
        "client": _address(connection, "peername"),
        "scheme": "http",
        "method": request.method.decode(),
        "root_path": "",
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query,
        "headers": request.headers,
        "state": state.copy(),
    }
    page = _Page(connection, response)
    await app(scope, page.receive, page.send)


class _Page:
    """The two ends of ASGI."""

    def __init__(self, connection: Connection, response: Response) -> None:
        self._connection = connection
        self._response = response
        self._received = False

    async def receive(self) -> Message:
        """The body as it comes; after it, that the caller has left."""
        connection, request = self._connection, self._response.request
        if not self._received:
            await connection.arrived(request)
            if request.parts or request.complete:
                body = request.take()
                self._received = request.complete
                return {"type": "http.request", "body": body, "more_body": not request.complete}
        await connection.over(self._response)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The answer; into nothing once the caller has left."""
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            await self._response.start(message["status"], headers)
        elif message["type"] == "http.response.body":
            try:
                await self._response.write(message.get("body", b""), last=not message.get("more_body", False))
            except ClientGone:
                return


def _address(connection: Connection, name: str) -> tuple[str, int] | None:
    address = connection.transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
