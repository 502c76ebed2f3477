"""Limits of one process: whether a request may go on, and what it holds while it does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from mainspring.base.errors import RateLimited
from mainspring.limits.denials import Denials
from mainspring.limits.rules import SEPARATOR, Rules
from mainspring.limits.types import Grant, LimitsStatus, RuleStatus
from mainspring.limits.usual import Usual
from mainspring.store.shared import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.base.settings import LimitsSettings
    from mainspring.base.telemetry import Meter
    from mainspring.keys import Subject
    from mainspring.limits.denials import Denied
    from mainspring.store.shared import Shared

T = TypeVar("T")
#: When to ask again if room depends on others being done.
_LATER_US = 1_000_000


class Limits:
    """Survives changes of the configuration: `configure` puts new limits in force, what was used stays used.

    Args:
        shared: where the meters are; opened and closed by whoever made it.
        settings: the limits.
        meter: counts denials.
    """

    def __init__(self, shared: Shared, settings: LimitsSettings, meter: Meter) -> None:
        self._shared = shared
        self._meter = meter
        self._denials = Denials()
        #: Apart, and with more patience: a spent budget is no limit on a rate.
        self._budget_denials = Denials(of_one=100, of_all=1000)
        self.usual = Usual()
        self._rules = Rules(settings)

    def configure(self, settings: LimitsSettings) -> None:
        """Put other limits in force."""
        self._rules = Rules(settings)

    async def admit(self, subject: Subject, estimate: Callable[[T, Usual], int], request: T) -> Grant | None:
        """Ask for room in every limit that is about a subject: it gets it in all of them, or nothing is consumed.

        Args:
            subject: who asks, for whom and for what.
            estimate: tokens that a request will probably use; called only where a limit counts them.
            request: what it is called with, beside what is usual.

        Returns:
            The grant, to be released however the request ends; None where no limit is about it. A grant whose
            `denied` is set holds nothing: `refusal` says why.
        """
        rules, ready, about_tokens = self._rules.about(subject)
        asks: Sequence[Ask] = ready
        tokens = estimate(request, self.usual) if about_tokens else 0
        if tokens:
            numbered = [*ready]
            for index in about_tokens:
                ask = ready[index]
                numbered[index] = Ask(ask.key, ask.allowance, 0, tokens)
            asks = numbered
        elif about_tokens:
            rules = tuple(rule for rule in rules if rule.kind != "tokens")
            asks = tuple(ask for ask in asks if ask.charge or ask.reserve)
        if not asks:
            return None
        return Grant(self._shared, rules, asks, await self._shared.take(asks), counts_tokens=tokens > 0)

    def refusal(self, grant: Grant) -> RateLimited:
        """What to tell the caller of a denied request; counts the denial."""
        rule, wait_us = grant.denied, grant.wait_us
        assert rule is not None, "it was denied"
        self._meter.count("limit_denials", "Requests that a limit had no room for.", limit=rule.name)
        milliseconds = max(1, math.ceil((_LATER_US if math.isinf(wait_us) else wait_us) / 1000))
        when = f"{milliseconds / 1000:,.1f} s" if milliseconds >= 100 else f"{milliseconds} ms"  # noqa: PLR2004 - a tenth
        return RateLimited(
            f"The limit of {rule.words} is reached.",
            remedy=f"Try again in {when}.",
            limit=rule.name,
            retry_after_ms=milliseconds,
        )

    def worth_a_row(self, grant: Grant, subject: Subject) -> bool:
        """Whether a denial is to be recorded: all of them while they are few, one a second of who goes on and on."""
        assert grant.denied is not None, "it was denied"
        rule = grant.denied
        unrecorded = self._denials.record(grant.denied_key, rule.name, rule.scope, subject)
        grant.unrecorded = unrecorded or 0
        return unrecorded is not None

    def budget_worth_a_row(self, budget_id: str | None, subject: Subject) -> int | None:
        """The same of a refusal by a budget: how many of the same key got no row before it; None if it gets none."""
        key = f"{budget_id}{SEPARATOR}{subject.key_id}"
        return self._budget_denials.record(key, "budget", "key", subject)

    def unrecorded(self) -> list[Denied]:
        """Denials of this process that no row tells of yet."""
        return self._denials.unrecorded()

    def status(self) -> LimitsStatus:
        """The limits in force and the state that they share."""
        rules = [
            RuleStatus(rule.name, rule.kind, rule.scope, rule.limit, rule.allowance.capacity)
            for rule in self._rules.all()
        ]
        return LimitsStatus(rules, self._shared.status())
