"""A provider on loopback that speaks OpenAI and Anthropic, answers well, and fails in every way on request.

It is a real HTTP server on a thread of its own, so that it stays independent of the loop of a test, and it can be
run by itself: `python -m tests.support.provider_server --port 9000`. `provider.behaviour` lists how it misbehaves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

import pytest
from tests.support.ports import own_port
from tests.support.provider.behaviour import Behaviour
from tests.support.provider.http import Connection, Received

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_NOT_ACCEPTED = Behaviour(status=401)


class ProviderServer:
    """The server with its script and its memory.

    Args:
        port: 0 takes one of its own.
        keep: how many requests it remembers.
    """

    def __init__(self, port: int = 0, keep: int = 20_000) -> None:
        self.port = port or own_port()
        self.received: deque[Received] = deque(maxlen=keep)
        #: The keys that it accepts; None accepts every one.
        self.accepts: frozenset[str] | None = None
        self._script: dict[str, deque[str]] = defaultdict(deque)
        self._keyed: dict[str, Behaviour] = {}
        self._known: dict[str, Behaviour] = {}
        #: How every request is answered, whatever its model, for this share of them; None is by the model's name.
        self._everyone: Behaviour | None = None
        self._share = 1.0
        self._dice = random.Random(1)
        #: Requests so far, also those that are not remembered any more.
        self.count = 0
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The root, without a trailing slash; both dialects live under `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    def script(self, model: str, *traits: str) -> None:
        """Answer the next requests for a model in these ways, one after another; then again as its name says.

        Args:
            model: the name as the provider sees it.
            traits: as in a model's name, for example `status=500`, or an empty text for a good answer.
        """
        self._script[model].extend(traits)

    def forget(self, model: str) -> None:
        """Answer a model as its name says again, whatever its script still holds."""
        self._script.pop(model, None)

    def treat(self, key: str, traits: str) -> None:
        """Answer calls with this key in this way, whatever the model; an empty text as for every other key."""
        if traits:
            self._keyed[key] = Behaviour.parse(f"+{traits}")
        else:
            self._keyed.pop(key, None)

    def behave(self, traits: str, share: float = 1.0) -> None:
        """Answer everybody in one way from now on.

        Args:
            traits: as in a model's name; an empty text is by the model's name again.
            share: of the requests; the others are answered by the model's name.
        """
        self._everyone = Behaviour.parse(f"+{traits}") if traits else None
        self._share = share

    def requests(self, mark: str) -> list[Received]:
        """The requests whose body contains a text, oldest first."""
        needle = mark.encode()
        return [received for received in list(self.received) if needle in received.body]

    def wait(
        self, mark: str, until: Callable[[Received], bool], *, count: int = 1, seconds: float = 30
    ) -> list[Received]:
        """Wait until so many requests with a mark fulfil a condition.

        Raises:
            AssertionError: they do not in time.
        """
        limit = time.monotonic() + seconds
        while True:
            found = [received for received in self.requests(mark) if until(received)]
            if len(found) >= count:
                return found
            assert time.monotonic() < limit, f"{len(found)} of {count}: {self.requests(mark)}"
            time.sleep(0.01)

    def start(self) -> None:
        """Listen, on a thread; returns when connections are accepted."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise RuntimeError("the provider server did not start")

    def stop(self) -> None:
        """Close every connection and end the thread."""
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def end(self) -> None:
        """End `serve`, from its own loop."""
        assert self._stop is not None
        self._stop.set()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve on the running loop until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.open()
        ready()
        await self._stop.wait()
        self.shut()
        await asyncio.sleep(0)

    async def open(self) -> None:
        """Listen, on the same port as before."""
        assert self._loop is not None
        self._server = await self._loop.create_server(self._connect, "127.0.0.1", self.port, backlog=1024)

    def shut(self) -> None:
        """Listen no more, and break every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def _connect(self) -> Connection:
        connection = _Tracked(next(self._numbers), self._receive, self._behaviour, self._connections)
        self._connections.add(connection)
        return connection

    def _receive(self, received: Received) -> None:
        self.count += received.path.partition("?")[0].rstrip("/").rpartition("/")[2] != "models"
        self.received.append(received)

    def _behaviour(self, model: str, key: str) -> Behaviour:
        if self._everyone is not None and (self._share >= 1 or self._dice.random() < self._share):
            return self._everyone
        if self.accepts is not None and key not in self.accepts:
            return _NOT_ACCEPTED
        if key in self._keyed:
            return self._keyed[key]
        script = self._script.get(model)
        if script:
            traits = script.popleft()
            return Behaviour.parse(f"+{traits}" if traits else "")
        known = self._known.get(model)
        if known is None:
            known = self._known[model] = Behaviour.parse(model)
        return known


class _Tracked(Connection):
    """A connection that leaves the server's list when it ends."""

    def __init__(
        self,
        number: int,
        record: Callable[[Received], None],
        behaviour: Callable[[str, str], Behaviour],
        register: set[Connection],
    ) -> None:
        super().__init__(number, record, behaviour)
        self._register = register

    def connection_lost(self, exc: Exception | None) -> None:
        self._register.discard(self)
        super().connection_lost(exc)


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderServer]:
    """The scripted provider, one for all tests; tell requests apart by what is in them."""
    server = ProviderServer()
    server.start()
    yield server
    server.stop()


def main() -> None:
    """Run by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--keep", type=int, default=1000, help="requests to remember")
    parser.add_argument("--control", action="store_true", help="take orders on stdin, see provider_process")
    arguments = parser.parse_args()
    server = ProviderServer(arguments.port, arguments.keep)

    def ready() -> None:
        print(f"listening on {server.url}", flush=True)
        if arguments.control:
            orders = asyncio.ensure_future(_take_orders(server))
            orders.add_done_callback(lambda _: server.end())

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(ready))


async def _take_orders(server: ProviderServer) -> None:
    """One order a line, one answer a line: `behave SHARE TRAITS`, `shut`, `open`, `count`."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["behave", share, *traits]:
                server.behave("".join(traits), float(share))
            case ["shut"]:
                server.shut()
            case ["open"]:
                await server.open()
            case _:
                pass
        print(server.count, flush=True)


if __name__ == "__main__":
    main()
