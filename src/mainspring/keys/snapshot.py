"""The keys in memory: what the check of a request looks at."""

from __future__ import annotations

import hmac
from time import time_ns
from typing import TYPE_CHECKING, Any

from mainspring.base.clock import iso
from mainspring.base.errors import AuthenticationFailed
from mainspring.keys.secrets import digest_of
from mainspring.keys.types import Key, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEVER = 1 << 62
_REMEDY = "Send a key as `Authorization: Bearer ms-...` or `x-api-key: ms-...`; an admin makes one with `mainspring keys create`."


class _Entry:
    """A key as the check needs it. `ends_us` is when it stops working: 0 for a revoked one."""

    __slots__ = ("digest", "ends_us", "flushed_us", "key", "principal", "used_us")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.digest = key.digest
        self.ends_us = (
            0 if key.revoked_us is not None else _NEVER if key.expires_us is None else key.expires_us
        )
        self.used_us = self.flushed_us = key.last_used_us or 0
        self.principal = principal_of(key)


class Snapshot:
    """All keys by the digest of their secret and by id. Belongs to one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, _Entry] = {}
        self._by_id: dict[str, _Entry] = {}

    def put(self, keys: Iterable[Key]) -> None:
        """Take over keys as the database has them now."""
        for key in keys:
            entry = _Entry(key)
            old = self._by_id.get(key.id)
            if old is not None:
                entry.used_us = max(entry.used_us, old.used_us)
            self._by_id[key.id] = self._by_digest[key.digest] = entry

    def clear(self) -> None:
        """Forget everything, because the database was replaced by an older one."""
        self._by_digest.clear()
        self._by_id.clear()

    def check(self, secret: str) -> Principal:
        """Who holds this secret. See `KeyRing.check`."""
        digest = digest_of(secret)
        entry = self._by_digest.get(digest)
        # The dictionary compares digests, not secrets, so its timing tells nothing about a secret;
        # the comparison that decides takes the same time for every digest.
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            raise AuthenticationFailed(
                "This key is not known." if secret else "There is no key.", remedy=_REMEDY
            )
        now = time_ns() // 1000
        if now >= entry.ends_us:
            raise _ended(entry.key)
        entry.used_us = now
        return entry.principal

    def active(self, key_id: str) -> Key | None:
        """The key with this id, if it works now."""
        entry = self._by_id.get(key_id)
        return entry.key if entry is not None and time_ns() // 1000 < entry.ends_us else None

    def used(self, key_id: str) -> int | None:
        """When a key was last used as far as this process knows, in Unix microseconds."""
        entry = self._by_id.get(key_id)
        return entry.used_us or None if entry is not None else None

    def take_used(self, at_least_us: int) -> list[tuple[str, int]]:
        """Keys used since they were last taken, where at least this much time has gone by."""
        taken = []
        for entry in self._by_id.values():
            if entry.used_us > entry.flushed_us + at_least_us:
                entry.flushed_us = entry.used_us
                taken.append((entry.key.id, entry.used_us))
        return taken


def principal_of(key: Key) -> Principal:
    """What a key may do."""
    limits: dict[str, Any] = key.settings or {}
    return Principal(
        key_id=key.id,
        name=key.name,
        tenant=key.tenant,
        role=key.role,
        models=None if key.models is None else frozenset(key.models),
        payloads=key.payloads,
        rps=limits.get("rps"),
        tokens_per_minute=limits.get("tokens_per_minute"),
        concurrency=limits.get("concurrency"),
        origin=key.origin or key.id,
    )


def _ended(key: Key) -> AuthenticationFailed:
    if key.revoked_us is not None:
        return AuthenticationFailed(
            f"The key {key.name!r} was revoked at {iso(key.revoked_us)}.", remedy=_REMEDY
        )
    why = " because it was rotated" if key.replaced_by else ""
    return AuthenticationFailed(
        f"The key {key.name!r} expired at {iso(key.expires_us or 0)}{why}.", remedy=_REMEDY
    )
