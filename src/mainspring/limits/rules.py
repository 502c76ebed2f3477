"""Which limits there are, and which of them are about a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from mainspring.store.shared import Allowance, Ask

if TYPE_CHECKING:
    from mainspring.base.settings import LimitsSettings
    from mainspring.keys import Subject

Kind = Literal["requests", "tokens", "concurrency"]
Scope = Literal["user", "key", "tenant", "feature"]
SCOPES: tuple[Scope, ...] = ("user", "key", "tenant", "feature")
_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
#: Subjects whose limits are kept ready. Callers choose the names of users, so there is an end to it.
_MOST_KNOWN = 2_000
#: Where headers tell of a kind; of places held nowhere.
_PLACES: dict[Kind, int] = {"requests": 0, "tokens": 1, "concurrency": -1}
#: How the meter of a kind is called, so that one subject's are apart.
_LETTERS = {"requests": "r", "tokens": "t", "concurrency": "c"}
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
        place: where headers tell of it: 0 with requests, 1 with tokens, -1 nowhere.
        most: the capacity as headers tell it.
        whole_us: microseconds that an empty meter takes until it is whole.
    """

    kind: Kind
    scope: Scope
    limit: float
    allowance: Allowance
    name: str
    place: int
    most: bytes
    whole_us: float

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


class About(NamedTuple):
    """The limits that a subject is under, and what is asked of their meters: one ask for each rule.

    Attributes:
        rules: the limits.
        asks: what a request asks; of tokens nothing yet, since each has its own number.
        tokens: which of them are about tokens.
    """

    rules: tuple[Rule, ...]
    asks: tuple[Ask, ...]
    tokens: tuple[int, ...]


class Rules:
    """The limits of one configuration."""

    def __init__(self, settings: LimitsSettings) -> None:
        self._settings = settings
        self._of: dict[Scope, tuple[Rule, ...]] = {scope: self._configured(scope) for scope in SCOPES}
        self._known: dict[Subject, About] = {}

    def all(self) -> list[Rule]:
        """Every configured limit."""
        return [rule for rules in self._of.values() for rule in rules]

    def about(self, subject: Subject) -> About:
        """The limits that a subject is under."""
        found = self._known.get(subject)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[subject] = self._look_up(subject)
        return found

    def _look_up(self, subject: Subject) -> About:
        tenant = subject.tenant
        found: list[tuple[Rule, str]] = []
        if subject.user is not None:
            found += [(rule, f"u{tenant}{SEPARATOR}{subject.user}") for rule in self._of["user"]]
        key = f"k{subject.origin or subject.key_id}"  # a key that was rotated is the same one
        found += [(rule, key) for rule in self._of_key(subject)]
        found += [(rule, f"t{tenant}") for rule in self._of["tenant"]]
        if subject.feature is not None:
            found += [(rule, f"f{tenant}{SEPARATOR}{subject.feature}") for rule in self._of["feature"]]
        return About(
            tuple(rule for rule, _ in found),
            tuple(_ask(rule, name) for rule, name in found),
            tuple(index for index, (rule, _) in enumerate(found) if rule.kind == "tokens"),
        )

    def _of_key(self, subject: Subject) -> tuple[Rule, ...]:
        """The limits of a key; where it has none of its own, those of all keys."""
        own = subject.rps, subject.tokens_per_minute, subject.concurrency
        return self._of["key"] if own == (None, None, None) else self._rules("key", *own)

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
                found.append(
                    Rule(
                        kind,
                        scope,
                        limit,
                        allowance,
                        name,
                        _PLACES[kind],
                        b"%d" % allowance.capacity,
                        allowance.capacity * allowance.emission_us,
                    )
                )
        return tuple(found)

    def _allowance(self, kind: Kind, limit: float) -> Allowance:
        settings = self._settings
        if kind == "requests":
            return Allowance(_SECOND_US / limit, max(1.0, limit * settings.burst_seconds))
        if kind == "tokens":
            return Allowance(_MINUTE_US / limit, max(1.0, limit / 60 * settings.tokens_burst_seconds))
        return Allowance(_SECOND_US, limit, drains=False)


def _ask(rule: Rule, name: str) -> Ask:
    key, kind = _LETTERS[rule.kind] + name, rule.kind
    return Ask(key, rule.allowance, charge=int(kind == "requests"), reserve=int(kind == "concurrency"))
