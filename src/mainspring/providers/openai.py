"""The OpenAI wire: chat, completions, responses and embeddings over HTTP, as many providers speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.providers.keyed import post_with_key
from mainspring.providers.listing import listed_models
from mainspring.providers.openai_answers import read_answer
from mainspring.providers.openai_streams import ChatScanner, ResponsesScanner
from mainspring.providers.pool import KeyPool
from mainspring.providers.transport import HttpTransport
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.providers.types import Call, Reply, Seen, StreamScanner

PATHS = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETIONS: "/completions",
    Operation.RESPONSES: "/responses",
    Operation.EMBEDDINGS: "/embeddings",
}


class OpenAIProvider:
    """One upstream that speaks OpenAI's protocol; see `providers.types.Provider`.

    Args:
        name: as configured.
        base_url: up to and including the version, such as `https://api.openai.com/v1`.
        headers: sent with every call beside the credentials.
        operations: what it serves natively.
        connections: most connections at once; 0 is no limit.
        pool: its keys; by default calls carry none.
    """

    api = "openai"

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        operations: frozenset[Operation],
        connections: int = 0,
        *,
        pool: KeyPool | None = None,
    ) -> None:
        self.name = name
        self.operations = operations
        self.pool = pool or KeyPool(name)
        self._transport = HttpTransport(
            name, base_url.rstrip("/"), {"content-type": "application/json", **headers}, connections
        )

    async def start(self) -> None:
        """Open the pool."""
        await self._transport.start()

    def ready(self, model: str = "") -> float:
        """Seconds until some key may be used for a model."""
        return self.pool.ready(model)

    async def call(self, call: Call) -> Reply:
        """Send; return when the head of the answer is there."""
        return await post_with_key(self._transport, self.pool, PATHS[call.operation], call)

    def scanner(self, operation: Operation, *, strip_usage: bool) -> StreamScanner:
        """A fresh scanner for a stream of this operation."""
        if operation is Operation.RESPONSES:
            return ResponsesScanner(self.name)
        return ChatScanner(self.name, strip_usage=strip_usage)

    def read_usage(self, operation: Operation, body: bytes) -> Seen:
        """Usage and finish of a whole answer."""
        return read_answer(self.name, operation, body)

    async def models(self) -> list[str]:
        """The models that the provider lists; this also warms a connection."""
        return await listed_models(self._transport, self.pool, "/models")

    async def close(self) -> None:
        """Close the pool."""
        await self._transport.close()
