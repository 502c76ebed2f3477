"""The record of every answer: one row each, its payload apart, what people said of it, and sums over all of it.

This room knows what a row holds, how rows are found again and how they add up. It does not know which database keeps
them, what a request looks like on the wire, what anything costs, or who may read what: callers pass a tenant.
"""

from mainspring.ledger.service import Grouping, Ledger
from mainspring.ledger.types import (
    Attempt,
    Feedback,
    Inference,
    LedgerFilter,
    Page,
    Payload,
    Usage,
    UsageRow,
)

__all__ = [
    "Attempt",
    "Feedback",
    "Grouping",
    "Inference",
    "Ledger",
    "LedgerFilter",
    "Page",
    "Payload",
    "Usage",
    "UsageRow",
]
