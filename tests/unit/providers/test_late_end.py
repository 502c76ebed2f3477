"""A stream whose contents have ended, while the end of its body is still on the way, or never comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.loopback import chunked
from tests.support.pools import OK, upstream, whole

if TYPE_CHECKING:
    from tests.support.loopback import Visit

    from mainspring.providers.transport import HttpTransport

DONE = b"data: [DONE]\n\n"
WITHOUT_END = chunked(DONE)[:-5]


async def _read_to_done(made: HttpTransport) -> None:
    reply = await made.post("/chat", b"{}", {}, 5)
    assert await anext(reply.chunks()) == DONE
    reply.close(ended=True)


async def test_the_end_of_the_body_may_come_a_moment_later() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(WITHOUT_END)
        await asyncio.sleep(0.05)
        await visit.send(b"0\r\n\r\n")
        await visit.request()
        await visit.send(OK)

    async with upstream(script) as (server, made):
        await _read_to_done(made)
        await asyncio.sleep(0.4)
        assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 1


async def test_a_body_that_never_ends_is_left_behind() -> None:
    left = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(WITHOUT_END)
        await visit.reader.read()
        left.set()

    async with upstream(script, connections=1) as (_, made):
        await _read_to_done(made)
        await asyncio.wait_for(left.wait(), 20)
        assert not made._busy
