"""Why a server cannot be used, in a sentence for people, and what to do about it.

Neither the password nor anything that was kept there is ever in them: of what a server says, only what is of its own.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.clock import monotonic
from mainspring.base.logging import get_logger
from mainspring.store.shared.resp import Lost, RedisError

if TYPE_CHECKING:
    from mainspring.store.shared.resp import Address

_LONGEST = 200
#: A server that comes and goes is told of this often.
_QUIET_SECONDS = 60.0
_log = get_logger(__name__)

_CREDENTIALS = "Correct the user name and the password in storage.shared; %40 stands for an @ in them."
_RIGHTS = "Let this user call EVALSHA, SCRIPT LOAD and what the script uses, on keys {mainspring}:*."
_CLUSTER = (
    "is a node of a Redis Cluster, which Mainspring does not speak",
    "Name a single server or the primary of a replicated one, or a proxy before the cluster.",
)
_CERTIFICATE = (
    "Name the server as its certificate does, and the authority that signed it by ?ssl_ca_certs=FILE"
    " behind storage.shared or in SSL_CERT_FILE."
)

#: By the first word of what the server says: what is wrong, and what to do.
_REFUSALS: dict[str, tuple[str, str]] = {
    "WRONGPASS": ("does not accept the user name or the password", _CREDENTIALS),
    "NOAUTH": ("asks for a password", "Write storage.shared as redis://:PASSWORD@HOST:PORT/DATABASE."),
    "READONLY": ("is a read-only replica", "Name the primary in storage.shared."),
    "LOADING": ("is still loading its data", "Wait; it is asked again."),
    "MASTERDOWN": ("is a replica that has lost its primary", "Name the primary in storage.shared."),
    "NOREPLICAS": ("writes nothing while it has too few replicas", "Bring its replicas back."),
    "MISCONF": ("writes nothing because it cannot save to its disk", "See its log and its disk."),
    "OOM": ("has no memory left", "Raise its maxmemory, or use a server of its own."),
    "BUSY": ("is busy with a script of somebody else", "See `SCRIPT KILL`; it is asked again."),
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "TRYAGAIN": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
}
#: By what stands in an error that has no word of its own.
_SAYINGS: tuple[tuple[str, tuple[str, str]], ...] = (
    ("without any password configured", ("has no password, but storage.shared names one", _CREDENTIALS)),
    ("DB index is out of range", ("has no database of this number", "Name a lower one behind the last /.")),
    ("SELECT is not allowed in cluster", _CLUSTER),
    ("max number of clients", ("has no room for another client", "Raise its maxclients.")),
)
#: What passes without anybody doing something: looked at again as soon as a server that is away.
_PASSING = {"LOADING", "BUSY", "MASTERDOWN", "READONLY"}


class Trouble(NamedTuple):
    """Why a server cannot be used.

    Attributes:
        reason: what goes on after the address of the server.
        remedy: what to do.
        lasting: whether it will hardly be better in a moment.
    """

    reason: str
    remedy: str
    lasting: bool = False


def explain(error: Exception, address: Address) -> Trouble:
    """What an error of a connection means.

    Args:
        error: what `Link` raised or answered.
        address: of the server.
    """
    match error:
        case RedisError():
            return _refusal(str(error))
        case ssl.SSLCertVerificationError():
            why = error.verify_message or "it cannot be verified"
            found = Trouble(f"has a certificate that is not trusted: {why}", _CERTIFICATE, lasting=True)
        case ssl.SSLError():
            why = (error.reason or "no handshake").lower().replace("_", " ")
            found = Trouble(f"does not speak TLS with us ({why})", _with(address), lasting=True)
        case TimeoutError():
            found = Trouble("does not answer in time", _with(address))
        case Lost():
            found = Trouble(str(error), _with(address))
        case _:
            why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            found = Trouble(f"cannot be reached ({why})", "Check storage.shared, and that the server runs.")
    return found


def _refusal(text: str) -> Trouble:
    word = text.partition(" ")[0]
    if word == "NOPERM":  # it names the command, and perhaps a key, whose name tells nothing
        return Trouble(f"refused: {text[:_LONGEST]}", _RIGHTS, lasting=True)
    found = _REFUSALS.get(word) or next((said for part, said in _SAYINGS if part in text), None)
    reason, remedy = found or (f"refused: {text[:_LONGEST]}", "See the log of the server.")
    return Trouble(reason, remedy, lasting=word not in _PASSING)


def _with(address: Address) -> str:
    """What to try where the wrong protocol may be the reason."""
    if address.tls:
        return "Check that it runs and speaks TLS on this port; without TLS it is redis:// in storage.shared."
    return (
        "Check that it runs and is a Redis; one that speaks TLS on this port is rediss:// in storage.shared."
    )


class Voice:
    """What the log hears of a server that goes and comes: not every time that it is looked at.

    Args:
        server: its address, without a password.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        #: Why it is away as the log said last, and until when it says nothing more of that.
        self._told = ""
        self._quiet_until = 0.0

    def away(self, trouble: Trouble, processes: int) -> None:
        """It cannot be used. What will not pass by itself is told though the log has said already that it is away."""
        news = trouble.reason != self._told if trouble.lasting else not self._told
        if news and monotonic() >= self._quiet_until:
            self._told, self._quiet_until = trouble.reason, monotonic() + _QUIET_SECONDS
            _log.warning(
                "redis is away; each process keeps its share of every limit",
                server=self._server,
                why=trouble.reason,
                remedy=trouble.remedy,
                processes=processes,
            )

    def back(self) -> None:
        """It can be used again."""
        if self._told:
            self._told = ""
            _log.info("redis is back; limits are shared again", server=self._server)
