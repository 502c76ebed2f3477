"""What is kept of denials: everyone is counted, and of a flood a few are recorded, so that it fills no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import now_us
from mainspring.store.shared import Allowance, Ask
from mainspring.store.shared.memory import Meters

if TYPE_CHECKING:
    from mainspring.keys import Subject
    from mainspring.limits.rules import Rule

#: Of one subject ten at once and then one a second; of all together two hundred and then twenty.
_OF_ONE = Allowance(1_000_000, 10)
_OF_ALL = Allowance(50_000, 200)
#: Subjects whose unrecorded denials are remembered.
_MOST = 10_000


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
    """Chooses which denials get a row of their own."""

    def __init__(self) -> None:
        self._meters = Meters()
        self._unrecorded: dict[str, Denied] = {}

    def record(self, key: str, rule: Rule, subject: Subject) -> int | None:
        """Whether this one is to be recorded.

        Args:
            key: the name of the meter that had no room: one subject under one limit.
            rule: the limit.
            subject: who asked.

        Returns:
            How many of the same subject were not since the last one that was; None if this one is not either.
        """
        asks = (Ask("", _OF_ALL, charge=1), Ask(key, _OF_ONE, charge=1))
        if self._meters.take(asks).admitted:
            before = self._unrecorded.pop(key, None)
            return before.denials if before is not None else 0
        denied = self._unrecorded.get(key)
        if denied is None:
            if len(self._unrecorded) >= _MOST:
                self._unrecorded.pop(next(iter(self._unrecorded)))
            whom = subject_of(
                rule.scope,
                tenant=subject.tenant,
                key_id=subject.key_id,
                user=subject.user,
                feature=subject.feature,
            )
            denied = self._unrecorded[key] = Denied(rule.name, rule.scope, subject.tenant, whom, 0, 0)
        denied.denials += 1
        denied.last_us = now_us()
        return None

    def unrecorded(self) -> list[Denied]:
        """Those that no row tells of yet."""
        return list(self._unrecorded.values())

    def sweep(self) -> None:
        """Forget who was not denied for a while."""
        self._meters.sweep()
