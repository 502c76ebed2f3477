"""A light load: so many requests a second on kept connections, whatever becomes of them, and what came back.

It is written for machines that it shares with what it measures: no client library, no parsing beyond what tells a good
answer from a bad one.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Outcome:
    """One request. Times are monotonic seconds.

    Attributes:
        started: when it should have gone out; a load that lags behind is not flattered.
        ended: when its answer was complete.
        good: a whole answer, or a stream that ended as it should.
        provider: who answered.
        told: what it was told where it is not good.
    """

    started: float
    ended: float
    good: bool
    provider: str
    told: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


class _Line(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = bytearray()
        self._started = 0.0
        self._asking = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes, started: float) -> None:
        """Send a request."""
        assert self._transport is not None
        self._buffer.clear()
        self._started, self._asking = started, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = bytes(self._buffer[:end]).lower(), self._buffer[end + 4 :]
        if b"transfer-encoding: chunked" in head:
            if not body.endswith(b"0\r\n\r\n"):
                return
            whole = b"[DONE]" in body
        else:
            if len(body) < int(_field(head, b"content-length") or b"0"):
                return
            whole = True
        good = whole and head.startswith(b"http/1.1 200") and b'"error"' not in body
        provider = _field(head, b"x-mainspring-provider").decode()
        told = "" if good else f"{head[:15].decode()}: {bytes(body[-300:]).decode(errors='replace')}"
        self._done(Outcome(self._started, time.monotonic(), good, provider, told))
        self._load.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._load.free:
            self._load.free.remove(self)
        self._done(Outcome(self._started, time.monotonic(), False, "", f"broken: {exc!r}"))

    def _done(self, outcome: Outcome) -> None:
        if self._asking:
            self._asking = False
            self._load.outcomes.append(outcome)


class Load:
    """So many requests a second until it is stopped.

    Args:
        port: of the server.
        rate: requests a second.
        next_request: makes the bytes of a request.
    """

    def __init__(self, port: int, rate: float, next_request: Callable[[int], bytes]) -> None:
        self.outcomes: list[Outcome] = []
        self.free: list[_Line] = []
        self.asked = 0
        self._port = port
        self._rate = rate
        self._next_request = next_request
        self._task: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, patience: float = 60) -> None:
        """Send no more, and wait for the answers."""
        assert self._task is not None
        self._task.cancel()
        limit = time.monotonic() + patience
        while len(self.outcomes) < self.asked and time.monotonic() < limit:  # noqa: ASYNC110 - answers come one by one
            await asyncio.sleep(0.02)

    def between(self, start: float, end: float) -> list[Outcome]:
        """The requests that were begun then."""
        return [outcome for outcome in self.outcomes if start <= outcome.started < end]

    async def _run(self) -> None:
        begun = time.monotonic()
        while True:
            due = begun + self.asked / self._rate
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            request = self._next_request(self.asked)
            self.asked += 1
            if self.free:
                self.free.pop().ask(request, due)
            else:
                task = asyncio.create_task(self._open(request, due))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, due: float) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self), "127.0.0.1", self._port)
        line.ask(request, due)


def quantile(outcomes: list[Outcome], share: float) -> float:
    """Seconds within which this share of the requests was answered; 0 for none."""
    ordered = sorted(outcome.seconds for outcome in outcomes)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _field(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]
