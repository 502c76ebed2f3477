"""The drill of the promise that nobody overspends: many callers on one cap, kill -9 in between, compare.

    python -m tests.faults.budget_drill --workers 1 --database sqlite
    python -m tests.faults.budget_drill --workers 4 --database postgres --redis own --kills 6

Callers on keep-alive connections ask without pause, half of them for streams, all of one tenant that has one cap. A
watcher reads the database many times a second: what was spent must never be above the cap, nor what was spent and held
together. In between a server process is killed and comes back. When nobody gets an answer any more, at least 97 % of
the cap must be used, and the costs of the rows in the ledger must add up to what was spent, to the nano-dollar.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kill_drill import provider_process
from tests.support.conversations import user
from tests.support.postgres import Cluster
from tests.support.redis import RedisServer
from tests.support.server import RunningServer, provider_config
from tests.support.sockets import request_bytes

MODEL = "openai/gpt-5-mini+words=60"
#: What gpt-5-mini costs.
PRICES = f"""
[models."{MODEL}"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
"""
#: When no caller got an answer for so long, and all were refused meanwhile, the cap is used up.
QUIET_SECONDS = 4.0
#: When nothing happens for so long, nothing will.
_NOTHING = 120.0
_SAMPLE_SECONDS = 0.02


@dataclass
class Outcome:
    """What the drill has seen."""

    cap_nusd: int
    spent_nusd: int = 0
    ledger_nusd: int = 0
    ledger_tokens: int = 0
    spent_tokens: int = 0
    highest_spent: int = 0
    highest_together: int = 0
    samples: int = 0
    kills: int = 0
    seconds: float = 0
    check_agrees: bool = False
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def used(self) -> float:
        """The share of the cap that was spent."""
        return self.spent_nusd / self.cap_nusd

    @property
    def good(self) -> bool:
        """Whether the promise was kept."""
        return (
            self.highest_spent <= self.cap_nusd
            and self.highest_together <= self.cap_nusd
            and self.spent_nusd == self.ledger_nusd
            and self.spent_tokens == self.ledger_tokens
            and self.used >= 0.97
            and self.check_agrees
        )

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.kills} kills, {dict(self.answers)}\n"
            f"cap {self.cap_nusd} nano-dollars, spent {self.spent_nusd} ({self.used:.2%}), ledger {self.ledger_nusd}; "
            f"tokens {self.spent_tokens}, ledger {self.ledger_tokens}\n"
            f"{self.samples} samples: highest spent {self.highest_spent}, with leases {self.highest_together}; "
            f"`mainspring check` {'agrees' if self.check_agrees else 'DIFFERS'}: {'GOOD' if self.good else 'BROKEN'}"
        )


class Reader:
    """The counters, read from the database itself."""

    def __init__(self, database: str, folder: Path) -> None:
        if database.startswith("postgresql"):
            import psycopg  # noqa: PLC0415 - only the Postgres drill needs the driver

            self._connection: Any = psycopg.connect(database, autocommit=True)
        else:
            path = folder / ".mainspring" / "mainspring.db"
            self._connection = sqlite3.connect(path, check_same_thread=False, timeout=5)

    def one(self, sql: str) -> tuple[int, ...]:
        """The first row of a query, as whole numbers."""
        return tuple(int(value or 0) for value in self._connection.execute(sql).fetchone())

    def close(self) -> None:
        """Let go."""
        self._connection.close()

    def sample(self) -> tuple[int, int]:
        """What was spent, and what was spent and is held, at one instant."""
        spent, held = self.one(
            "SELECT (SELECT SUM(nusd) FROM budget_spent),"
            " (SELECT SUM(CASE WHEN nusd > 0 THEN nusd ELSE 0 END) FROM budget_leases)"
        )
        return spent, spent + held


class _Caller(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it was answered, and a little later when refused."""

    def __init__(self, seen: Counter[str], load: Load, request: bytes) -> None:
        self._seen = seen
        self._load = load
        self._request = request
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

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
        elif len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        status = head[9:12].decode()
        self._seen[status] += 1
        assert self._transport is not None
        self._buffer.clear()
        if status == "200":
            self._load.touch()
            self._transport.write(self._request)
        else:
            self._load.refuse()
            asyncio.get_running_loop().call_later(0.1, self._again)

    def _again(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


class Load:
    """Callers that reconnect for as long as the cap lasts."""

    def __init__(
        self, server: RunningServer, key: str, clients: int, seen: Counter[str], quiet: float
    ) -> None:
        self._server = server
        self._quiet = quiet
        self._seen = seen
        self._clients = clients
        self._templates = [_template(key, stream=stream) for stream in (False, True)]
        self._last = time.monotonic()
        self._refused = 0
        self.running = True
        #: The server is away, and nobody can be answered.
        self.paused = False

    def touch(self) -> None:
        """Somebody got an answer, or cannot be expected to."""
        self._last = time.monotonic()
        self._refused = 0

    def refuse(self) -> None:
        """Somebody was refused."""
        self._refused += 1

    @property
    def over(self) -> bool:
        """Whether nobody got an answer for a while, although all of them have asked: it is not the machine that is slow."""
        quiet = time.monotonic() - self._last
        return (
            not self.paused
            and quiet >= self._quiet
            and (self._refused >= 2 * self._clients or quiet > _NOTHING)
        )

    async def run(self) -> None:
        """Ask until nobody was answered for a while."""
        callers = [asyncio.create_task(self._caller(n)) for n in range(self._clients)]
        while not self.over:  # noqa: ASYNC110 - it is about time going by
            await asyncio.sleep(0.05)
        self.running = False
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    async def _caller(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                transport, caller = await loop.create_connection(
                    lambda: _Caller(self._seen, self, self._templates[number % 2]),
                    "127.0.0.1",
                    self._server.port,
                )
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                await caller.lost
                self._seen["cut"] += 1
            finally:
                transport.close()


def _template(key: str, *, stream: bool) -> bytes:
    body = {"model": MODEL, "max_tokens": 100, "stream": stream, "messages": user("The quick brown fox.")}
    return request_bytes("/v1/chat/completions", key, json.dumps(body).encode(), {})


def drill(  # noqa: PLR0917 - what a drill is made of
    cap_usd: float,
    clients: int,
    workers: int,
    kills: int,
    database: str,
    folder: Path,
    *,
    extra: str = "",
    seed: int = 1,
    quiet: float = QUIET_SECONDS,
) -> Outcome:
    """Run the drill.

    Args:
        cap_usd: dollars of the one cap.
        clients: callers at once.
        workers: server processes.
        kills: how often a server process is killed before the cap is used up.
        database: URL, or an empty text for SQLite in the folder.
        folder: where the server lives.
        extra: more of the configuration.
        seed: of the moments of the kills.
        quiet: seconds without an answer after which the cap is used up.
    """
    outcome = Outcome(round(cap_usd * 1_000_000_000))
    with provider_process() as provider_url:
        config = provider_config(provider_url) + PRICES + "\n[limits]\nrps_per_user = 0\n" + extra
        server = RunningServer(folder, config, database=database, workers=workers)
        try:
            server.start()
            _wait_for(workers, Reader(database, folder))
            key = server.create_key("drill")
            made = server.client.post(
                "/api/v1/budgets", json={"scope": {"tenant": "acme"}, "usd": cap_usd, "window": "total"}
            )
            assert made.status_code == 201, made.text
            started = time.monotonic()
            _under_load(server, key, clients, kills, outcome, database, seed, quiet)
            outcome.seconds = time.monotonic() - started
            if not server.running:
                server.start()
            _compare(server, outcome, database)
        finally:
            server.close()
    return outcome


def _wait_for(workers: int, reader: Reader) -> None:
    """Wait until every process is there, so that callers are spread over them."""
    limit = time.monotonic() + 90
    while reader.one("SELECT COUNT(*) FROM budget_holders")[0] < workers:
        assert time.monotonic() < limit, "not all processes are there"
        time.sleep(0.1)
    reader.close()


def _under_load(  # noqa: PLR0917 - as above
    server: RunningServer,
    key: str,
    clients: int,
    kills: int,
    outcome: Outcome,
    database: str,
    seed: int,
    quiet: float,
) -> None:
    over = threading.Event()

    def watch() -> None:
        reader = Reader(database, server.folder)
        while not over.is_set():
            spent, together = reader.sample()
            outcome.samples += 1
            outcome.highest_spent = max(outcome.highest_spent, spent)
            outcome.highest_together = max(outcome.highest_together, together)
            time.sleep(_SAMPLE_SECONDS)
        reader.close()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()

    async def work() -> None:
        load = Load(server, key, clients, outcome.answers, quiet)
        running = asyncio.create_task(load.run())
        await _kill(server, load, outcome, kills, random.Random(seed))
        await running

    asyncio.run(work())
    over.set()
    watcher.join()


async def _kill(server: RunningServer, load: Load, outcome: Outcome, kills: int, dice: random.Random) -> None:
    """Kill a process each time another part of the cap is spent."""
    for number in range(kills):
        part = outcome.cap_nusd * (number + 0.5) / (kills + 1)
        while load.running and outcome.highest_spent < part:  # noqa: ASYNC110 - the watcher is another thread
            await asyncio.sleep(0.01)
        if not load.running:
            return
        await asyncio.sleep(dice.uniform(0, 0.1))
        children = workers_of(server.pid)
        outcome.kills += 1
        if len(children) > 1:
            os.kill(dice.choice(children), signal.SIGKILL)
        else:
            load.paused = True
            server.kill()
            server.start()  # not in a thread, with which the server would end
        load.touch()
        load.paused = False


def workers_of(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _compare(server: RunningServer, outcome: Outcome, database: str) -> None:
    reader = Reader(database, server.folder)
    before: tuple[int, ...] = ()
    while True:  # whoever was cut is recorded a moment later
        now = (
            *reader.one("SELECT SUM(nusd), SUM(tokens) FROM budget_spent"),
            *reader.one(
                "SELECT SUM(cost_nusd), SUM(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens"
                " + reasoning_tokens) FROM inferences WHERE tenant = 'acme'"
            ),
        )
        if now == before:
            break
        before = now
        time.sleep(1)
    outcome.spent_nusd, outcome.spent_tokens, outcome.ledger_nusd, outcome.ledger_tokens = now
    outcome.highest_spent = max(outcome.highest_spent, outcome.spent_nusd)
    reader.close()
    findings = json.loads(server.command("check", "--json").stdout)["items"]
    found = [finding for finding in findings if finding["subject"] == "budgets"]
    outcome.check_agrees = bool(found) and all(finding["works"] for finding in found)


def main() -> int:
    """Run at a terminal; the exit code is 1 when the promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cap", type=float, default=1.0, help="dollars")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--redis", default="", help="URL of a Redis for [storage] shared, or own")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill")))
        redis = arguments.redis
        if redis == "own":
            server = RedisServer()
            server.start()
            stack.callback(server.kill)
            redis = server.url
        extra = f'\n[storage]\nshared = "{redis}"\n' if redis else ""
        database = stack.enter_context(Cluster.started()).url if arguments.database == "postgres" else ""
        outcome = drill(
            arguments.cap,
            arguments.clients,
            arguments.workers,
            arguments.kills,
            database,
            folder,
            extra=extra,
            seed=arguments.seed,
        )
    print(outcome)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
