"""The console: what a person sees of an instance, in a browser.

Pages are made on the server, charts too; the one script of ours (`static/console.js`) adds the live tail, the
streaming playground and readings under the pointer, and every page works without it. The console knows the
ledger, the keys and the gateway through the runtime; it has no query, no price and no provider of its own, and
what it asks of a model goes the same governed way as everybody's call.
"""

from __future__ import annotations

from mainspring.web.console.app import create_console

__all__ = ["create_console"]
