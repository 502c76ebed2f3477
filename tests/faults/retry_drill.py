"""The drill of the promise that trouble is not multiplied: how many calls upstream a client's request becomes.

    python -m tests.faults.retry_drill
    python -m tests.faults.retry_drill --rate 200 --seconds 30 --share 0.3

A share of a provider's answers are errors. Three routes are asked: one with that provider alone, one with a good
provider behind it, and one with two that are as bad. Calls upstream over requests must stay at 1.3 or below, the few
extra calls that every route may begin with aside; with a good provider behind it no request may fail. Then callers
leave while their first call is under way, which is about to fail: that must cause no further call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.load import Load
from tests.support.provider_process import ProviderProcess, provider_process
from tests.support.server import RunningServer
from tests.support.sockets import Caller, request_bytes
from tests.support.waiting import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST = 1.3
#: What a route may spend before it has earned anything.
_RESERVE = 10
_CALLERS = 20
ROUTES = {
    "one provider": ["bad/test"],
    "a good one behind it": ["bad/test", "good/test"],
    "two bad ones": ["bad/test", "worse/test"],
}

_CONFIG = """
[limits]
rps_per_user = 100000

[defaults.retry]
backoff = 0.05
"""


@dataclass
class Storm:
    """What became of the requests of one route."""

    route: str
    requests: int
    failed: int
    calls: int

    @property
    def factor(self) -> float:
        """Calls upstream for each request."""
        return self.calls / self.requests

    @property
    def contained(self) -> bool:
        """Whether the calls stayed within their bound, and nobody saw an error that another provider could mend."""
        mended = self.failed == 0 or self.route != "a good one behind it"
        return self.calls <= MOST * self.requests + _RESERVE and mended

    def __str__(self) -> str:
        return (
            f"{self.route:22} {self.requests} requests, {self.calls} calls upstream: {self.factor:.3f} for each, "
            f"{self.failed} failed"
        )


def config(providers: dict[str, ProviderProcess]) -> str:
    """A configuration with these providers and the routes of the drill."""
    parts = [_CONFIG]
    for name, provider in providers.items():
        parts.append(
            f'[providers.{name}]\napi = "openai"\nbase_url = "{provider.url}/v1"\napi_keys = ["sk-x"]\n'
        )
    for number, targets in enumerate(ROUTES.values()):
        parts.append(f"[routes.storm{number}]\ntargets = {json.dumps(targets)}\n")
    return "\n".join(parts)


async def drill(
    server: RunningServer,
    providers: dict[str, ProviderProcess],
    *,
    rate: float,
    seconds: float,
    share: float,
) -> AsyncIterator[Storm]:
    """Ask every route while a share of the answers are errors."""
    for name in ("bad", "worse"):
        providers[name].behave("status=500", share)
    for number, route in enumerate(ROUTES):
        before = sum(provider.count for provider in providers.values())
        requests = [_request(server, f"storm{number}", stream=stream) for stream in (False, True)]
        load = Load(server.port, rate, lambda n, requests=requests: requests[n % 2])  # type: ignore[misc] # bound now
        load.start()
        await asyncio.sleep(seconds)
        await load.stop()
        calls = sum(provider.count for provider in providers.values()) - before
        failed = sum(not outcome.good for outcome in load.outcomes)
        yield Storm(route, load.asked, failed, calls)


async def leavers(server: RunningServer, providers: dict[str, ProviderProcess], pause: float = 0.6) -> int:
    """Callers who leave before their first call fails; returns the calls beyond those first ones.

    Args:
        server: with the routes of the drill.
        providers: of which the bad one fails.
        pause: seconds until it does.
    """
    providers["bad"].behave(f"pause={pause}+status=500")
    before = sum(provider.count for provider in providers.values())
    callers = [Caller(server.url, server.admin_key) for _ in range(_CALLERS)]
    for number, caller in enumerate(callers):
        body = json.loads(_body("storm1" if number % 2 else "storm0", stream=number % 4 < 2))
        await caller.send("/v1/chat/completions", body)
    await happens(lambda: sum(provider.count for provider in providers.values()) - before >= _CALLERS)
    for caller in callers:
        caller.hang_up(reset=False)
    await asyncio.sleep(pause + 1)
    return sum(provider.count for provider in providers.values()) - before - _CALLERS


def _body(model: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "The quick brown fox."}]
    return json.dumps({"model": model, "stream": stream, "messages": messages}).encode()


def _request(server: RunningServer, model: str, *, stream: bool) -> bytes:
    return request_bytes("/v1/chat/completions", server.admin_key, _body(model, stream=stream))


async def _main(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="storm")))
        providers = {name: stack.enter_context(provider_process()) for name in ("bad", "worse", "good")}
        server = RunningServer(folder, config(providers))
        stack.callback(server.close)
        server.start()
        good = True
        options = {"rate": arguments.rate, "seconds": arguments.seconds, "share": arguments.share}
        async for storm in drill(server, providers, **options):
            good = good and storm.contained
            print(storm, flush=True)
        for name in ("bad", "worse"):
            providers[name].behave()
        await asyncio.sleep(9)  # whatever breaker is open closes again
        await _calm(server, arguments.rate)
        extra = await leavers(server, providers)
        print(f"{_CALLERS} callers left: {extra} further calls")
    print("contained" if good and extra == 0 else "A STORM")
    return 0 if good and extra == 0 else 1


async def _calm(server: RunningServer, rate: float) -> None:
    """Some good answers on every route, so that all targets are asked again."""
    for number in range(len(ROUTES)):
        request = _request(server, f"storm{number}", stream=False)
        load = Load(server.port, rate, lambda _, request=request: request)  # type: ignore[misc] # bound now
        load.start()
        await asyncio.sleep(1)
        await load.stop()


def main() -> int:
    """Run at a terminal; the exit code is 1 when there was a storm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20, help="for each route")
    parser.add_argument("--share", type=float, default=0.3, help="of the answers that are errors")
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
