"""Since when each key is in use, and a word in the log once a day about those that are old.

Vault, AWS and files tell when a value came into use. For a variable it is when the value was seen first; the database
remembers that by a keyed hash, so that a restart does not make an old key young.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.base.errors import StoreError
from mainspring.base.logging import get_logger
from mainspring.base.settings.secrets import kind_of
from mainspring.providers import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mainspring.base.secrets import Secret
    from mainspring.providers.pool import KeyPool, PooledKey
    from mainspring.store import Connection, Database

DAY_US = 86_400_000_000
#: How often it is looked whether a secret is another one; only memory is looked at.
_LOOK_SECONDS = 2.0

_log = get_logger(__name__)


class Ages:
    """Ages by what a key is called and what it stands for now.

    Args:
        database: where first sights are kept.
        old_days: from how many days on a key is called old.
    """

    def __init__(self, database: Database, old_days: float) -> None:
        self._database = database
        self.old_days = old_days
        #: By name: the secret, and since when.
        self._since: dict[str, tuple[Secret, int]] = {}
        self._warned_us: dict[str, int] = {}

    async def follow(self, pools: Callable[[], Iterable[KeyPool]]) -> None:
        """Learn the ages of all keys, and warn of old ones, until cancelled."""
        while True:
            for pool in pools():
                await self.learn_all(pool)
                for key in pool.keys:
                    self.warn(pool.provider, key)
            await asyncio.sleep(_LOOK_SECONDS)

    async def learn_all(self, pool: KeyPool) -> None:
        """Learn the ages of a provider's keys."""
        for key in pool.keys:
            if key.secret is not None and key.reference:
                await self.learn(name_of(pool.provider, key), key.secret)

    async def learn(self, name: str, secret: Secret) -> None:
        """Find out since when a secret is in use. A database that is away is asked again the next time."""
        known = self._since.get(name)
        if known is not None and known[0] == secret:
            return
        if secret.since_us is not None:
            self._since[name] = (secret, secret.since_us)
            return
        try:
            self._since[name] = (secret, await first_seen(self._database, name, secret.value))
        except StoreError:
            return

    def since(self, provider: str, key: PooledKey) -> int | None:
        """Since when a key's secret is in use, in Unix microseconds; None while it is not known."""
        known = self._since.get(name_of(provider, key))
        return None if known is None or known[0] != key.secret else known[1]

    def old(self, since_us: int | None) -> bool:
        """Whether a key that is in use since then is past its days."""
        return since_us is not None and now_us() - since_us > self.old_days * DAY_US

    def warn(self, provider: str, key: PooledKey) -> None:
        """Tell the log about an old key, once a day."""
        now, since, name = now_us(), self.since(provider, key), name_of(provider, key)
        if since is None or not self.old(since) or now - self._warned_us.get(name, 0) < DAY_US:
            return
        self._warned_us[name] = now
        _log.warning(
            "provider_key_old",
            provider=provider,
            key_label=key.label,
            days=(now - since) // DAY_US,
            remedy="Make a new key at the provider and put it in this one's place.",
        )


def name_of(provider: str, key: PooledKey) -> str:
    """Under which name a secret's values are remembered: what it refers to, or where in the configuration it stands."""
    return key.reference if kind_of(key.reference) != "literal" else f"providers.{provider} {key.label}"


async def first_seen(database: Database, name: str, value: str) -> int:
    """When a value was seen first under a name; now, and remembered, if it never was."""

    def work(connection: Connection) -> int:
        for fingerprint, salt, first in queries.secret_values(connection, name):
            if hmac.compare_digest(_fingerprint(salt, value), fingerprint):
                return first
        salt, now = secrets.token_bytes(16), now_us()
        queries.add_secret_value(connection, name, _fingerprint(salt, value), salt, now)
        return now

    return await database.write(work)


def _fingerprint(salt: bytes, value: str) -> bytes:
    return hmac.new(salt, value.encode(), hashlib.sha256).digest()[:16]
