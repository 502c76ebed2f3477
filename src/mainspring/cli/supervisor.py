"""Several server processes on one port: started, watched, replaced when one dies, and stopped together.

The supervisor binds the socket and hands it down; it answers no request itself and loads nothing that could fail.
Workers are fresh processes, not forks, so that what libraries keep in threads and sockets is never shared by mistake.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from mainspring.base.settings import Settings

#: A worker that ends sooner than this after its start has not come up.
_TOO_SOON_SECONDS = 5.0
#: Longest pause before a worker that keeps ending is started again.
_LONGEST_PAUSE_SECONDS = 10.0
#: How much longer than it is given for open answers and for the last rows a worker may take to end.
_GRACE_SECONDS = 10.0
#: A second Ctrl-C this much later is meant as one.
_SAME_SIGNAL_SECONDS = 1.0
_CHECK_SECONDS = 0.1

#: The last good configuration, in the folder that the workers share: one that starts later may find the file broken.
KEPT = "last-good.toml"
#: What is read only at the start, beside it: the file may have been edited since, and workers must not be of two minds.
AT_START = "at-start.json"

_log = get_logger(__name__)


class WorkerFailed(Exception):
    """The first worker did not come up.

    Attributes:
        code: what it ended with.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker ended with {code}")
        self.code = code


class _Worker:
    """One child: its process, when it started, and how often in a row it ended too soon."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.failures = 0
        self.not_before = 0.0


class Supervisor:
    """Runs several workers on one socket.

    Args:
        settings: the configuration that they start with; what a process reads once holds for all of them.
        listener: the bound socket.
        config: the configuration file to hand down.
        on_ready: called once, when the first worker answers.
    """

    def __init__(
        self, settings: Settings, listener: socket.socket, config: Path | None, on_ready: Callable[[], None]
    ) -> None:
        self._workers = [_Worker(index) for index in range(settings.server.workers)]
        self._listener = listener
        self._config = config
        self._at_start = json.dumps(settings.at_start())
        self._end_seconds = (
            settings.server.notice_seconds
            + settings.server.drain_seconds
            + settings.ledger.wait_seconds
            + _GRACE_SECONDS
        )
        self._on_ready = on_ready
        self._stopping = False
        self._stopping_since = 0.0
        self._ready, self._ready_worker_end = os.pipe()
        self._lifeline_worker_end, self._lifeline = os.pipe()
        os.set_blocking(self._ready, False)

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT, then until every worker has ended.

        Raises:
            WorkerFailed: no worker came up; it has told why.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        with tempfile.TemporaryDirectory(prefix="mainspring-") as folder:
            try:
                (Path(folder) / AT_START).write_text(self._at_start, "utf-8")
                self._watch(Path(folder))
            finally:
                self._end()

    def _watch(self, folder: Path) -> None:
        ready = False
        while not self._stopping:
            now = time.monotonic()
            for worker in self._workers:
                if worker.process is None:
                    # The first comes up alone: it makes the schema and the admin key, or fails for all.
                    if now >= worker.not_before and (ready or worker.index == 0):
                        self._start(worker, folder)
                elif (code := worker.process.poll()) is not None:
                    self._bury(worker, code, ready=ready)
            if not ready and self._is_ready():
                ready = True
                self._on_ready()
                continue
            time.sleep(_CHECK_SECONDS)

    def _start(self, worker: _Worker, folder: Path) -> None:
        descriptors = (self._listener.fileno(), self._ready_worker_end, self._lifeline_worker_end)
        command = [
            sys.executable,
            "-m",
            "mainspring.cli.worker",
            str(worker.index),
            str(folder),
            *map(str, descriptors),
        ]
        if self._config is not None:
            command.append(str(self._config))
        worker.process = subprocess.Popen(  # noqa: S603 - ourselves
            command, pass_fds=descriptors, stdin=subprocess.DEVNULL
        )
        worker.started = time.monotonic()

    def _bury(self, worker: _Worker, code: int, *, ready: bool) -> None:
        """Note the end of a worker and when the next one may start."""
        lived = time.monotonic() - worker.started
        worker.process = None
        worker.failures = worker.failures + 1 if lived < _TOO_SOON_SECONDS else 0
        if not ready:
            raise WorkerFailed(code)
        pause = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**worker.failures) if worker.failures else 0.0
        worker.not_before = time.monotonic() + pause
        _log.error("a worker ended and is replaced", worker=worker.index, exit_code=code, pause_seconds=pause)

    def _is_ready(self) -> bool:
        try:
            return bool(os.read(self._ready, 1))
        except BlockingIOError:
            return False

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if not self._stopping:
            self._stopping, self._stopping_since = True, now
        elif number == signal.SIGINT and now - self._stopping_since > _SAME_SIGNAL_SECONDS:
            self._signal(
                signal.SIGINT
            )  # the terminal has told them too; whoever sends it to us alone has not

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(number)

    def _end(self) -> None:
        """Stop every worker, and make an end of those that do not."""
        self._signal(signal.SIGTERM)
        # Ours too: else connections would still be taken, and never looked at.
        self._listener.close()
        limit = time.monotonic() + self._end_seconds
        for worker in self._workers:
            if worker.process is None:
                continue
            try:
                worker.process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("a worker did not stop in time and is killed", worker=worker.index)
                worker.process.kill()
                worker.process.wait()
