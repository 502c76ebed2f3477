"""How a row of the ledger is counted by budgets. The same when it is written and when sums are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.budgets import queries
from mainspring.budgets.entry import Entry, Index
from mainspring.budgets.tables import SPENT
from mainspring.budgets.types import Difference
from mainspring.budgets.windows import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.budgets.charge import Charge
    from mainspring.budgets.types import Budget
    from mainspring.keys.types import Subject
    from mainspring.store.types import Connection, Sheet

#: What each model of a request used: nano-dollars and tokens by `provider/model`.
Shares = dict[str, tuple[int, int]]
Counter = tuple["Sheet", tuple[Any, ...]]

#: Where the row keeps the shares, if a budget on a model may want to know them.
SHARES = "budget_shares"


def total(shares: Shares) -> tuple[int, int]:
    """What all models used together."""
    return sum(nusd for nusd, _ in shares.values()), sum(tokens for _, tokens in shares.values())


def concerned(
    index: Index, subject: Subject, time_us: int, shares: Shares, charge: Charge | None = None
) -> list[tuple[Entry, int, int]]:
    """The budgets that count a row, and how much. A charge has found most of them already."""
    if len(shares) == 1:
        ((nusd, tokens),) = shares.values()
    else:
        nusd, tokens = total(shares)
    if not nusd and not tokens:
        return []
    about = index.about(subject, time_us) if charge is None else charge.about(index)
    found = [(entry, nusd, tokens) for entry in about]
    if index.models:
        for name, (part, part_tokens) in shares.items():
            if part or part_tokens:
                found += [(entry, part, part_tokens) for entry in index.about_model(name, subject, time_us)]
    return found


def recount(connection: Connection, subject: Subject, time_us: int, shares: Shares) -> list[Counter]:
    """The counters of a row, by the budgets as the database has them: for a process that has not heard of it for long.

    Its leases are not touched: what is counted was not reserved, or stays reserved until the process gives it back.
    """
    index = Index(Entry(budget) for budget in queries.live(connection))
    return [
        (SPENT, (entry.budget.id, span(entry.budget, time_us).bucket_us, nusd, tokens, 1))
        for entry, nusd, tokens in concerned(index, subject, time_us, shares)
    ]


def check(connection: Connection, budget: Budget) -> list[Difference]:
    """Compare what a budget has counted with the rows of the ledger, bucket by bucket, on one snapshot."""
    counted = queries.buckets(connection, budget.id)
    sums: dict[int, list[int]] = {}
    for rows in queries.ledger_rows(connection, budget):
        for row in rows:
            nusd, tokens = _share_of_row(budget, row)
            if not nusd and not tokens:
                continue
            # The time of a row is that of its id, to the millisecond.
            time_us = int(row[0].replace("-", "")[:12], 16) * 1000
            if time_us < budget.starts_us:
                continue
            bucket = sums.setdefault(span(budget, time_us).bucket_us, [0, 0])
            bucket[0] += nusd
            bucket[1] += tokens
    return [
        Difference(
            budget=budget,
            bucket_us=bucket,
            nusd=counted.get(bucket, (0, 0))[0],
            tokens=counted.get(bucket, (0, 0))[1],
            ledger_nusd=sums.get(bucket, [0, 0])[0],
            ledger_tokens=sums.get(bucket, [0, 0])[1],
        )
        for bucket in sorted(counted.keys() | sums.keys())
    ]


def _share_of_row(budget: Budget, row: Sequence[Any]) -> tuple[int, int]:
    _, provider, model, nusd, tokens, extra = row
    if budget.kind != "model":
        return nusd or 0, tokens or 0
    shares = msgspec.json.decode(extra).get(SHARES) if extra else None
    if shares is None:
        return (nusd or 0, tokens or 0) if f"{provider}/{model}" == budget.subject else (0, 0)
    part = shares.get(budget.subject, (0, 0))
    return part[0], part[1]
