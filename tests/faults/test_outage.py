"""An outage and a storm, in short. `python -m tests.faults.outage_drill` and `retry_drill` run them in full."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.faults import outage_drill, retry_drill
from tests.support.provider_process import provider_process
from tests.support.server import RunningServer

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_outage_goes_by_unnoticed(tmp_path: Path) -> None:
    with provider_process() as first, provider_process() as second:
        server = RunningServer(tmp_path, outage_drill.CONFIG.format(first=first.url, second=second.url))
        try:
            await asyncio.to_thread(server.start)
            ways = ["refusal", "hang"]
            outages = outage_drill.drill(server, first, ways, rate=30, quiet=1, seconds=2.5, patience=60)
            seen = [outage async for outage in outages]
        finally:
            server.close()
    print(*seen, sep="\n")
    assert all(outage.failed == 0 and outage.recovered < 60 for outage in seen), "\n".join(map(str, seen))


async def test_trouble_is_not_multiplied(tmp_path: Path) -> None:
    with ExitStack() as stack:
        providers = {name: stack.enter_context(provider_process()) for name in ("bad", "worse", "good")}
        server = RunningServer(tmp_path, retry_drill.config(providers))
        stack.callback(server.close)
        await asyncio.to_thread(server.start)
        storms = retry_drill.drill(server, providers, rate=50, seconds=2, share=0.3)
        seen = [storm async for storm in storms]
        print(*seen, sep="\n")
        assert all(storm.contained for storm in seen), "\n".join(map(str, seen))


async def test_who_left_causes_no_call(tmp_path: Path) -> None:
    with ExitStack() as stack:
        providers = {name: stack.enter_context(provider_process()) for name in ("bad", "worse", "good")}
        server = RunningServer(tmp_path, retry_drill.config(providers))
        stack.callback(server.close)
        await asyncio.to_thread(server.start)
        assert await retry_drill.leavers(server, providers, pause=3) == 0
