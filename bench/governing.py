"""What governing costs: `.venv/bin/python bench/governing.py [--write] [--pairs]`.

Keys, limits and budgets, in memory and with Redis, beside the same gateway without them, beside a bare proxy as the
yardstick of the hour, and beside other gateways with their keys and limits on, where they are installed (`rivals.py`
has them). First every governed gateway shows that it refuses what passes a limit. Then all run at the same time and are
asked in turns, under limits so high that nothing is refused: A B C, A B C, ... So what else the machine does hits all of
them, and what is compared are the differences and ratios within a turn.

CPU is user plus system time of a gateway's processes, pinned to CPU 0, divided by the answers; provider, load and Redis are on CPU 1.
With the comparison harness at hand (`BENCH_HARNESS`, or ../shared/bench) its provider, written in C, answers, otherwise
`upstream.py`. `--pairs` measures only plain chats, ours and the bare proxy's. `--write` puts the tables into
docs/reference/performance.md. Needs Linux and two CPUs. Exits with 1 when a limit
let too much through or an answer was not good.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import gateways
import report
import rivals
import scenarios

sys.path.insert(0, str(scenarios.ROOT))
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateways import Caller, Gateway, Proof

START_SECONDS = 180
PROOFS = scenarios.BENCH / "results/governing-proofs.json"
#: Rivals are asked in fewer rounds, and for longer: what they cost is no matter of single microseconds.
RIVAL_ROUNDS, RIVAL_SECONDS = 15, 3


def asked(one: Running, seconds: float) -> dict[str, float]:
    """Closed loop of chats, until the last one begun is answered."""
    assert one.caller is not None
    options = {"connections": one.gateway.connections, "seconds": seconds}
    return scenarios.asked(one.port, one.gateway.path, one.caller.headers, one.caller.body, **options)


@dataclasses.dataclass
class Running:
    """A gateway that answers."""

    gateway: Gateway
    port: int
    process: int
    redis: RedisServer | None
    log: Path
    caller: Caller | None = None
    rows: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)

    def ask(self, caller: Caller) -> tuple[int, bytes, bool]:
        """One request to its end: the status, what was said, and whether the headers told of limits."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(
                "POST", self.gateway.path, caller.body, {"content-type": "application/json", **caller.headers}
            )
            answer = connection.getresponse()
            told = any("ratelimit" in name.lower() for name, _ in answer.getheaders())
            return answer.status, answer.read(), told

    def failure(self, what: str) -> SystemExit:
        """What it did that it must not, with the end of its log."""
        log = self.log.read_text(errors="replace")[-3000:]
        return SystemExit(f"{log}\nNOT GOOD {self.gateway.name}: {what}")

    def redis_cpu(self) -> float:
        return scenarios.cpu_us(self.redis.pid) if self.redis else 0.0

    def scripts(self) -> int:
        """Calls of scripts that its Redis has answered."""
        said = self.redis.ask("INFO", "commandstats") if self.redis else ""
        calls = [line for line in said.splitlines() if line.startswith("cmdstat_evalsha:calls=")]
        return int(calls[0].split("=")[1].split(",")[0]) if calls else 0


@contextlib.contextmanager
def running(gateway: Gateway, upstream: int, *, tight: bool = False) -> Iterator[Running]:
    """Start it; it may not answer yet."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-governing-")))
        redis, port = None, scenarios.free_port()
        if gateway.redis:
            redis = RedisServer()
            redis.start()
            stack.callback(redis.kill)
            os.sched_setaffinity(redis.pid, {scenarios.LOAD_CPU})
        names = {"port": port, "folder": folder, "upstream": f"http://127.0.0.1:{upstream}"}
        names |= {"redis": redis.url, "redis_port": redis.port} if redis else {}

        def filled(text: str) -> str:
            for name, value in names.items():
                text = text.replace(f"{{{name}}}", str(value))
            return text

        for name, text in gateway.files.items():
            written = filled(text)
            for old, new in gateway.tight if tight else ():
                assert old in written, old
                written = written.replace(old, new)
            (folder / name).write_text(written)
        log = folder / "gateway.log"
        env = {name: filled(value) for name, value in gateway.env.items()}
        process = stack.enter_context(scenarios.started(filled(gateway.command).split(), None, log, env))
        stack.callback(end, process.pid)
        yield Running(gateway, port, process.pid, redis, log)


def end(root: int) -> None:
    """End a process and its descendants, of which not every gateway takes care."""
    for process in reversed(scenarios.processes(root)):
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGTERM)


def pin(root: int) -> None:
    """Keep a process and its descendants on the gateways' CPU; they may start on all."""
    for process in scenarios.processes(root):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {scenarios.GATEWAY_CPU})


