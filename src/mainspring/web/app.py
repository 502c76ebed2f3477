"""The application of one process: the protocol surfaces as they are, everything else through FastAPI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainspring.base.errors import MainspringError
from mainspring.base.logging import get_logger
from mainspring.web.following import follow, keep
from mainspring.web.runtime import Runtime
from mainspring.web.surfaces import Surfaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mainspring.base.settings import Settings
    from mainspring.web.asgi import App, Receive, Scope, Send

_log = get_logger(__name__)


class Application:
    """Answers on the protocol surfaces, and is the ASGI app of everything else and of the life of the process.

    The runtime is opened when the server starts and closed when it stops.

    Args:
        settings: the configuration to start with.
        file: where it was read; changes there are put in force.
        kept: where the last configuration that was good is kept for whoever starts after us.
        ready: called once everything is open, to tell people about it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        file: Path | None = None,
        kept: Path | None = None,
        ready: Callable[[Runtime], None] | None = None,
    ) -> None:
        self._settings = settings
        self._file = file
        self._kept = kept
        self._ready = ready
        self._surfaces: Surfaces | None = None
        self._pages: App | None = None
        self.runtime: Runtime | None = None
        #: Why the start failed, for whoever runs the server: a server only tells that it did.
        self.failure: MainspringError | None = None

    @property
    def surfaces(self) -> Surfaces:
        """What answers under `/v1`."""
        assert self._surfaces is not None, "the server calls lifespan first"
        return self._surfaces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, or the life of the process."""
        if scope["type"] == "http":
            assert self._pages is not None, "the server calls lifespan first"
            await self._pages(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            runtime = await self._open()
        except MainspringError as error:
            self.failure = error
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        follower = asyncio.create_task(follow(runtime))
        await send({"type": "lifespan.startup.complete"})
        if self._ready is not None:
            self._ready(runtime)
        await receive()
        follower.cancel()
        await runtime.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> Runtime:
        from mainspring.web.management import create_api  # noqa: PLC0415 - FastAPI, once the start is certain

        runtime = self.runtime = await Runtime.open(self._settings, file=self._file)
        if self._kept is not None:
            runtime.kept = self._kept
            keep(self._file, self._kept, self._settings)
        self._surfaces = Surfaces(runtime)
        self._pages = create_api(runtime)
        return runtime


def create_app(
    settings: Settings,
    *,
    file: Path | None = None,
    kept: Path | None = None,
    ready: Callable[[Runtime], None] | None = None,
) -> Application:
    """The app for an ASGI server; see `Application`."""
    return Application(settings, file=file, kept=kept, ready=ready)
