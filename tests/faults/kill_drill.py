"""The drill of the promise that nothing is lost: load, kill -9 at a random moment, restart, compare.

    python -m tests.faults.kill_drill --rounds 50 --database sqlite
    python -m tests.faults.kill_drill --rounds 10 --database postgres

Callers on keep-alive connections ask without pause, half of them for streams. Each request carries a name of its own
in `x-mainspring-session`. In each round the server is killed under full load and started again; then every request
whose answer completed at its caller must be in the ledger exactly once, under the id that the caller saw, and the
sums for dashboards must agree with the rows. Requests that were cut by the kill may be there or not, but never twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.conversations import user
from tests.support.postgres import Cluster
from tests.support.server import RunningServer, provider_config
from tests.support.sockets import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Callers at once; half of them stream.
CALLERS = 32
SURFACES = (
    ("/v1/chat/completions", "openai/test", False),
    ("/v1/chat/completions", "openai/test", True),
    ("/v1/messages", "anthropic/test", False),
    ("/v1/messages", "openai/test", True),
)


@dataclass
class Round:
    """What the callers of one round saw."""

    #: Name of a request whose answer completed, and the id it came under.
    completed: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    broken: int = 0
    seconds: float = 0


@dataclass
class Verdict:
    """What the ledger has of one round."""

    number: int
    completed: int
    rate: float
    broken: int
    restart_seconds: float
    missing: int = 0
    doubled: int = 0
    misnamed: int = 0
    miscounted: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return self.missing == self.doubled == self.misnamed == self.miscounted == 0


class _Caller(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it was answered."""

    def __init__(self, work: Round, next_request: Callable[[], tuple[str, bytes]]) -> None:
        self._work = work
        self._next_request = next_request
        self._buffer = bytearray()
        self._name = ""
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        body = self._buffer[head_end + 4 :]
        if b"transfer-encoding: chunked" in head:
            if not body.endswith(b"0\r\n\r\n"):
                return
            whole = b"[DONE]" in body or b"message_stop" in body
        else:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(body) < length:
                return
            whole = True
        if whole and head.startswith(b"http/1.1 200"):
            self._work.completed[self._name] = (
                head.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
            )
        else:
            self._work.refused += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._work.broken += 1
        if not self.lost.done():
            self.lost.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        self._buffer.clear()
        self._name, data = self._next_request()
        self._transport.write(data)


async def load_until_killed(server: RunningServer, key: str, number: int, seconds: float) -> Round:
    """Run the callers, kill the server after some seconds, and return what they saw."""
    work = Round()
    counter = iter(range(10**9))
    templates = [_template(key, *surface) for surface in SURFACES]

    def next_request() -> tuple[str, bytes]:
        n = next(counter)
        name = f"round-{number}-{n:08d}"
        return name, templates[n % len(templates)].replace(b"round-#-########", name.encode())

    loop = asyncio.get_running_loop()
    started = time.monotonic()
    callers = [
        (await loop.create_connection(lambda: _Caller(work, next_request), "127.0.0.1", server.port))[1]
        for _ in range(CALLERS)
    ]
    await asyncio.sleep(seconds)
    server.kill()
    work.seconds = time.monotonic() - started
    await asyncio.gather(*(caller.lost for caller in callers))
    return work


def _template(key: str, path: str, model: str, stream: bool) -> bytes:
    body = {
        "model": model,
        "max_tokens": 50,
        "stream": stream,
        "messages": user("The quick brown fox. " * 20),
    }
    return request_bytes(path, key, json.dumps(body).encode(), {"x-mainspring-session": "round-#-########"})
    # Names have one length, so that the bytes of a request need no other change.


def recorded(database: str, folder: Path) -> list[tuple[str, str]]:
    """Name and id of every row, read from the database itself."""
    query = "select session, id from inferences"
    if database.startswith("postgresql"):
        import psycopg  # noqa: PLC0415 - only the Postgres drill needs the driver

        with psycopg.connect(database) as connection:
            return [(session, str(id_)) for session, id_ in connection.execute(query).fetchall()]
    with contextlib.closing(sqlite3.connect(folder / ".mainspring" / "mainspring.db")) as connection:
        return connection.execute(query).fetchall()


def judge(number: int, work: Round, every: list[tuple[str, str]], restart_seconds: float) -> Verdict:
    """Compare what completed in a round with what is recorded."""
    rows = [row for row in every if row[0].startswith(f"round-{number}-")]
    ids = dict(rows)
    verdict = Verdict(
        number, len(work.completed), len(work.completed) / work.seconds, work.broken, restart_seconds
    )
    verdict.missing = sum(name not in ids for name in work.completed)
    verdict.doubled = len(rows) - len(ids)
    verdict.misnamed = sum(
        ids.get(name, request_id) != request_id for name, request_id in work.completed.items()
    )
    return verdict


@contextlib.contextmanager
def provider_process() -> Iterator[str]:
    """The scripted provider in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "tests.support.provider_server", "--port", "0", "--keep", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def drill(
    rounds: int, database: str, folder: Path, *, seconds: tuple[float, float], seed: int
) -> Iterator[Verdict]:
    """Run the drill; yields a verdict a round.

    Args:
        rounds: how often the server is killed.
        database: URL, or an empty text for SQLite in the folder.
        folder: where the server lives.
        seconds: shortest and longest time of load before a kill.
        seed: of the moments of the kills.
    """
    dice = random.Random(seed)
    with provider_process() as provider_url:
        server = RunningServer(folder, provider_config(provider_url), database=database)
        try:
            server.start()
            key = server.create_key("drill")
            for number in range(rounds):
                work = asyncio.run(load_until_killed(server, key, number, dice.uniform(*seconds)))
                started = time.monotonic()
                server.start()
                ready = time.monotonic() - started
                rows = recorded(database, folder)
                verdict = judge(number, work, rows, ready)
                sums = server.client.get("/api/v1/usage", params={"since": "1d"}).json()["items"]
                verdict.miscounted = len(rows) - sum(item["requests"] for item in sums)
                yield verdict
        finally:
            server.close()


def main() -> int:
    """Run at a terminal; the exit code is 1 when anything was lost, doubled or too slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seconds", type=float, nargs=2, default=(1.0, 3.0), metavar=("MIN", "MAX"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--rate", type=float, default=500, help="the load must reach this many requests/s on average"
    )
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill")))
        database = stack.enter_context(Cluster.started()).url if arguments.database == "postgres" else ""
        verdicts = []
        rounds = drill(
            arguments.rounds, database, folder, seconds=tuple(arguments.seconds), seed=arguments.seed
        )
        for verdict in rounds:
            verdicts.append(verdict)
            print(
                f"round {verdict.number + 1:3}: {verdict.completed:6} completed at {verdict.rate:5.0f}/s, "
                f"{verdict.missing} missing, {verdict.doubled} doubled, {verdict.misnamed} under another id, "
                f"{verdict.miscounted} not in the sums, "
                f"ready again after {verdict.restart_seconds:.2f} s",
                flush=True,
            )
    completed = sum(verdict.completed for verdict in verdicts)
    rate = sum(verdict.rate for verdict in verdicts) / len(verdicts)
    good = all(verdict.good for verdict in verdicts)
    print(
        f"{len(verdicts)} kills, {completed} answers completed at {rate:.0f}/s: {'nothing lost' if good else 'LOST'}"
    )
    return 0 if good and rate >= arguments.rate else 1


if __name__ == "__main__":
    sys.exit(main())