def await_answer(one: Running) -> None:
    """Until it speaks HTTP."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        connection.close()
        time.sleep(0.1)
    raise one.failure("it does not answer")


# ---- does it refuse? ---------------------------------------------------------------------------
def prove(one: Running, proof: Proof) -> list[str]:
    """Run into one limit; a row of the table of proofs. Something must pass, something must not."""

    def ask(_number: int) -> int:
        status, said, _ = one.ask(proof.caller)
        if status not in (200, 403, 429):
            raise one.failure(f"{proof.limit}: {status} {said[:500]!r}")
        time.sleep(proof.pause)
        return status

    with concurrent.futures.ThreadPoolExecutor(proof.asks if proof.together else 1) as pool:
        statuses = list(pool.map(ask, range(proof.asks)))
    passed, refused = statuses.count(200), sorted({status for status in statuses if status != 200})
    if not passed or not refused:
        raise one.failure(f"{proof.limit}: {statuses}")
    at = " at once" if proof.together else ""
    return [one.gateway.name, proof.limit, f"{proof.asks}{at}", str(passed), ", ".join(map(str, refused))]


def proofs_of(gateway: Gateway, upstream: int) -> list[list[str]]:
    if gateway.proofs is None:
        return []
    with running(gateway, upstream, tight=True) as one:
        await_answer(one)
        rows = [prove(one, proof) for proof in gateway.proofs(one.port)]
    for row in rows:
        print("  refuses:", *row, sep="  ", flush=True)
    return rows


# ---- what does it cost? ------------------------------------------------------------------------
def measure(one: Running, seconds: float) -> dict[str, float]:
    """One turn: microseconds of CPU of an answer, its own and its Redis's."""
    before, redis, scripts = scenarios.cpu_us(one.process), one.redis_cpu(), one.scripts()
    counts = asked(one, seconds)
    row = {"cpu": scenarios.cpu_us(one.process) - before, "redis": one.redis_cpu() - redis}
    if counts["bad"] or counts["dropped"] or not counts["requests"]:
        raise one.failure(str(counts))
    if one.redis and one.scripts() == scripts:
        raise one.failure("its Redis was not asked")
    row = {name: spent / counts["requests"] for name, spent in row.items()}
    return row | {"calibration": scenarios.calibration_ms(), "good": counts["requests"]}


def ready(one: Running) -> None:
    """Make its keys, and see that it has the limits that it is said to have."""
    await_answer(one)
    one.caller = one.gateway.caller(one.port)
    status, said, told = one.ask(one.caller)
    if status != 200 or told != (one.gateway.proofs is not None and one.gateway.tells):
        raise one.failure(f"{status}, {'' if told else 'no '}headers of limits: {said[:500]!r}")


def turns(chosen: list[Gateway], upstream: int, rounds: int, seconds: float) -> list[Running]:
    with contextlib.ExitStack() as stack:
        everyone = [stack.enter_context(running(gateway, upstream)) for gateway in chosen]
        for one in everyone:
            ready(one)
            asked(one, 1)  # warm
        for one in everyone:
            pin(one.process)
        os.sched_setaffinity(0, {scenarios.LOAD_CPU})  # this process is the load
        for number in range(rounds):
            for one in everyone:
                if one.gateway.rival and number % RIVAL_ROUNDS:
                    continue
                length = RIVAL_SECONDS if one.gateway.rival else seconds
                one.rows[number] = row = measure(one, length)
                print(
                    f"  {number + 1:2} {one.gateway.name:44} {row['cpu']:9.1f} us  redis {row['redis']:6.1f} us  "
                    f"{row['good']:.0f} answers  calibration {row['calibration']} ms",
                    flush=True,
                )
        for one in everyone:
            if "redis is away" in one.log.read_text(errors="replace"):
                raise one.failure("its Redis was given up meanwhile")
    return everyone


# ---- the tables --------------------------------------------------------------------------------
def within(one: Running, other: Running | None) -> dict[int, tuple[float, float]]:
    """What both cost, by the turns in which both were asked."""
    others = other.rows if other is not None else {}
    return {turn: (row["cpu"], others[turn]["cpu"]) for turn, row in one.rows.items() if turn in others}


