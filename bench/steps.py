"""What each step of a request costs in CPU, without sockets, server or client: `.venv/bin/python bench/steps.py [--write]`.

Everything is the real thing on a real SQLite file; only the provider is one that answers at once from memory. Times
are CPU time of the process (the writer's thread included) divided by the repetitions: the fastest of five rounds.
`--write` puts the table into docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
import scenarios
import upstream
import uvloop

from mainspring.base.ids import new_id
from mainspring.base.settings import ProviderSettings, Settings
from mainspring.gateway import Attribution, Exchange
from mainspring.gateway.authenticate import authenticate
from mainspring.gateway.plan import plan
from mainspring.gateway.rewrite import with_model
from mainspring.gateway.settle import settle
from mainspring.ledger.types import Attempt
from mainspring.providers.sse import EventSplitter, parse_events
from mainspring.providers.translate import translation
from mainspring.providers.types import Operation
from mainspring.web.runtime import Runtime
from mainspring.web.surfaces import SURFACES, read_envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mainspring.providers.types import Call

ROUNDS = 5
TOGETHER = 64
PATH = "/v1/chat/completions"
ANSWER = upstream.CHAT.split(b"\r\n\r\n", 1)[1]
EVENTS = [f"data: {chunk}\n\n".encode() for chunk in upstream.TEXTS]


class MemoryReply:
    """An answer that is there already."""

    status = 200
    key = None

    def __init__(self, *, stream: bool) -> None:
        self.headers = {"content-type": "text/event-stream" if stream else "application/json"}

    async def read(self) -> bytes:
        return ANSWER

    async def chunks(self) -> AsyncIterator[bytes]:
        for event in EVENTS:
            yield event

    def close(self, *, ended: bool = False) -> None:
        """Nothing is open."""


class MemorySink:
    """A caller who takes everything at once."""

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert status == 200, headers

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Take it."""

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """It never is."""


def exchange(body: bytes, secret: str) -> Exchange:
    surface = SURFACES[PATH]
    return Exchange(
        dialect=surface.dialect,
        operation=surface.operation,
        envelope=read_envelope(body, surface),
        body=body,
        secret=secret,
        attribution=Attribution(),
        pass_headers={},
        sink=MemorySink(),
    )


