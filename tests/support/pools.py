"""A pool of connections and a server on the loopback interface for it to call."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.loopback import loopback, response

from mainspring.providers.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.loopback import Loopback, Script, Visit

OK = response(b'{"ok":true}', "content-type: application/json")


@asynccontextmanager
async def pool(url: str, connections: int = 0) -> AsyncIterator[HttpTransport]:
    """The pool of a provider `up` at that address."""
    made = HttpTransport("up", url, {"authorization": "Bearer sk-1"}, connections)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def upstream(script: Script, connections: int = 0) -> AsyncIterator[tuple[Loopback, HttpTransport]]:
    """A server that plays a script, and the pool of a provider that is there."""
    async with loopback(script) as server, pool(f"http://127.0.0.1:{server.port}/v1", connections) as made:
        yield server, made


async def whole(made: HttpTransport, body: bytes = b"{}") -> bytes:
    """One call, and the whole body of its answer."""
    reply = await made.post("/chat", body, {}, 5)
    try:
        return await reply.read()
    finally:
        reply.close()


def always(data: bytes) -> Script:
    """A script: the same bytes for every request."""

    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.send(data)

    return script
