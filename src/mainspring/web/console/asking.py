"""A call of the console's own to the gateway: the usual way of a request, with a session in place of a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from mainspring.gateway import Attribution, Exchange, Sink
from mainspring.web.asgi import AsgiSink
from mainspring.web.surfaces import SURFACES, read_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from mainspring.keys import Principal
    from mainspring.web.runtime import Runtime

_CHAT = SURFACES["/v1/chat/completions"]
#: What the ledger calls the feature that asked.
FEATURE = "playground"


async def ask_whole(runtime: Runtime, principal: Principal, body: bytes) -> tuple[int, str, bytes]:
    """Ask and wait for the whole answer.

    Returns:
        The status, the id of the answer and its body.

    Raises:
        InvalidRequest: the body is no chat request.
    """
    sink = _Collected()
    exchange = _exchange(principal, body, sink)
    await runtime.gateway.handle(exchange)
    return sink.status, exchange.id, b"".join(sink.parts)


def ask_streaming(runtime: Runtime, principal: Principal, body: bytes) -> Response:
    """Ask; the response is what any caller of `/v1/chat/completions` would get, as it arrives.

    Raises:
        InvalidRequest: the body is no chat request.
    """
    read_envelope(body, _CHAT)
    return _Streamed(runtime, principal, body)


class _Streamed(Response):
    """A response that the gateway writes."""

    def __init__(self, runtime: Runtime, principal: Principal, body: bytes) -> None:
        super().__init__()
        self._runtime, self._principal, self._body = runtime, principal, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        async with AsgiSink(receive, send) as sink:
            await self._runtime.gateway.handle(_exchange(self._principal, self._body, sink))


class _Collected:
    """A sink that keeps everything. Whoever waits for a page is not watched for leaving."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: list[bytes] = []

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:  # noqa: ARG002 - a page has no use for them
        self.status = status

    async def write(self, data: bytes, *, last: bool = False) -> None:  # noqa: ARG002 - the end is when `handle` returns
        self.parts.append(data)

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """It never is."""


def _exchange(principal: Principal, body: bytes, sink: Sink) -> Exchange:
    exchange = Exchange(
        dialect=_CHAT.dialect,
        operation=_CHAT.operation,
        envelope=read_envelope(body, _CHAT),
        body=body,
        secret=None,
        attribution=Attribution(feature=FEATURE),
        pass_headers={},
        sink=sink,
    )
    exchange.principal = principal
    return exchange
