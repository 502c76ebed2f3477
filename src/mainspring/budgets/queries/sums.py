"""The sum check: what a budget has counted, beside the rows of the ledger that it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.base.ids import lowest_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.budgets.types import Budget
    from mainspring.store.types import Connection, Row


def buckets(connection: Connection, budget_id: str) -> dict[int, tuple[int, int]]:
    """What was counted in each bucket."""
    rows = connection.rows(
        "SELECT bucket_us, nusd, tokens FROM budget_spent WHERE budget_id = :id ORDER BY bucket_us",
        id=budget_id,
    )
    return {int(row[0]): (int(row[1]), int(row[2])) for row in rows}


def ledger_rows(connection: Connection, budget: Budget) -> Iterator[list[Row]]:
    """The rows of the ledger that a budget counts, in batches, oldest first.

    Each is its id, provider, model, nano-dollars, tokens and further facts. Of a budget on a model all rows come that
    may have asked it; which share of them is its own is for `settling.shares_of`.
    """
    conditions, parameters = _matching(budget)
    last = lowest_id(budget.starts_us / 1_000_000)
    while True:
        rows = connection.rows(
            "SELECT id, provider, model, cost_nusd, input_tokens + cache_read_tokens + cache_write_tokens"  # noqa: S608 - conditions of ours
            f" + output_tokens + reasoning_tokens, extra FROM inferences WHERE id > :last{conditions}"
            " ORDER BY id LIMIT 5000",
            last=last,
            **parameters,
        )
        if rows:
            last = rows[-1][0]
            yield rows
        if len(rows) < 5000:  # noqa: PLR2004 - the batch above
            return


def _matching(budget: Budget) -> tuple[str, dict[str, Any]]:
    conditions, parameters = "", {}
    if budget.tenant is not None:
        conditions, parameters = " AND tenant = :tenant", {"tenant": budget.tenant}
    match budget.kind:
        case "key":
            conditions += " AND key_id IN (SELECT id FROM keys WHERE COALESCE(origin, id) = :subject)"
        case "user" | "feature":
            conditions += f' AND "{budget.kind}" = :subject'
        case "model" | "tenant":
            return conditions, parameters
    return conditions, {**parameters, "subject": budget.subject}
