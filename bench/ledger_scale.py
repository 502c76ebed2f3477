"""How the ledger answers with a million rows in it: `python bench/ledger_scale.py [ROWS] [--database sqlite postgres]`.

Fills an empty database with made-up answers of the last 30 days, and prints how long the console's and the API's
questions take: the median, the best and the worst of several. What has a goal is called good or NOT GOOD by its median,
and the exit code is 1 when something was not. `sqlite` (the default) is a file in the system's temporary folder, `postgres`
a server of its own for this run, without fsync; any other database is a URL, and has to be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.base.clock import now_us
from mainspring.base.ids import id_at
from mainspring.ledger import Attempt, Inference, Ledger, LedgerFilter
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.store import open_blobs, open_database

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.postgres import Cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

DAY_US = 86_400_000_000
DAYS = 30
BATCH = 5_000
#: As long as the console looks for a page, in seconds.
PATIENCE = 0.03
#: Milliseconds that the median of a question stays under, by the first word of its name.
GOALS = {"overview": 100, "page": 50}
MODELS = [
    ("openai", "gpt-5-mini", 60),
    ("openai", "gpt-5", 15),
    ("anthropic", "claude-haiku-4-5", 15),
    ("anthropic", "claude-sonnet-4-5", 8),
    ("local", "strong", 2),
    ("mistral", "mistral-small", 0.002),
]
TENANTS = [(f"tenant-{n}", 1 / (n + 1)) for n in range(8)]
FEATURES = [("search", 5), ("chat", 3), (None, 2)]


def answers(rows: int, until_us: int) -> Iterator[Inference]:
    """Made-up answers in order of time, busier by day than by night."""
    draw = random.Random(7)
    step = DAYS * DAY_US // rows
    models = draw.choices(MODELS, [weight for *_, weight in MODELS], k=rows)
    tenants = draw.choices(TENANTS, [weight for _, weight in TENANTS], k=rows)
    features = draw.choices(FEATURES, [weight for _, weight in FEATURES], k=rows)
    for number in range(rows):
        received = until_us - DAYS * DAY_US + number * step + draw.randrange(step)
        provider, model, _ = models[number]
        tenant = tenants[number][0]
        latency = int(draw.lognormvariate(13.5, 0.8))
        failed = draw.random() < 0.02
        cut = draw.random() < 0.003
        yield Inference(
            id=id_at(received),
            received_us=received,
            first_byte_us=received + latency // 3,
            done_us=received + latency,
            tenant=tenant,
            key_id=f"{tenant}-key-{number % 5}",
            user=f"user-{int(draw.paretovariate(0.6)) % 20_000}",
            feature=features[number][0],
            dialect="openai.chat",
            route="default" if number % 3 else None,
            requested_model="default",
            provider=provider,
            model=model,
            attempts=[
                Attempt(provider=provider, model=model, started_us=received, ended_us=received + latency)
            ],
            status=502 if failed else 200,
            error="stream_cut" if cut else "provider_refused" if failed else None,
            input_tokens=draw.randrange(2_000),
            output_tokens=draw.randrange(800),
            usage_source="provider",
            cost_nusd=draw.randrange(3_000_000),
            stream=number % 2 == 0,
            cut=cut,
            config_hash="0123456789abcdef",
        )


class Report:
    """Prints how long questions take."""

    def __init__(self) -> None:
        self.fine = True

    async def timed(self, name: str, question: Callable[[], Awaitable[Any]], rounds: int = 7) -> None:
        times = []
        result: Any = None
        for _ in range(rounds):
            start = time.perf_counter()
            result = await question()
            times.append((time.perf_counter() - start) * 1000)
        size = len(getattr(result, "items", result) or ()) if not isinstance(result, Inference) else 1
        more = ", not at the end yet" if getattr(result, "searched_us", None) is not None else ""
        self.line(name, times, f"({size} rows{more})")

    def line(self, name: str, times: list[float], note: str = "") -> None:
        """One question: milliseconds of each time it was asked."""
        median, goal = statistics.median(times), GOALS.get(name.replace(",", " ").split()[0])
        good = goal is None or median < goal
        self.fine &= good
        mark = "" if goal is None else "good" if good else f"NOT GOOD, the goal is {goal} ms"
        print(
            f"{name:58s} {median:8.1f} ms ({min(times):.1f} to {max(times):.1f})  {note}  {mark}".rstrip(),
            flush=True,
        )


async def ask(ledger: Ledger, now: int, report: Report) -> None:
    for days in (1, 30):
        since = now - days * DAY_US
        step = 900 if days == 1 else 21_600

        async def overview(since: int = since, step: int = step) -> list[Any]:
            total = await ledger.usage(by=None, since_us=since, until_us=now)
            models = await ledger.usage(by="model", since_us=since, until_us=now)
            series = await ledger.series(since_us=since, until_us=now, step_seconds=step)
            return total + models + series

        await report.timed(f"overview, {days} days: usage, usage by model and series", overview)
        for by in (None, "model", "tenant", "feature", "user", "key"):
            await report.timed(
                f"usage by {by}, {days} days",
                lambda by=by, since=since: ledger.usage(by=by, since_us=since, until_us=now),
            )
        for tenant in (None, "tenant-7"):
            await report.timed(
                f"series, {days} days, {tenant or 'all tenants'}",
                lambda since=since, step=step, tenant=tenant: ledger.series(
                    since_us=since, until_us=now, step_seconds=step, tenant=tenant
                ),
            )
    old = now - 20 * DAY_US
    filters = {
        "everything": LedgerFilter(),
        "a large tenant": LedgerFilter(tenant="tenant-0"),
        "a small tenant": LedgerFilter(tenant="tenant-7"),
        "a tenant that is not there": LedgerFilter(tenant="nobody"),
        "a rare model": LedgerFilter(model="mistral-small"),
        "a common tenant with a rare model": LedgerFilter(tenant="tenant-0", model="mistral-small"),
        "a rare provider, errors only": LedgerFilter(provider="mistral", status="error"),
        "errors": LedgerFilter(status="error"),
        "streams cut": LedgerFilter(status="cut"),
        "streams cut of a tenant": LedgerFilter(status="cut", tenant="tenant-5"),
        "streams cut of a tenant and a model": LedgerFilter(status="cut", tenant="tenant-7", model="gpt-5"),
        "errors of a model": LedgerFilter(status="error", model="strong"),
        "a busy user": LedgerFilter(user="user-1"),
        "a rare user": LedgerFilter(user="user-12345"),
        "a key": LedgerFilter(key_id="tenant-3-key-2"),
        "a key with a rare model": LedgerFilter(key_id="tenant-0-key-0", model="mistral-small"),
        "a busy user with a rare model": LedgerFilter(user="user-1", model="mistral-small"),
        "a busy user with a model and a feature": LedgerFilter(user="user-1", model="strong", feature="chat"),
        "a busy user, errors only": LedgerFilter(user="user-1", status="error"),
        "a busy user of a small tenant": LedgerFilter(user="user-1", tenant="tenant-7"),
        "a user with a model, a week": LedgerFilter(
            user="user-30", model="strong", since_us=now - 7 * DAY_US
        ),
        "a key with a model and a feature": LedgerFilter(
            key_id="tenant-7-key-3", model="strong", feature="chat"
        ),
        "good answers of a route and a tenant": LedgerFilter(status="ok", route="default", tenant="tenant-7"),
        "what cannot be: another tenant's key": LedgerFilter(tenant="tenant-7", key_id="tenant-0-key-0"),
        "a day three weeks ago": LedgerFilter(since_us=old, until_us=old + DAY_US),
        "a feature, three weeks ago": LedgerFilter(feature="chat", since_us=old, until_us=old + DAY_US),
    }
    for name, where in filters.items():
        await report.timed(f"page of {name}", lambda where=where: ledger.page(where, seconds=PATIENCE))
    middle = (await ledger.page(LedgerFilter(until_us=old))).items[0]
    await report.timed(
        "page in the middle of the ledger", lambda: ledger.page(LedgerFilter(), after=middle.id)
    )
    await report.timed("one answer by id", lambda: ledger.get(middle.id))


async def follow(ledger: Ledger, report: Report) -> None:
    """From the end of `append` to the row arriving at a live tail."""
    waits = []
    tail = ledger.tail(LedgerFilter(tenant="tenant-1"))
    coming = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.5)
    for row in answers(100, now_us()):
        row.id, row.tenant = id_at(now_us()), "tenant-1"
        await ledger.append(row)
        start = time.perf_counter()
        await coming
        waits.append((time.perf_counter() - start) * 1000)
        coming = asyncio.ensure_future(anext(tail))
        if len(waits) == 10:
            break
    coming.cancel()
    report.line("live tail: from commit to the watcher", waits)


async def measure(url: str, rows: int) -> bool:
    """Fill an empty database and ask; True when every goal was met."""
    database, report = await open_database(url), Report()
    try:
        ledger = Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=1024)
        recorder = LedgerRecorder()
        now = now_us()
        start = time.perf_counter()
        batch: list[Record] = []
        for row in answers(rows, now):
            batch.append(Record(row))
            if len(batch) == BATCH:
                await database.write(lambda connection, batch=batch: recorder.write(connection, batch))
                batch = []
        await database.write(lambda connection: recorder.write(connection, batch))
        print(f"{rows} rows on {database.dialect} in {time.perf_counter() - start:.0f} s", flush=True)
        await ask(ledger, now, report)
        await follow(ledger, report)
    finally:
        await database.close()
    return report.fine


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--database", nargs="+", default=["sqlite"], help="sqlite, postgres or a URL")
    options = parser.parse_args()
    fine = True
    for name in options.database:
        with contextlib.ExitStack() as stack:
            if name == "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-scale-"))
                url = f"sqlite:///{folder}/bench.db"
            else:
                url = stack.enter_context(Cluster.started()).url if name == "postgres" else name
            fine &= asyncio.run(measure(url, options.rows))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
