"""Who may ask: keys as they are stored, and the principal that a checked key stands for."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Who is asking: a checked key."""

    key_id: str
    name: str
    tenant: str
    role: str
    #: Model and route names the key may use; None is all.
    models: frozenset[str] | None = None
    #: Whether payloads of this key are kept; None follows the route and the settings.
    payloads: bool | None = None
    #: The key's own limits: requests a second, tokens a minute, requests under way. None is the configured limit.
    rps: float | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    #: The first key of the line that this one goes on by rotation: what a budget on a key is about. Empty is itself.
    origin: str = ""


class Subject(msgspec.Struct, frozen=True, gc=False):
    """Whom limits and budgets are about: who asks, for whom and for what, and the key's own limits."""

    tenant: str
    key_id: str
    user: str | None
    feature: str | None
    rps: float | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    #: The first key of the line that the key goes on by rotation.
    origin: str = ""


class Key(msgspec.Struct, kw_only=True):
    """A key as the database has it; the secret itself is nowhere, only its SHA-256. Times are Unix microseconds.

    `last4` helps people to recognise a key. `replaced_by` is set by a rotation: the old key works until `expires_us`.
    `settings` holds limits that are accepted with a key: `rps`, `tokens_per_minute`, `concurrency`, `budget`.
    """

    id: str
    name: str
    tenant: str
    role: str = "member"
    digest: bytes
    last4: str
    models: list[str] | None = None
    payloads: bool | None = None
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    replaced_by: str | None = None
    settings: dict[str, object] | None = None
    #: The first key of the line that this one goes on by rotation, None where it is itself the first.
    origin: str | None = None
    #: When it was last used, to the minute; flushed now and then, so it may be a minute old.
    last_used_us: int | None = None


class KeyPage(msgspec.Struct):
    """A page of keys, newest first; `next` is the id to pass as `after`, None on the last page."""

    items: list[Key]
    next: str | None = None
