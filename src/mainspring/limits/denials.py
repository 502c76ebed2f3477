"""What is kept of denials: everyone is counted, and of a flood a few are recorded, so that it fills no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import now_us
from mainspring.store.shared import Allowance, Ask
from mainspring.store.shared.memory import Meters

if TYPE_CHECKING:
    from mainspring.keys import Subject

#: After a number at once, one a second of one subject and twenty of all together.
_PACE_OF_ONE_US, _PACE_OF_ALL_US = 1_000_000, 50_000
#: Subjects whose unrecorded denials are remembered.
_MOST = 10_000
#: Who was not denied for a while is forgotten, in a part of the table at a time, once in so many denials.
_SWEEP_EVERY = 1000


class Denied(msgspec.Struct):
    """One subject under one limit.

    Attributes:
        limit: the name of the setting.
        scope: `user`, `key`, `tenant` or `feature`.
        tenant: whose.
        subject: the name of the user or feature, the id of the key, or the tenant.
        denials: how often.
        last_us: when last.
    """

    limit: str
    scope: str
    tenant: str
    subject: str
    denials: int
    last_us: int


def subject_of(scope: str, *, tenant: str, key_id: str | None, user: str | None, feature: str | None) -> str:
    """The name of whom a limit of that scope is about."""
    return {"user": user, "feature": feature, "tenant": tenant}.get(scope, key_id) or ""


class Denials:
    """Chooses which denials get a row of their own.

    Args:
        of_one: so many at once of one subject, before one a second.
        of_all: so many of all together, before twenty.
    """

    def __init__(self, of_one: int = 10, of_all: int = 200) -> None:
        self._of_one = Allowance(_PACE_OF_ONE_US, of_one)
        self._of_all = Allowance(_PACE_OF_ALL_US, of_all)
        self._meters = Meters()
        self._unrecorded: dict[str, Denied] = {}
        self._since_sweep = 0

    def record(self, key: str, limit: str, scope: str, subject: Subject) -> int | None:
        """Whether this one is to be recorded.

        Args:
            key: the name of the meter that had no room: one subject under one limit.
            limit: the name of the setting.
            scope: `user`, `key`, `tenant` or `feature`.
            subject: who asked.

        Returns:
            How many of the same subject were not since the last one that was; None if this one is not either.
        """
        self._since_sweep += 1
        if self._since_sweep >= _SWEEP_EVERY:
            self._since_sweep = 0
            self._meters.sweep()
        asks = (Ask("", self._of_all, charge=1), Ask(key, self._of_one, charge=1))
        if self._meters.take(asks).admitted:
            before = self._unrecorded.pop(key, None)
            return before.denials if before is not None else 0
        denied = self._unrecorded.get(key)
        if denied is None:
            if len(self._unrecorded) >= _MOST:
                self._unrecorded.pop(next(iter(self._unrecorded)))
            whom = subject_of(
                scope,
                tenant=subject.tenant,
                key_id=subject.key_id,
                user=subject.user,
                feature=subject.feature,
            )
            denied = self._unrecorded[key] = Denied(limit, scope, subject.tenant, whom, 0, 0)
        denied.denials += 1
        denied.last_us = now_us()
        return None

    def unrecorded(self) -> list[Denied]:
        """Those that no row tells of yet."""
        return list(self._unrecorded.values())
