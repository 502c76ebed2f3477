"""The key ring: checks keys in memory, changes them in the database, and hears of changes made elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import LATEST_US, now_us
from mainspring.base.errors import ConfigError, Conflict, InvalidRequest, NotFound, StoreError
from mainspring.base.ids import new_id
from mainspring.keys import queries
from mainspring.keys.secrets import check_admin_key, digest_of, new_secret, read_file, write_file
from mainspring.keys.snapshot import Snapshot
from mainspring.keys.types import Key, KeyPage, Principal
from mainspring.keys.validation import checked
from mainspring.store import Follower

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mainspring.store import Connection, Database

#: When a key was last used is written down at most this often.
USED_EVERY_US = 60_000_000
DEFAULT_TENANT = "default"
LONGEST_OVERLAP_SECONDS = 366 * 86_400


class KeyRing:
    """Everything about keys that a process needs. Made on the event loop that it serves.

    `check` and `active` answer from memory and are right within a second of any change in any process. The other
    methods ask the database. Before `start`, memory is empty and no key is known.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot = Snapshot()
        self._seen = 0
        self._refreshing = asyncio.Lock()
        self._follower = Follower("keys", self._look)
        #: Called in the transaction that makes a key, for what must be there as soon as the key is.
        self.on_create: Callable[[Connection, Key], None] | None = None
        #: Awaited before changed keys come in force here, so that what was made with them is known by then.
        self.before_change: Callable[[], Awaitable[None]] | None = None

    def check(self, secret: str) -> Principal:
        """Who holds this secret.

        Raises:
            AuthenticationFailed: nobody, or the key was revoked or has expired.
        """
        return self._snapshot.check(secret)

    def active(self, key_id: str) -> Key | None:
        """The key with this id if it works now, from memory."""
        return self._snapshot.active(key_id)

    async def start(self) -> None:
        """Fill the memory and keep it fresh until `close`."""
        await self.refresh()
        self._follower.start()

    async def close(self) -> None:
        """Stop following and write down what was used last."""
        await self._follower.close()
        with suppress(StoreError):  # a nicety that must not keep a process from ending
            await self._flush_used(0)

    async def refresh(self) -> None:
        """Take over what changed since the last time."""
        async with self._refreshing:  # else who has read sooner could put older keys over newer ones
            version = await self._database.read(queries.version)
            if version == self._seen:
                return
            if version < self._seen:  # the database was replaced by an older one
                self._seen = 0
                self._snapshot.clear()
            seen = self._seen
            version, changed = await self._database.read(lambda c: queries.changed_since(c, seen))
            if self.before_change is not None:
                await self.before_change()
            self._snapshot.put(changed)
            self._seen = version

    async def create(
        self,
        *,
        name: str,
        tenant: str = DEFAULT_TENANT,
        role: str = "member",
        models: Sequence[str] | None = None,
        payloads: bool | None = None,
        expires_us: int | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> tuple[Key, str]:
        """Make a key.

        Args:
            name: for people.
            tenant: whose data it sees.
            role: `admin` (all tenants, manages keys) or `member`.
            models: route and model names it may use; `None` is all.
            payloads: whether what is asked with it is kept; `None` follows the route and the settings.
            expires_us: Unix microseconds after which it stops working.
            settings: limits that are kept with it: `rps`, `budget`.

        Returns:
            The key, and its secret, which is nowhere else and cannot be had again.

        Raises:
            InvalidRequest: a value cannot be; `param` names it.
        """
        secret = new_secret()
        key = checked(
            _new_key(
                secret,
                name=name,
                tenant=tenant,
                role=role,
                models=None if models is None else list(models),
                payloads=payloads,
                expires_us=expires_us,
                settings=None if settings is None else dict(settings),
            )
        )

        def work(connection: Connection) -> None:
            queries.add(connection, key)
            if self.on_create is not None:
                self.on_create(connection, key)

        await self._database.write(work)
        await self.refresh()
        return key, secret

    async def get(self, key_id: str, *, tenant: str | None = None) -> Key:
        """The key with this id, as the database has it.

        Raises:
            NotFound: there is none of that tenant.
        """
        key = await self._database.read(lambda c: queries.by_id(c, key_id, tenant))
        if key is None:
            raise _unknown(key_id)
        return self._with_used(key)

    async def list(self, *, tenant: str | None = None, limit: int = 50, after: str | None = None) -> KeyPage:
        """Keys, newest first; revoked and expired ones too."""
        found = await self._database.read(
            lambda c: queries.page(c, tenant=tenant, limit=limit + 1, after=after)
        )
        items = [self._with_used(key) for key in found[:limit]]
        return KeyPage(items, items[-1].id if len(found) > limit else None)

    async def revoke(self, key_id: str, *, tenant: str | None = None) -> Key:
        """Stop a key for good, in every process within a second. Doing so twice is no error.

        Raises:
            NotFound: there is none of that tenant.
        """

        def work(connection: Connection) -> Key:
            key = queries.by_id(connection, key_id, tenant)
            if key is None:
                raise _unknown(key_id)
            if key.revoked_us is None:
                key.revoked_us = now_us()
                queries.revoke(connection, key_id, key.revoked_us)
            return key

        key = await self._database.write(work)
        await self.refresh()
        return key

    async def rotate(
        self, key_id: str, *, overlap_seconds: float = 86_400, tenant: str | None = None
    ) -> tuple[Key, str]:
        """Make a key that takes the place of another, which works on for a while.

        The new key has the same name, tenant, role and limits, and if the old one had an expiry, lives as long as
        the old one was meant to.

        Args:
            key_id: the key to replace.
            overlap_seconds: how long the old key still works; 0 ends it now.
            tenant: only if the key belongs to this tenant.

        Returns:
            The new key and its secret.

        Raises:
            NotFound: there is no such key of that tenant.
            Conflict: it was revoked, has expired or was rotated already.
        """
        if not 0 <= overlap_seconds <= LONGEST_OVERLAP_SECONDS:
            raise InvalidRequest("The overlap is between 0 seconds and a year.", param="overlap_seconds")
        secret = new_secret()

        def work(connection: Connection) -> Key:
            now = now_us()
            old = queries.by_id(connection, key_id, tenant)
            if old is None:
                raise _unknown(key_id)
            _must_be_rotatable(old, now)
            lives_us = None if old.expires_us is None else old.expires_us - old.created_us
            new = msgspec.structs.replace(
                old,
                id=new_id(),
                digest=digest_of(secret),
                last4=secret[-4:],
                created_us=now,
                last_used_us=None,
                origin=old.origin or old.id,
                expires_us=None if lives_us is None else min(now + lives_us, LATEST_US),
            )
            ends = now + int(overlap_seconds * 1_000_000)
            queries.add(connection, new)
            queries.end(connection, old.id, expires_us=min(ends, old.expires_us or ends), replaced_by=new.id)
            return new

        key = await self._database.write(work)
        await self.refresh()
        return key, secret

    async def bootstrap(self, admin_key: str | None, path: Path) -> str | None:
        """See to it that there is an admin key. Safe when several workers start together.

        Args:
            admin_key: a secret that was chosen (`MAINSPRING_ADMIN_KEY`); it is made a key if it is not one yet.
            path: where a secret that we make is kept, mode 0600. A secret found there is made a key if it is not one.

        Returns:
            The secret, if one was made just now, so that it can be shown once; else None.

        Raises:
            ConfigError: the chosen secret is too short, was revoked or is a member's, or the file cannot be read or written.
        """
        if admin_key is not None:
            check_admin_key(admin_key, path)
            key = await self._database.write(lambda c: _adopt(c, admin_key))
            if key.revoked_us is not None:
                raise ConfigError(
                    "MAINSPRING_ADMIN_KEY names a key that was revoked.", remedy="Set another one."
                )
            if key.role != "admin":
                raise ConfigError(
                    f"MAINSPRING_ADMIN_KEY names the key {key.name!r}, which is a member's.",
                    remedy="Set one that no key has yet, or an admin's.",
                )
            await self.refresh()
            return None
        made: list[str] = []  # outside of the transaction's function, which may run again after a conflict

        def work(connection: Connection) -> None:
            secret = read_file(path)
            if secret is None:
                queries.next_version(connection)  # takes the lock: from here on one process at a time
                secret = read_file(path)
            if secret is None:
                if queries.any_admin(connection, now_us()):
                    return  # somebody has taken over; the file was deleted on purpose
                secret = new_secret()
                if write_file(path, secret):
                    made.append(secret)
                else:
                    secret = read_file(path) or secret
            _adopt(connection, secret)

        await self._database.write(work)
        await self.refresh()
        return made[0] if made else None

    async def _look(self) -> None:
        await self.refresh()
        await self._flush_used(USED_EVERY_US)

    async def _flush_used(self, at_least_us: int) -> None:
        used = self._snapshot.take_used(at_least_us)
        if used:
            await self._database.write(lambda c: queries.note_used(c, used))

    def _with_used(self, key: Key) -> Key:
        """With the last use that this process knows of, which may be newer than the database's."""
        used = max(key.last_used_us or 0, self._snapshot.used(key.id) or 0)
        key.last_used_us = used or None
        return key


def _new_key(secret: str, **values: Any) -> Key:
    return Key(id=new_id(), digest=digest_of(secret), last4=secret[-4:], created_us=now_us(), **values)


def _adopt(connection: Connection, secret: str) -> Key:
    """The key with this secret; an admin key if it has to be made."""
    found = queries.by_digest(connection, digest_of(secret))
    if found is None:
        queries.next_version(connection)  # takes the lock, so that two processes do not both add it
        found = queries.by_digest(connection, digest_of(secret))
    if found is None:
        found = _new_key(secret, name="admin", tenant=DEFAULT_TENANT, role="admin")
        queries.add(connection, found)
    return found


def _must_be_rotatable(key: Key, now: int) -> None:
    if key.revoked_us is not None:
        raise Conflict("This key was revoked.", remedy="Create a new one.")
    if key.replaced_by is not None:
        raise Conflict("This key was rotated already.", remedy=f"Rotate its successor {key.replaced_by}.")
    if key.expires_us is not None and key.expires_us <= now:
        raise Conflict("This key has expired.", remedy="Create a new one.")


def _unknown(key_id: str) -> NotFound:
    return NotFound(
        f"There is no key {key_id!r}.", remedy="`mainspring keys list` shows those that there are."
    )