def cost(work: Callable[[], Any], times: int) -> float:
    """Microseconds of CPU of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


async def cost_together(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """The same for something awaited, so many at a time as one busy process has open."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times // TOGETHER):
            await asyncio.gather(*(work() for _ in range(TOGETHER)))
        best = min(best, time.process_time() - began)
    return best / (times // TOGETHER * TOGETHER) * 1e6


async def measure(folder: Path) -> list[tuple[str, float]]:
    settings = Settings(
        storage={"database": f"sqlite:///{folder}/steps.db", "blobs": f"file://{folder}/blobs"},
        providers={"bench": ProviderSettings(base_url="http://127.0.0.1:9/v1", api_keys=["none"])},
        admin_key=scenarios.ADMIN_KEY,
    )
    runtime = await Runtime.open(settings)
    try:
        return [*single_steps(runtime), *await whole_ways(runtime)]
    finally:
        await runtime.close()


def single_steps(runtime: Runtime) -> list[tuple[str, float]]:
    small, large = (scenarios.request_body(PATH, size, "bench/bench") for size in (1024, 32768))
    provider = runtime.providers.get("bench")
    done = prepared(runtime, small)
    done.seen = provider.read_usage(Operation.CHAT, ANSWER)
    prices, config = runtime.providers.prices, runtime.config_hash
    to_claude = translation(Operation.CHAT, Operation.MESSAGES)
    from_claude = translation(Operation.MESSAGES, Operation.CHAT)
    assert to_claude is not None
    assert from_claude is not None
    surface = SURFACES[PATH]

    def count() -> None:
        runtime.meter.answer(
            dialect="openai.chat",
            route=None,
            provider="bench",
            model="bench",
            status=200,
            error=None,
            stream=False,
            latency_s=0.01,
            first_token_s=None,
            input_tokens=200,
            output_tokens=50,
            cost_nusd=None,
        )

    def scan() -> None:
        scanner, splitter = provider.scanner(Operation.CHAT, strip_usage=True), EventSplitter()
        for event in EVENTS:
            scanner.feed(splitter.feed(event))

    def translate() -> None:
        spoken = from_claude.stream(requested=small)
        for event in EVENTS[:-1]:
            for parsed in parse_events(event):
                spoken.feed(parsed)

    return [
        ("read the body, 1 kB", cost(lambda: read_envelope(small, surface), 20_000)),
        ("read the body, 32 kB", cost(lambda: read_envelope(large, surface), 5_000)),
        ("make the exchange and its id", cost(lambda: exchange(small, ""), 10_000)),
        ("check the key", cost(lambda: authenticate(fresh(done), runtime.keys), 20_000)),
        ("plan", cost(lambda: plan(done, runtime.gateway.planner), 20_000)),
        ("exchange the model's name, 1 kB", cost(lambda: with_model(small, "bench"), 20_000)),
        ("exchange the model's name, 32 kB", cost(lambda: with_model(large, "bench"), 5_000)),
        ("read usage off an answer", cost(lambda: provider.read_usage(Operation.CHAT, ANSWER), 20_000)),
        ("look at a chunk of a stream", cost(scan, 500) / len(EVENTS)),
        ("settle: price, row, payload", cost(lambda: settle(done, prices, config), 10_000)),
        ("count for Prometheus", cost(count, 20_000)),
        (
            "only where protocols differ: a request to Anthropic's",
            cost(lambda: to_claude.request(small, "m"), 5_000),
        ),
        ("only where protocols differ: a chunk to Anthropic's", cost(translate, 200) / len(EVENTS)),
    ]


def prepared(runtime: Runtime, body: bytes) -> Exchange:
    """An exchange as it stands before it is settled."""
    ready = exchange(body, scenarios.ADMIN_KEY)
    authenticate(ready, runtime.keys)
    plan(ready, runtime.gateway.planner)
    assert ready.plan is not None
    ready.target = ready.plan.targets[0]
    target = ready.target
    ready.attempt = Attempt(target.provider, target.model, ready.received_us)
    ready.answer.append(ANSWER)
    return ready


def fresh(done: Exchange) -> Exchange:
    """The same exchange, not yet authenticated."""
    done.principal = None
    return done


async def whole_ways(runtime: Runtime) -> list[tuple[str, float]]:
    """The ledger by itself, then the gateway from the exchange to its last byte."""
    small = scenarios.request_body(PATH, 1024, "bench/bench")
    streamed = scenarios.request_body(PATH, 1024, "bench/bench", streamed=True)
    done = prepared(runtime, small)
    done.seen = runtime.providers.get("bench").read_usage(Operation.CHAT, ANSWER)

    async def append(*, payload: bool) -> None:
        done.id = new_id()
        row, kept = settle(done, runtime.providers.prices, runtime.config_hash)
        await runtime.ledger.append(row, kept if payload else None)

    async def answer(body: bytes) -> None:
        await runtime.gateway.handle(exchange(body, scenarios.ADMIN_KEY))

    async def call(asked: Call) -> MemoryReply:
        return MemoryReply(stream=asked.stream)

    provider: Any = runtime.providers.get("bench")
    provider.call = call
    return [
        (f"ledger row, {TOGETHER} at a time", await cost_together(lambda: append(payload=False), 6_400)),
        (
            f"ledger row and payload, {TOGETHER} at a time",
            await cost_together(lambda: append(payload=True), 6_400),
        ),
        ("**the whole gateway**, a chat of 1 kB", await cost_together(lambda: answer(small), 6_400)),
        (
            "**the whole gateway**, a stream of 50 chunks",
            await cost_together(lambda: answer(streamed), 1_280),
        ),
    ]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--write", action="store_true", help="put the table into docs/reference/performance.md"
    )
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainspring-steps-") as folder:
        steps = uvloop.run(measure(Path(folder)))
    text = "\n".join(["| step | us |", "|---|--:|", *(f"| {name} | {value:,.1f} |" for name, value in steps)])
    print(text)
    if arguments.write:
        report.between("steps", text)


if __name__ == "__main__":
    main()
