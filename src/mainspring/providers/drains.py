"""What somebody took out of use: a provider, or one key of it. Kept in the database, known in every process.

Drained means that no new call is made; calls under way finish. It survives restarts and changes of the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest, NotFound
from mainspring.base.logging import get_logger
from mainspring.providers import queries
from mainspring.providers.types import Drain
from mainspring.store import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.store import Database

LONGEST_REASON = 500

_log = get_logger(__name__)


class Drains:
    """The drains of this instance: memory for those who ask on every call, the database for those who change them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], Drain] = {}
        self._seen = -1
        self._follower = Follower("drains", self.refresh)
        #: Called after every change.
        self.on_change: Callable[[], None] | None = None

    def find(self, provider: str, key: str = "") -> Drain | None:
        """Whether a provider or a key of it is out of use, from memory."""
        return self._known.get((provider, key))

    async def start(self) -> None:
        """Read what is out of use, and follow changes until `close`."""
        await self.refresh()
        self._follower.start()

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()

    async def refresh(self) -> None:
        """Take over what changed since the last time."""
        version = await self._database.read(queries.version)
        if version == self._seen:
            return
        found = await self._database.read(queries.drains)
        self._known = {(drain.provider, drain.key): drain for drain in found}
        self._seen = version
        if self.on_change is not None:
            self.on_change()

    async def drain(self, provider: str, key: str = "", *, by: str, reason: str | None = None) -> Drain:
        """Take a provider or a key out of use, in every process within a second.

        Raises:
            InvalidRequest: the reason is too long.
        """
        if reason is not None and len(reason) > LONGEST_REASON:
            raise InvalidRequest(f"A reason has at most {LONGEST_REASON} characters.", param="reason")
        drain = Drain(provider, key, now_us(), by, (reason or "").strip() or None)
        await self._database.write(lambda c: queries.drain(c, drain))
        await self.refresh()
        _log.info("provider_drained", provider=provider, key_label=key or "all", by=by)
        return self._known.get((provider, key), drain)

    async def undrain(self, provider: str, key: str = "") -> None:
        """Take it back into use.

        Raises:
            NotFound: it was not out of use.
        """
        if not await self._database.write(lambda c: queries.undrain(c, provider, key)):
            what = f"The key {key} of {provider}" if key else f"The provider {provider}"
            raise NotFound(f"{what} is not drained.", remedy="`mainspring providers list` shows what is.")
        await self.refresh()
        _log.info("provider_undrained", provider=provider, key_label=key or "all")
