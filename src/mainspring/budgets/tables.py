"""The counters of budgets as bulk writes see them. What creates them is `store/migrations`."""

from __future__ import annotations

from mainspring.store.types import Sheet

#: What was spent, in the bucket of each row's time.
SPENT = Sheet(
    "budget_spent",
    (
        ("budget_id", "text"),
        ("bucket_us", "integer"),
        ("nusd", "integer"),
        ("tokens", "integer"),
        ("answers", "integer"),
    ),
    keys=2,
)

#: What a process holds. A settled row takes as much from here as it adds above: their sum stays as it is.
LEASES = Sheet(
    "budget_leases",
    (
        ("budget_id", "text"),
        ("room_us", "integer"),
        ("holder", "text"),
        ("nusd", "integer"),
        ("tokens", "integer"),
    ),
    keys=3,
)
