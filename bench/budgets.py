"""What budgets cost a request: CPU time in microseconds, in memory, without the database.

python bench/budgets.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time

import msgspec

from mainspring.base.clock import now_us
from mainspring.budgets import Bounds, Budgets, NewBudget
from mainspring.gateway.bounds import bounds_of
from mainspring.gateway.exchange import Envelope
from mainspring.keys.types import Subject
from mainspring.providers.prices import Rates
from mainspring.providers.types import Operation
from mainspring.store import open_database

REQUESTS = 20_000
SUBJECT = Subject("acme", "key", "ann", "chat", origin="key")
RATES = (Rates(250_000_000, 2_000_000_000, 25_000_000, 0, 0),)
BODY = b'{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"%s"}]}' % (
    b"The quick brown fox. " * 40
)
SAID = msgspec.json.decode(BODY, type=Envelope)


async def measure(budgets: Budgets) -> float:
    """Open, cover and settle as the gateway does; microseconds of CPU a request."""
    now, began = now_us(), time.process_time()
    for _ in range(REQUESTS):
        charge = budgets.open(SUBJECT, now)
        if charge is not None:
            bounds = bounds_of(Operation.CHAT, BODY, SAID, has_parts=False)
            if charge.cover_at_once("p", "m", bounds, RATES) is None:
                await charge.cover("p", "m", bounds, RATES)
        if charge is not None or budgets.concerns(SUBJECT, now):
            budgets.committed(budgets.settle(SUBJECT, now, charge, {"p/m": (10, 10)}))
    return (time.process_time() - began) / REQUESTS * 1e6


async def main() -> None:
    """Measure with none, with one of somebody else, with one and with three."""
    with tempfile.TemporaryDirectory() as folder:
        database = await open_database(f"sqlite:///{folder}/m.db")
        budgets = Budgets(database)
        await budgets.start()
        print(f"no budget               {await measure(budgets):6.2f} us")
        for words, wanted in (
            ("one about somebody else", NewBudget(scope={"tenant": "other"}, usd=1000, window="day")),
            ("one", NewBudget(scope={"tenant": "acme"}, usd=1000, window="day")),
            ("two", NewBudget(scope={"user": "ann"}, usd=1000, window="month")),
            ("three", NewBudget(scope={"feature": "chat"}, tokens=10**12, window="rolling", period="7d")),
        ):
            await budgets.create(wanted)
            charge = budgets.open(SUBJECT, now_us())
            if charge is not None:  # the first lease is asked of the database
                await charge.cover("p", "m", Bounds(1000, 1000), RATES)
                charge.close()
            print(f"{words:23} {await measure(budgets):6.2f} us")
        await budgets.close()
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
