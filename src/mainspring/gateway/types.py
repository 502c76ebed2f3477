"""The traveller and its ports: what every step of the request path reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.base.errors import MainspringError


class Sink(Protocol):
    """Where an answer goes. The HTTP edge implements it; the gateway does not know which server is behind it."""

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head. Called once, before any `write`."""
        ...

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes at once; `last` ends the answer. Waits while the caller reads slowly.

        Raises:
            ClientGone: the caller hung up.
        """
        ...

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the caller has hung up, at once if that was before; None takes the wish back."""
        ...


class Dialect(Protocol):
    """How a caller's protocol says things that are not answers of a model."""

    #: As the ledger names it: `openai.chat`, `anthropic.messages`, ...
    name: str
    #: Under which names an answer carries its id.
    id_headers: tuple[bytes, ...]
    #: Written into a silent stream.
    keepalive: bytes

    def error(self, error: MainspringError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of an error before anything was sent."""
        ...

    def stream_error(self, error: MainspringError, request_id: str) -> bytes:
        """An error inside a stream whose 200 has gone out; it must make every known client raise."""
        ...
