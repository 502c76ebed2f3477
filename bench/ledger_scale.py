"""How the ledger answers with a million rows in it: `python bench/ledger_scale.py [ROWS] [URL]`.

Fills an empty database (without a URL: a SQLite file in the system's temporary folder) with made-up answers of the
last 30 days, and prints how long the console's and the API's questions take (the best and the worst of several).
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from mainspring.base.clock import now_us
from mainspring.base.ids import id_at
from mainspring.ledger import Attempt, Inference, Ledger, LedgerFilter
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

DAY_US = 86_400_000_000
DAYS = 30
BATCH = 5_000
#: As long as the console looks for a page, in seconds.
PATIENCE = 0.03
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


async def timed(name: str, question: Callable[[], Awaitable[Any]], rounds: int = 7) -> None:
    times = []
    result: Any = None
    for _ in range(rounds):
        start = time.perf_counter()
        result = await question()
        times.append((time.perf_counter() - start) * 1000)
    size = len(getattr(result, "items", result) or ()) if not isinstance(result, Inference) else 1
    more = ", not at the end yet" if getattr(result, "searched_us", None) is not None else ""
    print(f"{name:58s} {min(times):8.1f} to {max(times):8.1f} ms  ({size} rows{more})")


async def ask(ledger: Ledger, now: int) -> None:
    for days in (1, 30):
        since = now - days * DAY_US
        step = 900 if days == 1 else 21_600

        async def overview(since: int = since, step: int = step) -> list[Any]:
            total = await ledger.usage(by=None, since_us=since, until_us=now)
            models = await ledger.usage(by="model", since_us=since, until_us=now)
            series = await ledger.series(since_us=since, until_us=now, step_seconds=step)
            return total + models + series

        await timed(f"overview, {days} days: usage, usage by model and series", overview)
        for by in (None, "model", "tenant", "feature", "user", "key"):
            await timed(
                f"usage by {by}, {days} days",
                lambda by=by, since=since: ledger.usage(by=by, since_us=since, until_us=now),
            )
        for tenant in (None, "tenant-7"):
            await timed(
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
        await timed(f"page of {name}", lambda where=where: ledger.page(where, seconds=PATIENCE))
    middle = (await ledger.page(LedgerFilter(until_us=old))).items[0]
    await timed("page in the middle of the ledger", lambda: ledger.page(LedgerFilter(), after=middle.id))
    await timed("one answer by id", lambda: ledger.get(middle.id))


async def follow(ledger: Ledger) -> None:
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
    print(f"{'live tail: from commit to the watcher':58s} {min(waits):8.1f} to {max(waits):8.1f} ms")


async def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        database = await open_database(sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/bench.db")
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
            print(f"{rows} rows on {database.dialect} in {time.perf_counter() - start:.0f} s")
            await ask(ledger, now)
            await follow(ledger)
        finally:
            await database.close()


if __name__ == "__main__":
    asyncio.run(main())
