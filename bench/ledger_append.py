"""What recording an answer costs: `python bench/ledger_append.py [URL]`.

Prints, for one caller and for many at once, the CPU of this process and the wall time per answer, and then how the
work on the writer's thread divides. Without a URL it writes to a SQLite file in the system's temporary folder.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.ledger import Attempt, Inference, Ledger, Payload
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.ledger.rollups import collect
from mainspring.ledger.tables import INFERENCES, PAYLOADS
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mainspring.store import Connection, Database

WORDS = Path(__file__).read_text("utf-8").split()


def text(size: int) -> bytes:
    """Text about as compressible as a conversation."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size:
        words += random.choices(WORDS, k=20)
    return " ".join(words).encode()[:size]


def answer() -> Record:
    now = now_us()
    row = Inference(
        id=new_id(),
        received_us=now - random.randrange(100_000, 3_000_000),
        first_byte_us=now - 50_000,
        done_us=now,
        tenant="acme",
        key_id="key_0123456789",
        dialect="openai.chat",
        route="default",
        requested_model="default",
        provider="openai",
        model="gpt-5-mini",
        attempts=[
            Attempt(provider="openai", model="gpt-5-mini", started_us=now - 90_000, ended_us=now, status=200)
        ],
        why="first target",
        status=200,
        finish_reason="stop",
        input_tokens=210,
        output_tokens=180,
        usage_source="provider",
        cost_nusd=412_500,
        config_hash="0123456789abcdef",
        request_bytes=1000,
        response_bytes=1000,
    )
    return Record(row, Payload(id=row.id, request=text(1000), response=text(1000)))


async def through_the_ledger(database: Database) -> None:
    ledger = Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=1024)
    for callers, count in ((1, 2_000), (8, 8_000), (32, 20_000), (64, 20_000)):
        records = iter([answer() for _ in range(count)])

        async def caller(records: Iterator[Record] = records) -> None:
            for record in records:
                await ledger.append(record.row, record.payload)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(callers)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"{callers:3d} at once: {cpu / count * 1e6:6.1f} us CPU, {wall / count * 1e6:6.1f} us wall an answer"
        )


async def on_the_thread(database: Database) -> None:
    recorder = LedgerRecorder()
    for size in (1, 32):
        rounds = 2_000 // size
        spent: dict[str, float] = {}

        def step(name: str, work: Callable[[], Any], spent: dict[str, float] = spent) -> Any:
            start = time.perf_counter()
            result = work()
            spent[name] = spent.get(name, 0) + time.perf_counter() - start
            return result

        def one_group(connection: Connection, size: int = size, step: Callable[..., Any] = step) -> None:
            records = [answer() for _ in range(size)]
            rows = [record.row for record in records]
            values = step("row values", lambda: [recorder.values(row) for row in rows])
            packed = step("compress", lambda: [recorder.packed(record, record.payload) for record in records])
            usage, totals, users = step("collect", lambda: collect(rows))
            step("insert rows", lambda: connection.insert(INFERENCES, values))
            step("insert payloads", lambda: connection.insert(PAYLOADS, packed))
            step("add usage", lambda: connection.add(*usage))
            step("add totals", lambda: connection.add(*totals))
            step("add by user", lambda: connection.add(*users))

        for _ in range(rounds):
            await database.write(one_group)
        parts = ", ".join(f"{name} {value / rounds / size * 1e6:.1f}" for name, value in spent.items())
        print(f"groups of {size}: us an answer: {parts}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/bench.db"
        database = await open_database(url)
        try:
            await through_the_ledger(database)
            await on_the_thread(database)
        finally:
            await database.close()


if __name__ == "__main__":
    uvloop.run(main())
