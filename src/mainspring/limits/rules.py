"""Which limits there are, and which of them are about a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from mainspring.store.shared import Allowance

if TYPE_CHECKING:
    from mainspring.base.settings import LimitsSettings
    from mainspring.keys import Subject

Kind = Literal["requests", "tokens", "concurrency"]
Scope = Literal["user", "key", "tenant", "feature"]
SCOPES: tuple[Scope, ...] = ("user", "key", "tenant", "feature")
_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
#: Own limits of keys that are kept ready; callers do not choose them, so that there are few.
_MOST_OWN = 10_000
#: Stands between the parts of a key; no name has it, but for users, who stand last.
SEPARATOR = "\x1f"


class Rule(msgspec.Struct, frozen=True, gc=False):
    """One limit.

    Attributes:
        kind: what it counts.
        scope: whose it is; everybody of that kind has one of their own.
        limit: requests a second, tokens a minute, or requests at once.
        allowance: the same for a meter.
        name: of the setting.
        most: the capacity as headers tell it.
    """

    kind: Kind
    scope: Scope
    limit: float
    allowance: Allowance
    name: str
    most: bytes

    @property
    def words(self) -> str:
        """The limit for people: `10 requests a second for each user`."""
        what = {
            "requests": "requests a second",
            "tokens": "tokens a minute",
            "concurrency": "requests at once",
        }[self.kind]
        if self.limit == 1:
            what = what.replace("s ", " ", 1)
        return f"{self.limit:,.10g} {what} for each {self.scope}"


class Rules:
    """The limits of one configuration."""

    def __init__(self, settings: LimitsSettings) -> None:
        self._settings = settings
        self._of: dict[Scope, tuple[Rule, ...]] = {scope: self._configured(scope) for scope in SCOPES}
        self._user, self._key = self._of["user"], self._of["key"]
        self._tenant, self._feature = self._of["tenant"], self._of["feature"]
        every = self.all()
        #: The one limit that there is, where it is the usual one: then nobody has to look for others.
        self.only: Rule | None = every[0] if len(every) == 1 and every[0].name == "rps_per_user" else None
        self._own: dict[tuple[float | None, int | None, int | None], tuple[Rule, ...]] = {}

    def all(self) -> list[Rule]:
        """Every configured limit."""
        return [rule for rules in self._of.values() for rule in rules]

    def about(self, subject: Subject) -> list[tuple[Rule, str]]:
        """The limits that a subject is under, each with the name of its meter."""
        found: list[tuple[Rule, str]] = []
        if self._user and subject.user is not None:
            name = f"u{subject.tenant}{SEPARATOR}{subject.user}"
            found = [(rule, name) for rule in self._user]
        own = (
            subject.rps is not None
            or subject.tokens_per_minute is not None
            or subject.concurrency is not None
        )
        if own or self._key:
            key = f"k{subject.origin or subject.key_id}"  # a key that was rotated is the same one
            found += [(rule, key) for rule in (self._own_of(subject) if own else self._key)]
        if self._tenant:
            found += [(rule, f"t{subject.tenant}") for rule in self._tenant]
        if self._feature and subject.feature is not None:
            name = f"f{subject.tenant}{SEPARATOR}{subject.feature}"
            found += [(rule, name) for rule in self._feature]
        return found

    def _own_of(self, subject: Subject) -> tuple[Rule, ...]:
        """The limits of a key that has some of its own; for the rest those of all keys hold."""
        wanted = (subject.rps, subject.tokens_per_minute, subject.concurrency)
        found = self._own.get(wanted)
        if found is None:
            if len(self._own) >= _MOST_OWN:
                self._own.clear()
            found = self._own[wanted] = self._rules("key", *wanted)
        return found

    def _configured(self, scope: Scope) -> tuple[Rule, ...]:
        return self._rules(scope, None, None, None)

    def _rules(
        self, scope: Scope, rps: float | None, tokens: int | None, concurrency: int | None
    ) -> tuple[Rule, ...]:
        settings = self._settings
        kinds: list[tuple[Kind, str, float | None]] = [
            ("requests", "rps_per", rps),
            ("tokens", "tokens_per_minute_per", tokens),
            ("concurrency", "concurrency_per", concurrency),
        ]
        found = []
        for kind, prefix, own in kinds:
            name = f"{prefix}_{scope}"
            limit: float = getattr(settings, name) if own is None else own
            if limit:
                allowance = self._allowance(kind, limit)
                found.append(Rule(kind, scope, limit, allowance, name, b"%d" % allowance.capacity))
        return tuple(found)

    def _allowance(self, kind: Kind, limit: float) -> Allowance:
        settings = self._settings
        if kind == "requests":
            return Allowance(_SECOND_US / limit, max(1.0, limit * settings.burst_seconds))
        if kind == "tokens":
            return Allowance(_MINUTE_US / limit, max(1.0, limit / 60 * settings.tokens_burst_seconds))
        return Allowance(_SECOND_US, limit, drains=False)
