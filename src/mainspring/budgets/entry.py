"""The budgets in memory: which of them are about a request, and where they count it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.budgets.lease import Lease
from mainspring.budgets.windows import Span, span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.budgets.types import Budget
    from mainspring.keys.types import Subject

_NO_SPAN = Span(0, 0, 0)


class Entry:
    """A budget, with this process's leases of it."""

    __slots__ = ("_leases", "_span", "budget", "recalls", "touched")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.recalls = budget.recalls
        #: Something was settled since thresholds were looked at.
        self.touched = True
        self._leases: dict[int, Lease] = {}
        self._span = _NO_SPAN

    def span(self, time_us: int) -> Span:
        """The bucket of an instant; nearly always the one of the last time."""
        found = self._span
        if not found.bucket_us <= time_us < found.ends_us:
            found = self._span = span(self.budget, time_us)
        return found

    def lease(self, room_us: int, leases: set[Lease]) -> Lease:
        """This process's part of a window; made, and added to `leases`, where there is none."""
        found = self._leases.get(room_us)
        if found is None or found not in leases:
            found = self._leases[room_us] = Lease(self.budget.id, room_us)
            leases.add(found)
            for old in [room for room, lease in self._leases.items() if lease not in leases]:
                del self._leases[old]
        return found

    def forget_denials(self) -> None:
        """Ask the database again before the next refusal: the caps are others now."""
        for lease in self._leases.values():
            lease.denied_until = lease.recall_after = 0.0
            lease.free_nusd = lease.free_tokens = None

    def amounts(self, nusd: int, tokens: int) -> tuple[int, int]:
        """What of an amount the budget caps."""
        budget = self.budget
        return (0 if budget.nusd is None else nusd), (0 if budget.tokens is None else tokens)


class Index:
    """All budgets by what they are about."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self.models: dict[str, list[Entry]] = {}
        self._keys: dict[str, list[Entry]] = {}
        self._tenants: dict[str, list[Entry]] = {}
        self._users: dict[str, list[Entry]] = {}
        self._features: dict[str, list[Entry]] = {}
        tables = {
            "key": self._keys,
            "tenant": self._tenants,
            "user": self._users,
            "feature": self._features,
            "model": self.models,
        }
        for entry in entries:
            self.entries[entry.budget.id] = entry
            tables[entry.budget.kind].setdefault(entry.budget.subject, []).append(entry)

    def about(self, subject: Subject, time_us: int) -> list[Entry]:
        """Those about a request, whichever model it goes to."""
        found: list[Entry] = []
        if self._keys:
            _collect(found, self._keys.get(subject.origin or subject.key_id), subject.tenant, time_us)
        if self._tenants:
            _collect(found, self._tenants.get(subject.tenant), subject.tenant, time_us)
        if self._users and subject.user is not None:
            _collect(found, self._users.get(subject.user), subject.tenant, time_us)
        if self._features and subject.feature is not None:
            _collect(found, self._features.get(subject.feature), subject.tenant, time_us)
        return found

    def about_model(self, name: str, subject: Subject, time_us: int) -> list[Entry]:
        """Those about a model, as `provider/model`."""
        found: list[Entry] = []
        _collect(found, self.models.get(name), subject.tenant, time_us)
        return found


def _collect(found: list[Entry], some: list[Entry] | None, tenant: str, time_us: int) -> None:
    for entry in some or ():
        budget = entry.budget
        if budget.starts_us <= time_us and budget.tenant in (None, tenant):
            found.append(entry)
