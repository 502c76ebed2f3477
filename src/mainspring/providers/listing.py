"""The list of models that a provider tells of; both protocols give it the same shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import MainspringError
from mainspring.providers.refusals import UNREADABLE

if TYPE_CHECKING:
    from mainspring.providers.pool import KeyPool
    from mainspring.providers.transport import HttpTransport

_CONNECT_SECONDS = 5


async def listed_models(transport: HttpTransport, pool: KeyPool, path: str) -> list[str]:
    """The ids in a provider's list, which also warms a connection; none when it is away or does not tell."""
    try:
        reply = await transport.get(path, _CONNECT_SECONDS, pool.choose("").credentials)
    except MainspringError:
        return []
    try:
        document = msgspec.json.decode(await reply.read())
        return [str(item["id"]) for item in document["data"]]
    except (MainspringError, *UNREADABLE, LookupError, TypeError):
        return []
    finally:
        reply.close()
