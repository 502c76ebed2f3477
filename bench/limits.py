"""What limits cost in CPU for each request, within one process: `.venv/bin/python bench/limits.py`.

The whole gateway answers chats of 1 kB for a user, 64 at a time, on a real SQLite file and with a provider that answers
at once from memory. Each way to keep limits is measured against none at all, in turns on one process, so that what the
machine does meanwhile hits both: the figure is the difference of the lower quartiles of both sides. With Redis, a real server
answers on loopback; its own CPU is not counted. `governing.py` measures whole servers, and others beside them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scenarios
import steps
import uvloop

from mainspring.base.settings import LimitsSettings, ProviderSettings, Settings
from mainspring.gateway import Attribution
from mainspring.limits import Limits
from mainspring.store.shared import open_shared
from mainspring.web.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from mainspring.providers.types import Call

PAIRS = 40
TOGETHER = (1, 64)
REQUESTS = 320
NONE = LimitsSettings(rps_per_user=0)
USUAL = LimitsSettings(rps_per_user=10_000_000)
ALL = LimitsSettings(
    rps_per_user=10_000_000,
    rps_per_key=10_000_000,
    rps_per_tenant=10_000_000,
    tokens_per_minute_per_user=2_000_000_000,
    concurrency_per_user=1000,
)


async def ask(runtime: Runtime, limits: Limits, body: bytes, together: int) -> float:
    """Microseconds of CPU of one request."""
    gateway: Any = runtime.gateway
    gateway._limits = limits  # noqa: SLF001 - the one difference between the two sides of a pair

    async def caller(count: int) -> None:
        for number in range(count):
            exchange = steps.exchange(body, scenarios.ADMIN_KEY)
            exchange.attribution = Attribution(user=f"user-{number % 50}")
            await gateway.handle(exchange)

    began = time.process_time()
    await asyncio.gather(*(caller(REQUESTS // together) for _ in range(together)))
    return (time.process_time() - began) / (REQUESTS // together * together) * 1e6


def quarter(values: list[float]) -> float:
    """The lower quartile: what it costs where little else is going on."""
    return statistics.quantiles(values, n=4)[0]


async def opened(folder: Path) -> Runtime:
    """A runtime whose provider answers at once."""
    settings = Settings(
        storage={"database": f"sqlite:///{folder}/limits.db", "blobs": f"file://{folder}/blobs"},
        providers={"bench": ProviderSettings(base_url="http://127.0.0.1:9/v1", api_keys=["none"])},
        admin_key=scenarios.ADMIN_KEY,
    )
    runtime = await Runtime.open(settings)
    gc.collect()  # as a server does it
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)

    async def call(asked: Call) -> steps.MemoryReply:
        return steps.MemoryReply(stream=asked.stream)

    provider: Any = runtime.providers.get("bench")
    provider.call = call
    return runtime


async def measure(folder: Path, redis: RedisServer) -> list[tuple[str, dict[int, float]]]:
    body = scenarios.request_body(steps.PATH, 1024, "bench/bench")
    async with AsyncExitStack() as stack:
        runtime = await opened(folder)
        stack.push_async_callback(runtime.close)
        made: dict[str, Limits] = {}
        for where, url in (("memory", "memory://"), ("Redis", redis.url)):
            shared = open_shared(url, timeout_seconds=1)
            await shared.start()
            stack.push_async_callback(shared.close)
            made[f"requests of each user, in {where}"] = Limits(shared, USUAL, runtime.meter)
            made[f"five limits at once, in {where}"] = Limits(shared, ALL, runtime.meter)
            made.setdefault("", Limits(shared, NONE, runtime.meter))
        none = made.pop("")
        found: list[tuple[str, dict[int, float]]] = []
        for name, limits in made.items():
            row = {}
            for together in TOGETHER:
                with_limits, without = [], []
                for _ in range(PAIRS):
                    without.append(await ask(runtime, none, body, together))
                    with_limits.append(await ask(runtime, limits, body, together))
                row[together] = quarter(with_limits) - quarter(without)
            found.append((name, row))
        return found


def main() -> None:
    redis = RedisServer()
    redis.start()
    try:
        with tempfile.TemporaryDirectory(prefix="mainspring-limits-") as folder:
            rows = uvloop.run(measure(Path(folder), redis))
    finally:
        redis.kill()
    head = [f"| limits | {' | '.join(f'us, {n} at a time' for n in TOGETHER)} |", "|---|--:|--:|"]
    text = "\n".join(
        [*head, *(f"| {name} | {' | '.join(f'{row[n]:.1f}' for n in TOGETHER)} |" for name, row in rows)]
    )
    print(text)


if __name__ == "__main__":
    main()
