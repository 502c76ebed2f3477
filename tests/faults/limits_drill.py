"""The drill of the promise that limits hold exactly: several processes, many callers, Redis killed in between.

    python -m tests.faults.limits_drill                     requests a second, and tokens a minute
    python -m tests.faults.limits_drill --outage            with Redis killed and started again in the middle
    python -m tests.faults.limits_drill --seconds 30 --workers 4 --callers 64 --users 1

Callers on keep-alive connections ask for their users much more often than the limits allow, and wait a moment after
each answer. What was let through is compared with the rule: a burst, and the rate for as long as the drill lasted. An
answer with status 429 is what limits are for; any other status and any broken connection is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.provider_server import ProviderServer
from tests.support.redis import RedisServer
from tests.support.server import RunningServer, provider_config
from tests.support.sockets import request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

RPS = 10
#: A limit on tokens that a fifth of the offered load would use up, and seconds of it that may come at once.
TOKENS_PER_MINUTE = 60_000
TOKENS_BURST_SECONDS = 5
#: What an answer of the scripted provider uses.
PROMPT, WORDS = 80, 40
#: Answers that a caller takes on one connection.
_ANSWERS_EACH = 7


@dataclass
class Seen:
    """What the callers of one user saw."""

    admitted: int = 0
    denied: int = 0
    tokens: int = 0
    first: float = 0.0
    last: float = 0.0
    first_answer: float = 0.0
    last_answer: float = 0.0

    @property
    def shortest(self) -> float:
        """Seconds for which the limit has judged at least: until the last request came, when the first had been judged."""
        return max(0.0, self.last - self.first_answer)

    @property
    def longest(self) -> float:
        """Seconds for which it has judged at most: from the first request to the last answer."""
        return self.last_answer - self.first


@dataclass
class Result:
    """What came of one drill."""

    kind: str
    users: dict[str, Seen]
    failures: Counter[str]

    def rule(self, seconds: float) -> float:
        """What the limit lets one user have in this time."""
        if self.kind == "requests":
            return RPS + RPS * seconds
        return TOKENS_PER_MINUTE / 60 * (TOKENS_BURST_SECONDS + seconds)

    def had(self, user: str) -> int:
        """Requests or tokens that were let through."""
        return self.users[user].admitted if self.kind == "requests" else self.users[user].tokens

    def least(self, user: str) -> float:
        """How much of what a limit lets through in the longest possible time one had: 1 is all of it, more is too much."""
        return self.had(user) / self.rule(self.users[user].longest)

    def most(self, user: str) -> float:
        """The same for the shortest possible time: less than 1 is too little."""
        return self.had(user) / self.rule(self.users[user].shortest)

    def lines(self) -> Iterator[str]:
        """For people."""
        for name, seen in self.users.items():
            yield (
                f"{self.kind:9} {name}: {self.had(name)} let through of {self.rule(seen.longest):.1f} in"
                f" {seen.longest:.1f} s = {100 * self.least(name):.2f} to {100 * self.most(name):.2f} %"
                f" ({seen.admitted} answers, {seen.denied} denials)"
            )
        yield f"          failures: {dict(self.failures) or 'none'}"


class _Caller(asyncio.Protocol):
    """One caller, who asks again a moment after each answer, and now and then on a new connection, so that the workers
    have about the same number of them."""

    def __init__(  # noqa: PLR0917 - one call, right below
        self, seen: Seen, failures: Counter[str], request: bytes, pause: float, end: float, port: int
    ) -> None:
        self._seen, self._failures, self._request = seen, failures, request
        self._pause, self._end = pause, end
        self._buffer = bytearray()
        self._port = port
        self._left = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._left = _ANSWERS_EACH
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        body = self._buffer[head_end + 4 :]
        if len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._count(head[9:12], bytes(body))
        self._buffer.clear()
        self._left -= 1
        loop = asyncio.get_running_loop()
        if self._left or time.monotonic() >= self._end:
            loop.call_later(self._pause, self._ask)
            return
        assert self._transport is not None
        self._transport.close()
        again = loop.create_task(loop.create_connection(lambda: self, "127.0.0.1", self._port))
        self._tasks.add(again)
        again.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done() and self._left:
            self._failures["connection broken"] += 1
            self.done.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        if time.monotonic() >= self._end:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._seen.last = time.monotonic()
        self._seen.first = self._seen.first or self._seen.last
        self._transport.write(self._request)

    def _count(self, status: bytes, body: bytes) -> None:
        self._seen.last_answer = time.monotonic()
        self._seen.first_answer = self._seen.first_answer or self._seen.last_answer
        if status == b"200":
            usage = json.loads(body)["usage"]
            self._seen.admitted += 1
            self._seen.tokens += usage["prompt_tokens"] + usage["completion_tokens"]
        elif status == b"429" and b"rate_limit_exceeded" in body:
            self._seen.denied += 1
        else:
            self._failures[f"status {status.decode()}"] += 1


async def _load(
    server: RunningServer, key: str, *, users: int, callers: int, seconds: float, pause: float
) -> tuple[dict[str, Seen], Counter[str]]:
    seen = {f"user-{number}": Seen() for number in range(users)}
    failures: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    made = []
    for number in range(callers):
        name = f"user-{number % users}"
        body = {
            "model": f"openai/test+input={PROMPT}+words={WORDS}",
            "messages": [{"role": "user", "content": "words " * PROMPT}],
            "user": name,
        }
        if number // users % 2:
            body["max_tokens"] = 300
        request = request_bytes("/v1/chat/completions", key, json.dumps(body).encode())
        caller = _Caller(seen[name], failures, request, pause, began + seconds, server.port)
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", server.port)  # type: ignore[misc] # mypy cannot infer a lambda with a default
        made.append(caller)
    await asyncio.wait([caller.done for caller in made], timeout=seconds + 60)
    return seen, failures


async def _outage(redis: RedisServer, seconds: float) -> None:
    """Kill Redis after a third of the time, and start it again after a half."""
    await asyncio.sleep(seconds / 3)
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(seconds / 6)
    await asyncio.to_thread(redis.start)


def drill(
    kind: str,
    folder: Path,
    *,
    workers: int = 4,
    callers: int = 64,
    users: int = 1,
    seconds: float = 30,
    pause: float = 0.1,
    outage: bool = False,
) -> Result:
    """Run one drill.

    Args:
        kind: `requests` or `tokens`: which limit is on.
        folder: of the server.
        workers: processes of the server.
        callers: connections.
        users: for whom they ask, in turn.
        seconds: how long.
        pause: of each caller after each answer.
        outage: whether Redis is killed and started again meanwhile.
    """
    limit = (
        f"rps_per_user = {RPS}"
        if kind == "requests"
        else f"rps_per_user = 0\ntokens_per_minute_per_user = {TOKENS_PER_MINUTE}"
    )
    provider, redis = ProviderServer(), RedisServer()
    provider.start()
    redis.start()
    config = (
        provider_config(provider.url)
        + f"\n[limits]\n{limit}\ntokens_burst_seconds = {TOKENS_BURST_SECONDS}\n"
    )
    # Callers, provider, server and Redis have the same few cores: that one of them waits for a core is no outage.
    storage = {"MAINSPRING_STORAGE__SHARED": redis.url, "MAINSPRING_STORAGE__SHARED_TIMEOUT_MS": "500"}
    server = RunningServer(folder, config, workers=workers, env=storage)
    try:
        server.start()
        key = server.create_key()
        _wait_for_all(server, key, workers)

        async def run() -> tuple[dict[str, Seen], Counter[str]]:
            breaking = asyncio.create_task(_outage(redis, seconds)) if outage else None
            found = await _load(server, key, users=users, callers=callers, seconds=seconds, pause=pause)
            if breaking is not None:
                await breaking
            return found

        seen, failures = asyncio.run(run())
        return Result(kind, seen, failures)
    finally:
        server.close()
        redis.kill()
        provider.stop()


def _wait_for_all(server: RunningServer, key: str, workers: int) -> None:
    """Until every worker serves, shares and knows the key."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        status = server.client.get("/api/v1/limits").json()["shared"]
        if status["processes"] >= workers and status["working"]:
            time.sleep(1.5)  # the key is known everywhere within a second
            return
        time.sleep(0.2)
    raise AssertionError(f"not all of {workers} workers came up:\n{server.log()}")


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--callers", type=int, default=64)
    options.add_argument("--users", type=int, default=1)
    options.add_argument("--pause", type=float, default=0.1)
    options.add_argument("--outage", action="store_true")
    arguments = vars(options.parse_args())
    good = True
    for kind, most in (("requests", 0.01), ("tokens", 0.02)):
        with tempfile.TemporaryDirectory(prefix="mainspring-limits-") as folder:
            result = drill(kind, Path(folder), **arguments)
        print(*result.lines(), sep="\n", flush=True)
        good &= not result.failures and all(
            result.least(user) <= 1 + most and result.most(user) >= 1 - most for user in result.users
        )
    print("kept" if good else "NOT KEPT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
