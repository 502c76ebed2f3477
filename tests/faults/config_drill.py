"""The drill of a configuration that is edited under load: a good edit is in force at once, a broken one changes nothing.

    python -m tests.faults.config_drill --rounds 10
    python -m tests.faults.config_drill --rounds 10 --workers 2

While callers ask without pause, half of them for streams, the file is edited in each round as people and machines edit
it: put in the place of the old one, or written in two pieces with a pause between them, which for that moment leaves
half a file. A good edit adds a route: every worker must have it within a second. Then the file is broken, each time in
another way: every worker must say so with the line and keep what it has. With several workers one is killed with -9
meanwhile: the one that takes its place must know the new route too, although the file on the disk is broken. Then the
file is mended. But for calls that the killed worker was at, no caller may see an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
from tests.faults.rotation_drill import Load
from tests.support.conversations import user
from tests.support.misconfigurations import MISTAKES
from tests.support.provider_server import ProviderServer
from tests.support.server import RunningServer, provider_config, running

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLERS = 6
#: How it is broken, in turn.
BREAKS = (
    "toml missing quote",
    "unknown key",
    "fallback cycle",
    "weights 0",
    "limit negative",
    "route unknown provider",
)
#: Connections, each of them new, so that every worker is asked.
ASKED = 24
_PATIENCE = 60.0


@dataclass
class Verdict:
    """What one round was like.

    Attributes:
        how: the file was replaced, or written in pieces.
        seconds: from the end of the edit until the last worker had it.
        broken_by: the mistake.
        told: workers that refused it with the line.
        unknown: answers, of all workers, that did not know the route while the file was broken.
        answered: requests of the callers that were answered well.
        failed: by status, or by what broke.
        killed: a worker was killed, so that calls may have broken with it.
    """

    number: int
    how: str
    broken_by: str
    workers: int
    seconds: float = 0
    told: int = 0
    unknown: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    killed: bool = False
    replaced_seconds: float = 0

    @property
    def good(self) -> bool:
        """Whether everybody had it, the broken one was refused, and nobody noticed."""
        broken = sum(count for name, count in self.failed.items() if self.killed and not name[0].isdigit())
        return (
            self.told >= self.workers and self.unknown == 0 and sum(self.failed.values()) == broken <= CALLERS
        )


def drill(rounds: int, folder: Path, *, workers: int = 1) -> Iterator[Verdict]:
    """Run rounds one after another, each with a new route and another mistake."""
    upstream = ProviderServer()
    upstream.start()
    config = provider_config(upstream.url) + "\n[limits]\nrps_per_user = 0\n"
    try:
        with running(RunningServer(folder / "server", config, workers=workers)) as server:
            key = server.create_key("drill")
            _wait_for(lambda: len(_workers(server)) == workers)
            if workers > 1:
                _wait_for(lambda: server.client.get("/metrics").text.count("open_exchanges{") >= workers)
            for number in range(1, rounds + 1):
                config += f'\n[routes.fresh-{number}]\ntargets = ["openai/test"]\n'
                yield asyncio.run(_round(number, server, key, config, workers))
    finally:
        upstream.stop()


async def _round(number: int, server: RunningServer, key: str, config: str, workers: int) -> Verdict:
    mistake = MISTAKES[BREAKS[(number - 1) % len(BREAKS)]]
    how = "pieces" if number % 2 else "replaced"
    verdict = Verdict(number, how, BREAKS[(number - 1) % len(BREAKS)], workers)
    load = Load(server, key)
    callers = [asyncio.create_task(load.call(place)) for place in range(CALLERS)]
    await asyncio.sleep(0.3)

    seen = len(_events(server, "configuration_reloaded"))
    edited = await asyncio.to_thread(_edit, server, config, how)
    await asyncio.to_thread(
        _wait_for, lambda: len(_events(server, "configuration_reloaded")) >= seen + workers
    )
    verdict.seconds = max(_at(e) for e in _events(server, "configuration_reloaded")[seen:]) - edited
    assert await asyncio.to_thread(_unknown, server, key, f"fresh-{number}") == 0

    seen = len(_events(server, "configuration_kept"))
    text = mistake.text if isinstance(mistake.text, str) else mistake.text.decode()
    await asyncio.to_thread(_edit, server, text, how)
    await asyncio.to_thread(_wait_for, lambda: len(_events(server, "configuration_kept")) >= seen + workers)
    told = f"mainspring.toml, {mistake.says}"
    verdict.told = sum(
        event["reason"].startswith(told) for event in _events(server, "configuration_kept")[seen:]
    )
    if workers > 1:
        verdict.killed = True
        verdict.replaced_seconds = await asyncio.to_thread(_kill_one, server, workers)
    verdict.unknown = await asyncio.to_thread(_unknown, server, key, f"fresh-{number}")

    await asyncio.to_thread(_edit, server, config + f"\n# mended, round {number}\n", how)
    load.stop()
    await asyncio.gather(*callers)
    verdict.answered, verdict.failed = load.answered, load.failed
    return verdict


def _edit(server: RunningServer, text: str, how: str) -> float:
    """Write the file; returns when that was done, in seconds of the clock on the wall."""
    file = server.folder / "mainspring.toml"
    if how == "replaced":
        part = file.with_suffix(".new")
        part.write_text(text, "utf-8")
        part.replace(file)
    else:
        with file.open("w", encoding="utf-8") as open_file:
            open_file.write(text[: len(text) // 2])
            open_file.flush()
            time.sleep(0.05)
            open_file.write(text[len(text) // 2 :])
    return time.time()


def _unknown(server: RunningServer, key: str, model: str) -> int:
    """How many of some connections get another answer than a good one."""
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": model, "messages": user("hi")}
    statuses = []
    for _ in range(ASKED):
        with httpx2.Client(headers=headers, timeout=60, trust_env=False) as client:
            statuses.append(client.post(f"{server.url}/v1/chat/completions", json=body).status_code)
    return sum(status != 200 for status in statuses)


def _workers(server: RunningServer) -> list[psutil.Process]:
    parent = psutil.Process(server.pid)
    return [child for child in parent.children() if _is_alive(child)] or [parent]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended while it was looked at
        return False


def _kill_one(server: RunningServer, workers: int) -> float:
    """Kill a worker; returns the seconds until another one serves in its place."""
    before = {worker.pid for worker in _workers(server)}
    kept = len(_events(server, "configuration_kept"))
    victim = min(before)
    begun = time.monotonic()
    psutil.Process(victim).kill()
    _wait_for(lambda: victim not in (now := {w.pid for w in _workers(server)}) and len(now) == workers)
    # It says that it has started with the last good configuration; a moment later it accepts connections.
    _wait_for(lambda: len(_events(server, "configuration_kept")) > kept)
    new = next(worker for worker in _workers(server) if worker.pid not in before)
    _wait_for(lambda: any(c.status == psutil.CONN_LISTEN for c in new.net_connections("tcp")))
    return time.monotonic() - begun


def _events(server: RunningServer, name: str) -> list[dict[str, Any]]:
    lines = (line for line in server.log().splitlines() if f'"event":"{name}"' in line and line.endswith("}"))
    return [json.loads(line) for line in lines]


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def _wait_for(condition: Any) -> None:
    limit = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.02)


def main() -> None:
    """Run by itself."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        for verdict in drill(arguments.rounds, Path(folder), workers=arguments.workers):
            print(verdict, flush=True)
            verdicts.append(verdict)
    slowest = max(verdict.seconds for verdict in verdicts)
    bad = sum(not (verdict.good and verdict.seconds <= 1) for verdict in verdicts)
    print(
        f"{len(verdicts)} rounds, {sum(v.answered for v in verdicts)} answers; in force after {slowest:.2f} s at most; "
        f"{bad} rounds were not good"
    )
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
