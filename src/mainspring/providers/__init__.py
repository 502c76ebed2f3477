"""Model providers: one file per wire protocol, plus the models in the box.

This room knows how upstreams are called, how their streams read, how one protocol is said in another and what a token
costs. It does not know who is asking, which target a route prefers, or what is done when a call fails.
"""

from mainspring.providers.ages import Ages
from mainspring.providers.configured import references
from mainspring.providers.drains import Drains
from mainspring.providers.gauges import measure_keys
from mainspring.providers.known import KNOWN
from mainspring.providers.prices import PriceTable
from mainspring.providers.registry import Providers
from mainspring.providers.types import Call, Operation, Provider, Reply, Seen, StreamScanner

__all__ = [
    "KNOWN",
    "Ages",
    "Call",
    "Drains",
    "Operation",
    "PriceTable",
    "Provider",
    "Providers",
    "Reply",
    "Seen",
    "StreamScanner",
    "measure_keys",
    "references",
]
