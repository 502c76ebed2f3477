"""First step: a key becomes a principal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import AuthenticationFailed

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.keys import KeyRing


def authenticate(exchange: Exchange, keys: KeyRing) -> None:
    """Check the key of a request against the snapshot in memory, unless the edge knows already who asks.

    Raises:
        AuthenticationFailed: no key, or not one of ours, or not good any more.
    """
    if exchange.principal is not None:
        return  # the console's sessions, which were checked at the edge
    if not exchange.secret:
        raise AuthenticationFailed(
            "The request carries no API key.",
            remedy="Send `Authorization: Bearer ms-...` or `x-api-key: ms-...`; `mainspring keys create` makes one.",
        )
    exchange.principal = keys.check(exchange.secret)
