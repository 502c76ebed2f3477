"""One server process: our application under uvicorn, and its signals."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from mainspring.base.errors import ConfigError, MainspringError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mainspring.base.settings import Settings
    from mainspring.web.app import Application

#: An idle connection is kept longer than clients keep theirs, so that it is the client that closes it.
KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
#: A Ctrl-C reaches the supervisor and the workers at once; a second one in this time is the same one.
_SAME_SIGNAL_SECONDS = 1.0
#: Objects made before the collector looks at the youngest, and rounds of it before it looks at the older ones. Requests
#: leave no cycles behind, so that looking after every 700, as is the default, finds nothing and costs a tenth.
_COLLECT_AFTER = (10_000, 20, 20)

_log = get_logger(__name__)


def run_process(
    settings: Settings,
    config: Path | None,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None],
    parent: int | None = None,
    kept: Path | None = None,
) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT, then let open answers finish.

    Args:
        settings: the configuration.
        config: where it was read, to read it again on a change or SIGHUP.
        listener: where to accept connections.
        on_ready: called on a thread of its own once the first request would be answered.
        parent: a file descriptor that closes when the supervisor is gone; the process then stops too.
        kept: where a copy of the last good configuration is kept.

    Raises:
        MainspringError: the application could not start.
    """
    from mainspring.web.app import create_app  # noqa: PLC0415 - everything that serves; not for --help
    from mainspring.web.http1 import Listener  # noqa: PLC0415 - likewise

    app = create_app(settings, file=config, kept=kept)
    server_config = uvicorn.Config(
        app,
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", Listener(lambda: app.surfaces)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.server.drain_seconds)),
    )
    logging.getLogger("uvicorn.error").addFilter(_told_already)
    try:
        _Server(server_config, app, on_ready, parent, settings.server.notice_seconds).run([listener])
    except SystemExit:  # how uvicorn ends when the application does not open
        raise app.failure or MainspringError(
            "The server did not start.", remedy="The log says why."
        ) from None


class _Server(uvicorn.Server):
    """uvicorn's server with our signals: drain on SIGTERM and leave with 0, reread the configuration on SIGHUP."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Application,
        on_ready: Callable[[], None],
        parent: int | None,
        notice_seconds: float,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready
        self._parent = parent
        self._notice_seconds = notice_seconds
        self._reloads: set[asyncio.Task[bool]] = set()
        self._stopping_since = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application and listen."""
        await super().startup(sockets)
        _set_apart()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._parent is not None:
            loop.add_reader(self._parent, self._orphaned)
        threading.Thread(target=self._on_ready, name="ready", daemon=True).start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals that end us. Having obeyed one is a success, so it is not raised again."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Say that we stop, then begin to drain; a second Ctrl-C stops at once."""
        del frame
        now = time.monotonic()
        if not self._stopping_since:
            self._stopping_since = now
            if self._app.runtime is not None:
                self._app.runtime.draining = True
            if self._notice_seconds and sig == signal.SIGTERM:
                # Whoever sends requests here asks now and then whether to: until it has heard, they are answered.
                asyncio.get_running_loop().call_later(self._notice_seconds, self._drain)
            else:
                self._drain()
        elif not self.should_exit:
            self._drain()
        elif sig == signal.SIGINT and now - self._stopping_since > _SAME_SIGNAL_SECONDS:
            self.force_exit = True

    def _drain(self) -> None:
        self.should_exit = True

    def _hang_up(self) -> None:
        assert self._app.runtime is not None, "signals are handled once the application is open"
        task = asyncio.ensure_future(self._app.runtime.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _orphaned(self) -> None:
        assert self._parent is not None, "only then is it watched"
        asyncio.get_running_loop().remove_reader(self._parent)
        _log.warning("the supervisor is gone; stopping")
        self.handle_exit(signal.SIGTERM, None)


def _set_apart() -> None:
    """Let the collector pass over what is there for good: modules, routes, templates."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound, not listening yet, and can be handed to child processes.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.", remedy=_remedy(error)
        ) from None
    return listener


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Choose an address of this machine with --host, such as 127.0.0.1, or 0.0.0.0 for all."
    if error.errno == errno.EACCES:
        return "Choose a port above 1023 with --port; the others are for root."
    return "Stop what uses the port, or choose another with --port."


def _told_already(record: logging.LogRecord) -> bool:
    """Drop uvicorn's words on a start that failed on purpose: the command tells of it in two sentences."""
    return record.module != "on" or record.exc_info is not None  # uvicorn.lifespan.on
