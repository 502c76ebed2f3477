"""Third step: whom the limits are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.keys.types import Subject

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange


def admit(exchange: Exchange) -> None:
    """Name the subject of a request."""
    principal, attribution = exchange.principal, exchange.attribution
    assert principal is not None, "authenticate comes first"
    exchange.subject = Subject(
        principal.tenant,
        principal.key_id,
        attribution.user,
        attribution.feature,
        principal.rps,
        principal.tokens_per_minute,
        principal.concurrency,
    )