def cost_table(everyone: list[Running]) -> str:
    by_name = {one.gateway.name: one for one in everyone}
    yardstick = by_name.get(gateways.YARDSTICK)
    rows = [
        "| gateway | limits that are on | CPU us (least to most) | times the bare proxy | over itself without, us | that on a quiet machine, us | Redis's CPU, us |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for one in everyone:
        cpu = [row["cpu"] for row in one.rows.values()]
        before = by_name.get(one.gateway.before)
        more = {turn: a - b for turn, (a, b) in within(one, before).items()}
        proxies = {turn: b for turn, (_, b) in within(one, yardstick).items()}
        times = [a / b for a, b in within(one, yardstick).values()]
        quiet = [report.QUIET_CHAT_US * more[turn] / proxies[turn] for turn in more if turn in proxies]
        redis = statistics.median(row["redis"] for row in one.rows.values())
        at = "" if one.gateway.connections == 64 else f" ({one.gateway.connections} connections)"
        rows.append(
            f"| {one.gateway.name}{at} | {one.gateway.limits} | {statistics.median(cpu):,.0f} ({min(cpu):,.0f} to {max(cpu):,.0f}) | "
            f"{f'{statistics.median(times):,.2f}' if times else ''} | "
            f"{f'{statistics.median(more.values()):+,.0f}' if more else ''} | "
            f"{f'{statistics.median(quiet):+,.0f}' if quiet else ''} | {f'{redis:,.0f}' if one.redis else ''} |"
        )
    return "\n".join(rows)


def proof_table(rows: list[list[str]]) -> str:
    head = ["| gateway | limit | asked | answered | refused with |", "|---|---|--:|--:|--:|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def facts(everyone: list[Running], rounds: int, seconds: float) -> str:
    rows = [row["calibration"] for one in everyone for row in one.rows.values()]
    where = report.machine(rows)
    return (
        f"`python bench/governing.py` on {where['date']}: {where['cpu']}, {where['system']}, Python {where['python']}. "
        f"{rounds} turns of {seconds:g} s (other gateways: {-(-rounds // RIVAL_ROUNDS)} of {RIVAL_SECONDS} s), chats of 1 kB at 64 connections. "
        f"A fixed loop of Python took {min(rows)} to {max(rows)} ms of CPU between the turns, {statistics.median(rows):g} ms in the median; 19 to 22 ms "
        "is this kind of machine when nothing else runs on it."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn")
    parser.add_argument(
        "--pairs", action="store_true", help="only plain chats, ours and the bare proxy's in turns"
    )
    parser.add_argument(
        "--part",
        choices=("both", "proofs", "costs"),
        default="both",
        help="costs takes the proofs of the last run",
    )
    parser.add_argument("--only", default="", help="only gateways with this in their names")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into docs/reference/performance.md"
    )
    options = parser.parse_args()
    if options.write and (options.pairs or options.only):
        parser.error("--write wants all gateways")
    if not scenarios.LINUX or (os.cpu_count() or 1) < 2:
        parser.error("this needs Linux and two CPUs")
    with contextlib.suppress(PermissionError):  # a little ahead of other work on the machine
        os.nice(-10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="mainspring-governing-") as name, contextlib.ExitStack() as stack:
        upstream = scenarios.free_port()
        stack.enter_context(
            scenarios.started(
                gateways.provider(upstream, Path(name)), scenarios.LOAD_CPU, Path(name) / "upstream.log"
            )
        )
        found = [one for one in rivals.everyone(gateways.harness()) if options.only in one.name]
        found = [one for one in found if not options.pairs or one.name in (gateways.YARDSTICK, gateways.OURS)]
        skipped = [f"Not measured: {one.name} ({one.lacking})." for one in found if one.lacking]
        print(*skipped, sep="\n")
        chosen = [one for one in found if not one.lacking]
        if options.part != "costs":
            PROOFS.parent.mkdir(exist_ok=True)
            PROOFS.write_text(json.dumps([row for one in chosen for row in proofs_of(one, upstream)]))
        if options.part == "proofs":
            return
        proofs = [row for row in json.loads(PROOFS.read_text()) if row[0] in {one.name for one in chosen}]
        everyone = turns(chosen, upstream, options.rounds, options.seconds)
        parts = [facts(everyone, options.rounds, options.seconds), *skipped, cost_table(everyone)]
        parts += (
            ["Before, with limits that are tight, each refused what passed them:", proof_table(proofs)]
            if proofs
            else []
        )
        text = "\n\n".join(parts)
        print(f"\n{text}")
        if options.write:
            report.between("governing", text)


if __name__ == "__main__":
    main()
