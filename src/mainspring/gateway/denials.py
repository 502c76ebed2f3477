"""Which denials get a row: all of them while they are few, of a flood a few, with the number of the others.

A limit that has no room, or a budget with too little left, refuses before anything was sent upstream. Such a row has no
payload: whoever asks ten thousand times a second for what they cannot have would fill the disk with their questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import BudgetExceeded, RateLimited

if TYPE_CHECKING:
    from mainspring.base.errors import MainspringError
    from mainspring.base.telemetry import Meter
    from mainspring.gateway.exchange import Exchange
    from mainspring.limits import Limits


def worth_a_row(exchange: Exchange, error: MainspringError, limits: Limits | None, meter: Meter) -> bool:
    """Whether a refusal is recorded. A denial loses its payload."""
    if limits is None or exchange.subject is None or exchange.attempts:
        return True
    if isinstance(error, RateLimited):
        if exchange.grant is None or exchange.grant.denied is None:
            return True
        recorded, by = limits.worth_a_row(exchange.grant, exchange.subject), "limit"
    elif isinstance(error, BudgetExceeded):
        unrecorded = limits.budget_worth_a_row(error.budget_id, exchange.subject)
        recorded, by = unrecorded is not None, "budget"
        error.unrecorded = unrecorded or 0
    else:
        return True
    exchange.store_payloads = False
    if not recorded:
        exchange.cost_nusd = 0
        meter.count(
            "denials_without_row", "Denials by limits and budgets that got no row of their own.", by=by
        )
    return recorded
