"""HTTP/1.1 on this side: connections of callers, from bytes to requests and from answers to bytes.

A `Listener` makes the connections of one process; uvicorn's server starts and stops it. What is asked on the protocol
surfaces goes to the gateway as it is, with its body read; everything else goes to the pages as ASGI. Nothing here
knows what a request means.
"""

from mainspring.web.http1.listener import Listener
from mainspring.web.http1.request import Request
from mainspring.web.http1.response import Response

__all__ = ["Listener", "Request", "Response"]
