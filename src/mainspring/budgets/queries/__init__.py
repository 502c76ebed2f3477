"""Every statement about budgets. Each function takes an open connection and leaves the transaction to its caller.

Locks are taken in one order: the budget, then the holder, then its leases. What was spent is written by the ledger's
recorder, which takes neither of the first two.
"""

from __future__ import annotations

from mainspring.budgets.queries.definitions import (
    add,
    by_id,
    change,
    delete,
    key_of,
    keys_without_budget,
    live,
    page,
    start,
    versions,
)
from mainspring.budgets.queries.leases import add_lease, end_lease, lock, own_lease, recall, recalls, room
from mainspring.budgets.queries.processes import beat, clear_orphans, holders, join, leave
from mainspring.budgets.queries.standings import cross, crossings_of, held_of, slices, spent, spent_of
from mainspring.budgets.queries.sums import buckets, ledger_rows

__all__ = [
    "add",
    "add_lease",
    "beat",
    "buckets",
    "by_id",
    "change",
    "clear_orphans",
    "cross",
    "crossings_of",
    "delete",
    "end_lease",
    "held_of",
    "holders",
    "join",
    "key_of",
    "keys_without_budget",
    "leave",
    "ledger_rows",
    "live",
    "lock",
    "own_lease",
    "page",
    "recall",
    "recalls",
    "room",
    "slices",
    "spent",
    "spent_of",
    "start",
    "versions",
]
