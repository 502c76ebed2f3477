"""The parent's side of a language model: starts its worker process, feeds it requests, reads its answers.

An `Engine` loads on first use and is shared by everyone who asks for the model. When the worker dies, the answers in
flight fail and the next request starts a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import monotonic
from mainspring.base.errors import LocalModelError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from mainspring.providers.local.catalog import LocalModel

_HEADER = struct.Struct("<IIc")
_WORKER = Path(__file__).with_name("worker.py")
#: A worker that does not end a cancelled answer within this time is taken for stuck and replaced.
_STUCK_SECONDS = 60.0
#: After a failed start, callers get the same error at once for this long, and no new process.
_RETRY_SECONDS = 3.0
#: What a worker needs of the environment. Keys of providers, passwords of databases and the like are not among it.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
_ENVIRONMENT_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON", "OMP_", "GOMP_", "GGML_", "CUDA_", "HIP_", "ROCR_")
_log = get_logger(__name__)


class Refused(Exception):
    """The engine did not accept a request, or gave up on it.

    Attributes:
        code: 400 when the request is to blame, 500 otherwise.
        kind: llama.cpp's own error type.
        detail: its message; it may quote the request.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("type"))
        self.code = error.get("code", 500)
        self.kind = str(error.get("type"))
        self.detail = str(error.get("message"))
        self.prompt_tokens = error.get("n_prompt_tokens")
        self.context_tokens = error.get("n_ctx")


class Facts(msgspec.Struct):
    """What is known of a loaded model.

    Attributes:
        context_tokens: of one chat, prompt and answer together.
        tools: whether the model's template shows it the tools it may call.
    """

    context_tokens: int
    tools: bool


class Request:
    """One request in a worker. Its frames arrive in a queue; `ended` is set when the engine is done with it."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._frames: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def begin(self) -> None:
        """Wait until the engine has accepted it: from then on it reads the prompt.

        Raises:
            Refused: it was not accepted.
            LocalModelError: the worker died.
        """
        kind, payload = await self._frames.get()
        if kind != b"S":
            self._frames.put_nowait((kind, payload))
            if kind == b"F":
                self._raise(payload)

    async def next(self) -> bytes | None:
        """What the engine says next; None when it has ended.

        Raises:
            Refused: the engine gave up.
            LocalModelError: the worker died.
        """
        while True:
            kind, payload = await self._frames.get()
            if kind == b"D":
                return payload
            if kind == b"F":
                self._raise(payload)
            if kind == b"E":
                return None

    def cancel(self) -> None:
        """Make the engine stop. Returns at once; `ended` tells when it has."""
        if not self.ended.is_set():
            self._worker.cancel(self._number)

    def take(self, kind: bytes, payload: bytes) -> None:
        """A frame has come."""
        self._frames.put_nowait((kind, payload))
        if kind in b"EF":
            self.ended.set()

    def _raise(self, payload: bytes) -> None:
        if not payload:
            raise self._worker.death()
        raise Refused(msgspec.json.decode(payload))


class Worker:
    """A running worker process. Made by `start_worker`."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.name = name
        self.facts = Facts(0, False)
        self.alive = True
        self._process = process
        self._reader = reader
        self._writer = writer
        self._requests: dict[int, Request] = {}
        self._numbers = 0
        self._listener: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def load(self) -> None:
        """Wait until the model is loaded, then listen.

        Raises:
            LocalModelError: it cannot be loaded.
        """
        try:
            _, kind, payload = await self._frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            await asyncio.to_thread(self._process.wait)
            raise self.death() from None
        if kind == b"F":
            raise _load_error(self.name, msgspec.json.decode(payload))
        self.facts = msgspec.json.decode(payload, type=Facts)
        self._listener = asyncio.create_task(self._listen(), name=f"local engine {self.name}")

    def request(self, kind: bytes, payload: bytes) -> Request:
        """Hand a request to the engine.

        Args:
            kind: `C` chat, `T` text completion, `N` count.
            payload: JSON as llama.cpp takes it.

        Raises:
            LocalModelError: the worker is gone.
        """
        if not self.alive:
            raise self.death()
        self._numbers = self._numbers % 0xFFFF_FFFF + 1
        request = self._requests[self._numbers] = Request(self, self._numbers)
        self._writer.write(_HEADER.pack(len(payload), self._numbers, kind) + payload)
        return request

    def cancel(self, number: int) -> None:
        """Ask for the end of a request, and make sure of it."""
        if self.alive:
            self._writer.write(_HEADER.pack(0, number, b"X"))
            asyncio.get_running_loop().call_later(_STUCK_SECONDS, self._kill_if_stuck, number)

    def death(self) -> LocalModelError:
        """Why there is no answer any more."""
        code = self._process.poll()
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return LocalModelError(
            f"The engine of the local model {self.name} stopped unexpectedly ({how}).",
            remedy="Try again: the next request starts it anew.",
        )

    async def stop(self) -> None:
        """End the process and wait for it."""
        self._stopping = True
        self.alive = False
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(_reap, self._process)
        self._fail_all()

    async def _frame(self) -> tuple[int, bytes, bytes]:
        length, number, kind = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
        return number, kind, await self._reader.readexactly(length)

    async def _listen(self) -> None:
        try:
            while True:
                number, kind, payload = await self._frame()
                request = self._requests.get(number)
                if request is not None:
                    request.take(kind, payload)
                    if kind in b"EF":
                        del self._requests[number]
        except (asyncio.IncompleteReadError, ConnectionError):
            self.alive = False
            self._writer.close()
            try:
                await asyncio.to_thread(_reap, self._process)
            finally:  # whatever else goes wrong: those who wait for its answers must hear of it
                self._fail_all()
            _log.error("local engine died", model=self.name, code=self._process.returncode)

    def _fail_all(self) -> None:
        for request in self._requests.values():
            request.take(b"F", b"")
        self._requests.clear()

    def _kill_if_stuck(self, number: int) -> None:
        if number in self._requests and not self._stopping:
            _log.error("local engine is stuck", model=self.name)
            self._process.kill()


