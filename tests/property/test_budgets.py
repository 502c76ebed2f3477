"""Laws of budgets: under any order of reserving, settling, crashing, pausing and turning of windows, caps hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mainspring.base import clock
from mainspring.base.errors import BudgetExceeded
from mainspring.base.ids import id_at
from mainspring.budgets import Bounds, Budgets, NewBudget, book, holders, lender, queries, service
from mainspring.keys.types import Subject
from mainspring.ledger import Inference, Ledger
from mainspring.providers.prices import Rates
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from mainspring.budgets import Charge
    from mainspring.store import Database

_RATES = (Rates(1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000),)  # a nano-dollar for each token
_CAP = 400
_DAY_US = 86_400_000_000


@dataclass
class _Process:
    """What stands for one server process: budgets and a ledger of its own on the one database."""

    database: Database
    budgets: Budgets
    ledger: Ledger
    calls: list[_Call] = field(default_factory=list)


@dataclass
class _Call:
    charge: Charge
    subject: Subject
    time_us: int
    tokens: int


class Spending(RuleBasedStateMachine):
    """Several processes on one SQLite file; time stands still but for the rules that move it."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._now = 1_800_000_000_000_000 // _DAY_US * _DAY_US + 3_600_000_000
        self._lasting = 1_000.0
        self._processes: list[_Process] = []
        self._gone: set[str] = set()
        self._remote = False
        for module in (book, service, lender, clock):
            self._patch.setattr(module, "now_us", lambda: self._now)
        for module in (holders, lender):
            self._patch.setattr(module, "lasting", lambda: self._lasting)
        self._patch.setattr("mainspring.budgets.charge.lasting", lambda: self._lasting)
        # Whether a process is there is the kernel's to know; here all of them are in one.
        gone = lambda holder: None if self._remote else holder.id in self._gone  # noqa: E731 - a stand-in
        self._patch.setattr(holders, "is_gone", gone)
        self._patch.setattr(lender, "is_gone", gone)
        self._patch.setattr(lender, "RECALL_SECONDS", 0.0)
        self._patch.setattr(lender, "RECALL_STEP", 0.0)

    @initialize(
        window=st.sampled_from(["total", "day", "rolling"]), tokens=st.booleans(), remote=st.booleans()
    )
    def begin(self, window: str, tokens: bool, remote: bool) -> None:
        self._remote = remote

        async def work() -> None:
            await self._add()
            period = "1d" if window == "rolling" else None
            wanted = NewBudget(
                scope={"tenant": "acme"},
                usd="0.0000004",
                tokens=_CAP if tokens else None,
                window=window,
                period=period,
            )
            for part in (wanted, NewBudget(scope={"model": "p/m"}, usd="0.0000003", window="total")):
                async with _moving(self):
                    await self._processes[0].budgets.create(part)

        self._run(work())

    # What happens

    @precondition(lambda self: len(self._processes) < 3)
    @rule()
    def a_process_starts(self) -> None:
        self._run(self._add())

    @rule(
        data=st.data(),
        model=st.sampled_from(["m", "other"]),
        prompt=st.integers(1, 60),
        output=st.integers(0, 200),
    )
    def a_call_is_made(self, data: st.DataObject, model: str, prompt: int, output: int) -> None:
        process = self._any(data)
        subject = Subject("acme", "key", None, None)

        async def work() -> None:
            await process.budgets.refresh()
            charge = process.budgets.open(subject, self._now // 1000 * 1000)
            if charge is None:
                return
            try:
                bounds = Bounds(prompt, output)
                if charge.cover_at_once("p", model, bounds, _RATES) is None:
                    await charge.cover("p", model, bounds, _RATES)
            except BudgetExceeded:
                return
            process.calls.append(_Call(charge, subject, self._now // 1000 * 1000, prompt + output))

        self._run(work())

    @rule(data=st.data(), share=st.floats(0, 1))
    def a_call_ends(self, data: st.DataObject, share: float) -> None:
        process = self._any(data)
        if not process.calls:
            return
        call = process.calls.pop(data.draw(st.integers(0, len(process.calls) - 1)))
        self._run(self._settle(process, call, round(call.tokens * share)))

    @rule(data=st.data())
    def a_call_fails(self, data: st.DataObject) -> None:
        process = self._any(data)
        if process.calls:
            process.calls.pop().charge.close()

    @rule(data=st.data())
    def a_process_is_killed(self, data: st.DataObject) -> None:
        process = self._any(data)
        self._gone.add(process.budgets.lender.holder.id)
        self._processes.remove(process)
        self._run(process.database.close())
        if not self._processes:
            self._run(self._add())

    @rule()
    def time_goes_by(self) -> None:
        self._pass(3.0)

    @rule()
    def everybody_beats(self) -> None:
        async def work() -> None:
            for process in self._processes:
                await process.budgets.lender.keep_alive()
                await process.budgets.lender.take_over()

        self._run(work())

    @rule(data=st.data())
    def somebody_tidies(self, data: st.DataObject) -> None:
        process = self._any(data)

        async def work() -> None:
            for lease in list(process.budgets.lender.leases):
                await process.budgets.lender.give_back(lease)

        self._run(work())

    @rule(data=st.data())
    def somebody_takes_over(self, data: st.DataObject) -> None:
        process = self._any(data)
        self._run(process.budgets.lender.take_over())

    @rule()
    def a_day_turns_over(self) -> None:
        # All processes go on living meanwhile.
        for _ in range(2):
            self._now += _DAY_US // 2
            self.everybody_beats()

    # What must hold

    @invariant()
    def caps_hold(self) -> None:
        if not self._processes:
            return

        async def work() -> list[tuple[Any, ...]]:
            database = self._processes[0].database
            return await database.read(
                lambda c: [
                    (budget, *queries.room(c, budget, room, self._now, ""))
                    for budget in queries.live(c)
                    for room in _rooms(c, budget.id)
                ]
            )

        for budget, nusd, tokens, held_nusd, held_tokens, _ in self._run(work()):
            if budget.nusd is not None:
                assert nusd + held_nusd <= budget.nusd
            if budget.tokens is not None:
                assert tokens + held_tokens <= budget.tokens

    @invariant()
    def nobody_believes_too_much(self) -> None:
        for process in self._processes:
            holder = process.budgets.lender.holder.id
            for lease in process.budgets.lender.leases:
                nusd, tokens = self._run(
                    process.database.read(
                        lambda c, lease=lease, holder=holder: queries.own_lease(
                            c, lease.budget_id, lease.room_us, holder
                        )
                    )
                )
                assert lease.held_nusd <= nusd
                assert lease.held_tokens <= tokens

    @invariant()
    def sums_agree(self) -> None:
        if self._processes:
            for difference in self._run(self._processes[0].budgets.check()):
                assert not difference.is_one, difference

    def teardown(self) -> None:
        for process in self._processes:
            self._run(process.budgets.close())
            self._run(process.database.close())
        self._loop.close()
        self._patch.undo()
        self._folder.cleanup()

    # How

    async def _add(self) -> None:
        folder = Path(self._folder.name)
        database = await open_database(f"sqlite:///{folder}/m.db", wait_seconds=5)
        ledger = Ledger(database, open_blobs(f"file://{folder}/blobs"), durability="strict", inline_kb=64)
        budgets = Budgets(database)
        await budgets.lender.join()
        await budgets.lender.take_over()
        await budgets.refresh()
        self._processes.append(_Process(database, budgets, ledger))

    async def _settle(self, process: _Process, call: _Call, used: int) -> None:
        model = call.charge.holds[0].model
        counters = process.budgets.settle(
            call.subject, call.time_us, call.charge, {f"p/{model}": (used, used)}
        )
        row = Inference(
            id=id_at(call.time_us),
            received_us=call.time_us,
            done_us=call.time_us,
            tenant="acme",
            dialect="openai.chat",
            requested_model=f"p/{model}",
            provider="p",
            model=model,
            status=200,
            input_tokens=used,
            cost_nusd=used,
            config_hash="",
        )
        await process.ledger.append(row, None, counters)
        process.budgets.committed(counters)

    def _any(self, data: st.DataObject) -> _Process:
        return self._processes[data.draw(st.integers(0, len(self._processes) - 1))]

    def _pass(self, seconds: float) -> None:
        self._lasting += seconds
        self._now += round(seconds * 1_000_000)

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)


@contextlib.asynccontextmanager
async def _moving(machine: Spending) -> Any:
    """Let the clock run, for what waits for it."""

    async def run() -> None:
        while True:
            await asyncio.sleep(0.001)
            machine._now += 10_000

    task = asyncio.create_task(run())
    yield
    task.cancel()


def _rooms(connection: Any, budget_id: str) -> list[int]:
    rows = connection.rows("SELECT DISTINCT room_us FROM budget_leases WHERE budget_id = :id", id=budget_id)
    return [int(row[0]) for row in rows]


#: More when there is time: BUDGET_EXAMPLES=300 pytest tests/property/test_budgets.py
Spending.TestCase.settings = settings(
    max_examples=int(os.environ.get("BUDGET_EXAMPLES", "6")),
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize="BUDGET_EXAMPLES" not in os.environ,
)
test_spending = Spending.TestCase
