"""What `bench/run` measures, in turns: Mainspring, a bare proxy and the provider alone, one after the other, again and again.

A machine with other things to do makes every figure worse, by another factor each second. All run at the same time and are
asked for half a second each, so over the turns they are hit alike, and the ratio holds where the figures do not.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gateways
import scenarios

if TYPE_CHECKING:
    from gateways import Gateway

#: The loads of a turn: {who: {scenario: {connections: figures}}}.
Turn = dict[str, dict[str, dict[int, dict[str, float]]]]
DIRECT, PROXY, OURS = "provider alone", "bare proxy", "mainspring"


def measured(
    count: int, seconds: float, *, own: bool, proxy: Gateway | None
) -> tuple[list[Turn], dict[str, Any]]:
    """The turns, and what start, idling and load cost Mainspring once.

    Args:
        count: turns.
        seconds: length of a load.
        own: our own provider even if the harness's is there.
        proxy: the bare proxy, if there is one here.
    """
    upstream = scenarios.free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-bench-")))
        command, log = gateways.provider(upstream, folder, own=own), folder / "upstream.log"
        stack.enter_context(scenarios.started(command, scenarios.LOAD_CPU, log))
        alone = scenarios.Target(upstream)
        alone.ready(log)
        targets = {DIRECT: alone}
        if proxy:
            port, log = scenarios.free_port(), folder / "proxy.log"
            env = {k: v.format(upstream=f"http://127.0.0.1:{upstream}") for k, v in proxy.env.items()}
            command = proxy.command.format(port=port).split()
            process = stack.enter_context(scenarios.started(command, scenarios.GATEWAY_CPU, log, env))
            targets[PROXY] = scenarios.Target(port, proxy.caller(port).headers, process.pid)
            targets[PROXY].ready(log)
        targets[OURS], facts = stack.enter_context(scenarios.mainspring(folder, upstream))
        if scenarios.LINUX and (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {scenarios.LOAD_CPU})  # this process is the load
        for target in targets.values():
            for name in scenarios.SCENARIOS:
                target.load(name, 64, 1)  # warm
        turns = [turn(number, count, targets, seconds) for number in range(count)]
        facts["peak_rss_mb"] = scenarios.memory_mb(targets[OURS].process or 0, "VmHWM")
    return turns, facts


def turn(number: int, count: int, targets: dict[str, scenarios.Target], seconds: float) -> Turn:
    """Everyone in every scenario; every other turn in the opposite order."""
    found: Turn = {who: {} for who in targets}
    for name, (*_, latency) in scenarios.SCENARIOS.items():
        for connections in (64, 1) if latency else (64,):
            for who, target in list(targets.items())[:: -1 if number % 2 else 1]:
                if who == DIRECT and connections == 64:
                    continue  # only what a gateway adds needs it
                row = target.load(name, connections, seconds)
                found[who].setdefault(name, {})[connections] = row | {
                    "calibration_ms": scenarios.calibration_ms()
                }
    costs = (
        f"{name} {' / '.join(str(found[who][name][64].get('cpu_us')) for who in (OURS, PROXY) if who in found)}"
        for name in scenarios.SCENARIOS
    )
    print(f"turn {number + 1} of {count}, CPU us: {', '.join(costs)}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit("run bench/run")