class Engine:
    """A model, its worker while there is one, and the start of a new one when there is none. Belongs to one event loop."""

    def __init__(self, model: LocalModel, *, parallel: int, threads: int) -> None:
        self._model = model
        self._parallel = parallel
        self._threads = threads
        self._worker: Worker | None = None
        self._starting: asyncio.Task[Worker] | None = None
        self._failure: tuple[float, LocalModelError] | None = None

    async def worker(self) -> Worker:
        """The running worker, started if need be. Callers share one start; one that is cancelled does not end it.

        Raises:
            LocalModelError: it does not start.
        """
        if self._worker is not None and self._worker.alive:
            return self._worker
        if self._failure is not None and monotonic() < self._failure[0]:
            raise self._failure[1]
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            # A start that everybody stopped waiting for must not end as "exception was never retrieved".
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._starting)

    async def close(self) -> None:
        """Stop the worker; also one that is still loading."""
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, LocalModelError):
                await self._starting
        if self._worker is not None:
            await self._worker.stop()
            self._worker = None

    async def _start(self) -> Worker:
        since = monotonic()
        try:
            self._worker = await start_worker(self._model, parallel=self._parallel, threads=self._threads)
        except LocalModelError as error:
            self._failure = (monotonic() + _RETRY_SECONDS, error)
            raise
        finally:
            self._starting = None
        _log.info("local model loaded", model=self._model.name, seconds=round(monotonic() - since, 2))
        return self._worker


async def start_worker(model: LocalModel, *, parallel: int, threads: int) -> Worker:
    """Start a process and load the model in it.

    Args:
        model: a GGUF file with its context.
        parallel: chats at once, each with its own context.
        threads: that compute.

    Raises:
        LocalModelError: the engine is not installed, or the file cannot be loaded.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        options = {
            "path": str(model.path),
            "context_tokens": model.context_tokens,
            "parallel": parallel,
            "threads": threads,
            "descriptor": theirs.fileno(),
        }
        process = await asyncio.to_thread(_spawn, options)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    worker = Worker(model.name, process, reader, writer)
    try:
        await worker.load()
    except BaseException:  # re-raised; a cancelled start must not leave a process behind
        process.kill()
        await worker.stop()
        raise
    return worker


def _spawn(options: dict[str, Any]) -> subprocess.Popen[bytes]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    # On a busy machine OpenMP's spinning threads fall to a tenth of the speed; they read this when they are loaded.
    environment |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    return subprocess.Popen(  # noqa: S603 - our own interpreter, our own file
        # -P: the worker's folder must not shadow the standard library's modules.
        [sys.executable, "-P", str(_WORKER), msgspec.json.encode(options).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # llama.cpp prints grammars, and with them what people asked for.
        stderr=subprocess.DEVNULL,
        env=environment,
        pass_fds=(options["descriptor"],),
    )


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _load_error(name: str, error: dict[str, Any]) -> LocalModelError:
    message = " ".join(str(error.get("message")).split())
    if "libgomp" in message:
        return LocalModelError(
            "The local engine needs the system library libgomp.so.1, which is not there.",
            remedy="Install it: `apt-get install libgomp1`, or the like.",
        )
    if error.get("type") in {"ImportError", "ModuleNotFoundError"}:
        return LocalModelError(
            f"The local engine (xllamacpp) cannot be imported: {message}.",
            remedy="Install the extra `local`: `.venv/bin/pip install -e '.[local]'` in a clone.",
        )
    return LocalModelError(
        f"The local model {name} cannot be loaded: {message}.",
        remedy="Check that its file is a GGUF file of a language model, and that there is memory for it.",
    )
