"""Before each call upstream: what it may cost at most is set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.routing.types import Target


async def reserve(exchange: Exchange, target: Target) -> None:
    """Set aside what a call of this exchange to this target may cost. Where no budget is about it, nothing.

    Raises:
        BudgetExceeded: there is too little left; another target may be cheaper.
    """
