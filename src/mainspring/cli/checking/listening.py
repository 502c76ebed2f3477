"""Whether a server could listen where the configuration says."""

from __future__ import annotations

import errno
import http.client
import socket
from typing import TYPE_CHECKING

from mainspring.cli.checking.findings import doubtful, failed, good

if TYPE_CHECKING:
    from mainspring.cli.checking.findings import Finding

_SECONDS = 2
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def listening(host: str, port: int) -> Finding:
    """Try to have the address for a moment."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            if port:
                probe.listen()
    except OSError as error:
        return _taken(host, port) if error.errno == errno.EADDRINUSE else _impossible(host, port, error)
    return good("server", f"can listen on {host}:{port}" if port else f"can listen on {host}, on a free port")


def _taken(host: str, port: int) -> Finding:
    connection = http.client.HTTPConnection(_ANYWHERE.get(host, host), port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        if connection.getresponse().read() == b'{"status":"ok"}':
            return good("server", f"one answers on {host}:{port}")
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return doubtful("server", f"something else uses {host}:{port}", "Stop it, or set another server.port.")


def _impossible(host: str, port: int, error: OSError) -> Finding:
    reason = error.strerror or str(error)
    remedy = (
        "Set server.host to an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all."
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        else "Set another server.port; those below 1024 are for root."
    )
    return failed("server", f"cannot listen on {host}:{port}: {reason}", remedy)
