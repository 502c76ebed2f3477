"""Every statement of the ledger. Each function takes an open connection and leaves the transaction to its caller."""

from __future__ import annotations

from mainspring.ledger.queries.answers import add_feedback, exists, feedback, get, payload
from mainspring.ledger.queries.configurations import add_config, config, delete_nothing
from mainspring.ledger.queries.order import after, newest, numbered, numbers
from mainspring.ledger.queries.pages import page
from mainspring.ledger.queries.rows import instant_of
from mainspring.ledger.queries.sums import Piece, series, usage, usage_by_user

__all__ = [
    "Piece",
    "add_config",
    "add_feedback",
    "after",
    "config",
    "delete_nothing",
    "exists",
    "feedback",
    "get",
    "instant_of",
    "newest",
    "numbered",
    "numbers",
    "page",
    "payload",
    "series",
    "usage",
    "usage_by_user",
]
