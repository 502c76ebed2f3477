"""The drill of the promise that the first outage goes by unnoticed: two providers, steady load, the first one dies.

    python -m tests.faults.outage_drill                           every way to die, 200 requests a second
    python -m tests.faults.outage_drill --only hang,refusal --rate 100 --seconds 12

Half of the requests are streams. Before each outage the same load runs for some seconds without one: what an outage
adds is the difference. Judged are: requests that failed (none may), the 99th percentile in the first two seconds (0.5 s
more at most) and after them (20 ms more at most; the breaker is open by then, and probes go on), and how long after
the provider's return it is asked again (10 s at most). The noise is how far the first and the second half of the quiet
time before an outage are apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.load import Load, Outcome, quantile
from tests.support.provider_process import ProviderProcess, provider_process
from tests.support.server import RunningServer
from tests.support.sockets import request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: How the first provider dies; the last one breaks streams of which the caller has a part already.
WAYS = {
    "refusal": "",
    "hang": "hang=headers",
    "500": "status=500",
    "429 storm": "status=429+retry_after=2",
    "cut": "cut=start",
    "cut in content": "cut=content+words=12",
}
_FIRST_SECONDS = 2.0
#: What an outage may add to the 99th percentile at first, and when the breaker is open.
ADDED_FIRST, ADDED_LATER = 0.5, 0.02
RECOVERY_SECONDS = 10.0

CONFIG = """
[providers.first]
api = "openai"
base_url = "{first}/v1"
api_keys = ["sk-first"]

[providers.second]
api = "openai"
base_url = "{second}/v1"
api_keys = ["sk-second"]

[routes.drill]
targets = ["first/test", "second/test"]
resume = true

[limits]
rps_per_user = 100000
"""


@dataclass
class Outage:
    """What one outage did to the callers. Times are seconds; the added ones are differences of 99th percentiles."""

    way: str
    requests: int = 0
    failed: int = 0
    quiet: float = 0.0
    noise: float = 0.0
    added_first: float = 0.0
    added_later: float = 0.0
    worst: float = 0.0
    recovered: float = 0.0
    told: set[str] = field(default_factory=set)

    @property
    def unnoticed(self) -> bool:
        """Whether nobody got an error, and the provider was asked again in time."""
        return self.failed == 0 and self.recovered <= RECOVERY_SECONDS

    @property
    def quick(self) -> bool:
        """Whether it added no more time than it may, the noise aside."""
        return self.added_first <= ADDED_FIRST + self.noise and self.added_later <= ADDED_LATER + self.noise

    def __str__(self) -> str:
        return (
            f"{self.way:15} {self.requests:5} requests, {self.failed} failed; p99 {1000 * self.quiet:.0f} ms before "
            f"(noise {1000 * self.noise:.0f}), {1000 * self.added_first:+.0f} ms in the first two seconds, "
            f"{1000 * self.added_later:+.0f} ms after them, slowest {1000 * self.worst:.0f} ms; "
            f"asked again {self.recovered:.1f} s after its return"
            + "".join(f"\n    {words}" for words in sorted(self.told)[:3])
        )


async def drill(
    server: RunningServer,
    first: ProviderProcess,
    ways: list[str],
    *,
    rate: float,
    quiet: float,
    seconds: float,
    patience: float = RECOVERY_SECONDS + 5,
) -> AsyncIterator[Outage]:
    """Run the outages one after another.

    Args:
        server: with the route `drill`.
        first: the provider that dies.
        ways: how.
        rate: requests a second.
        quiet: seconds before each outage.
        seconds: of each outage.
        patience: seconds to wait for the provider to be asked again.
    """
    requests = [_request(server, stream=stream) for stream in (False, True)]
    load = Load(server.port, rate, lambda number: requests[number % 2])
    load.start()
    await asyncio.sleep(1)  # the first requests open connections
    try:
        for way in ways:
            before = time.monotonic()
            await asyncio.sleep(quiet)
            down = time.monotonic()
            _die(first, way)
            await asyncio.sleep(seconds)
            back = time.monotonic()
            _live(first, way)
            outage = Outage(way, recovered=await _recovery(load, back, patience))
            _judge(outage, load, before, down, back)
            yield outage
    finally:
        await load.stop()


def _die(provider: ProviderProcess, way: str) -> None:
    if way == "refusal":
        provider.shut()
    else:
        provider.behave(WAYS[way])


def _live(provider: ProviderProcess, way: str) -> None:
    if way == "refusal":
        provider.open()
    else:
        provider.behave()


async def _recovery(load: Load, back: float, patience: float) -> float:
    """Wait until the first provider answers nearly everybody again; returns when it answered for the first time."""
    limit = time.monotonic() + patience
    first = float("inf")
    while time.monotonic() < limit:
        await asyncio.sleep(0.2)
        now = time.monotonic()
        again = [o.ended for o in load.between(back, now) if o.provider == "first" and o.good]
        if again:
            first = min(first, min(again) - back)
        lately = load.between(now - 0.6, now - 0.1)
        if lately and sum(o.provider == "first" for o in lately) >= 0.95 * len(lately):
            break
    return first


def _judge(outage: Outage, load: Load, before: float, down: float, back: float) -> None:
    middle = (before + down) / 2
    halves = [quantile(load.between(before, middle), 0.99), quantile(load.between(middle, down), 0.99)]
    outage.quiet = quantile(load.between(before, down), 0.99)
    outage.noise = abs(halves[0] - halves[1])
    outage.added_first = quantile(load.between(down, down + _FIRST_SECONDS), 0.99) - outage.quiet
    outage.added_later = quantile(load.between(down + _FIRST_SECONDS, back), 0.99) - outage.quiet
    every: list[Outcome] = load.between(before, time.monotonic())
    outage.requests = len(every)
    outage.worst = max(outcome.seconds for outcome in every)
    bad = [outcome for outcome in every if not outcome.good]
    outage.failed = len(bad)
    outage.told = {outcome.told for outcome in bad}


def _request(server: RunningServer, *, stream: bool) -> bytes:
    body = {
        "model": "drill",
        "stream": stream,
        "messages": [{"role": "user", "content": "The quick brown fox."}],
    }
    return request_bytes("/v1/chat/completions", server.admin_key, json.dumps(body).encode())


async def _main(arguments: argparse.Namespace) -> int:
    ways = arguments.only.split(",") if arguments.only else list(WAYS)
    good = True
    with (
        tempfile.TemporaryDirectory(prefix="outage") as folder,
        provider_process() as first,
        provider_process() as second,
    ):
        config = CONFIG.format(first=first.url, second=second.url)
        server = RunningServer(Path(folder), config)
        try:
            server.start()
            options = {"rate": arguments.rate, "quiet": arguments.quiet, "seconds": arguments.seconds}
            async for outage in drill(server, first, ways, **options):
                good = good and outage.unnoticed and outage.quick
                print(outage, flush=True)
        finally:
            server.close()
    print("nobody noticed" if good else "NOTICED")
    return 0 if good else 1


def main() -> int:
    """Run at a terminal; the exit code is 1 when anybody noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--quiet", type=float, default=6, help="seconds before each outage")
    parser.add_argument("--seconds", type=float, default=10, help="of each outage")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(WAYS)}")
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
