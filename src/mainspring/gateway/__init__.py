"""The request path: one request from its key to its row, one step per file.

`authenticate`, `plan`, `admit`, `call`, `relay` and `settle` are the steps, `attempts`, `resume` and `fallback` what
becomes of calls that fail; `watch` looks after deadlines and callers who leave; `Exchange` is what travels. The room
knows nothing of HTTP servers: a request comes in as parsed bytes and goes out through a `Sink`, in words that a
`Dialect` chooses.
"""

from mainspring.gateway.exchange import Attribution, Envelope, Exchange
from mainspring.gateway.plan import allowed
from mainspring.gateway.service import Gateway
from mainspring.gateway.types import Dialect, Sink

__all__ = ["Attribution", "Dialect", "Envelope", "Exchange", "Gateway", "Sink", "allowed"]
