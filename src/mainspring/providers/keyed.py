"""A call with a key of the pool: the key is chosen, and the pool hears what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import ProviderRefused

if TYPE_CHECKING:
    from mainspring.providers.pool import KeyPool
    from mainspring.providers.transport import HttpReply, HttpTransport
    from mainspring.providers.types import Call


async def post_with_key(transport: HttpTransport, pool: KeyPool, path: str, call: Call) -> HttpReply:
    """Send a call; return when the head of the answer is there. Its `key` says which was used.

    A key that is not accepted and turns out to have been rotated meanwhile is sent once more, with its new secret: the
    provider has done nothing yet, and the caller need not hear of it.

    Raises:
        ProviderCoolingDown: no key may be used now; nothing was sent.
        ProviderError: as `HttpTransport.post` raises it.
    """
    key = pool.choose(call.model)
    again = False
    while True:
        credentials = key.credentials
        try:
            reply = await transport.post(path, call.body, call.headers, call.connect_seconds, credentials)
        except ProviderRefused as error:
            renewed = await pool.refused(key, credentials, call.model, error)
            if renewed and not again:
                again = True
                continue
            raise
        pool.answered(key, call.model, reply.headers)
        reply.key = key.label or None
        return reply
