"""What the connections of one process share: whom they serve, what they may, and the sweep over the silent ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from mainspring.web.http1.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn import Config
    from uvicorn.server import ServerState

    from mainspring.web.asgi import App
    from mainspring.web.http1.request import Request
    from mainspring.web.http1.response import Response

#: How often silent connections are looked for: one timer for all of them, in place of one for each answer.
_SWEEP_SECONDS = 5


class Service(Protocol):
    """What answers on the protocol surfaces."""

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is taken."""
        ...

    async def answer(self, request: Request, response: Response) -> None:
        """Answer a request whose body is complete."""
        ...


class Listener:
    """Makes connections; given to uvicorn as its HTTP protocol.

    Args:
        service: gives what answers on the protocol surfaces; asked when the first connection is made.
    """

    def __init__(self, service: Callable[[], Service]) -> None:
        self._service = service
        self.service: Service
        self.pages: App
        self.app_state: dict[str, Any] = {}
        self.silence_seconds: float = 0
        #: Both are looked at by uvicorn's server when it stops: what must end first, and what may be cancelled then.
        self.connections: set[Any] = set()
        self.tasks: set[Any] = set()
        self.loop: asyncio.AbstractEventLoop
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A protocol for a connection that is about to be made."""
        self.service = self._service()
        self.pages = config.loaded_app
        self.app_state = app_state
        self.silence_seconds = config.timeout_keep_alive
        self.connections, self.tasks = server_state.connections, server_state.tasks
        self.loop = _loop or asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        return Connection(self)

    def _sweep(self) -> None:
        """Close connections on which nobody has said anything for too long. Runs while there are any."""
        latest = self.loop.time() - self.silence_seconds
        for connection in list(self.connections):
            connection.close_silent(latest)
        again = bool(self.connections)
        self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep) if again else None
