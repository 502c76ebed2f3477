"""Model providers: one file per wire protocol, plus the models in the box.

This room knows how upstreams are called, how their streams read, how one protocol is said in another and what a token
costs. It does not know who is asking, which target a route prefers, or what is done when a call fails.
"""

from mainspring.providers.prices import PriceTable
from mainspring.providers.registry import KNOWN, Providers
from mainspring.providers.types import Call, Operation, Provider, Reply, Seen, StreamScanner

__all__ = [
    "KNOWN",
    "Call",
    "Operation",
    "PriceTable",
    "Provider",
    "Providers",
    "Reply",
    "Seen",
    "StreamScanner",
]
