"""One call to one target: its record in the ledger, and the one verdict that health gets of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import MainspringError, ProviderRefused, ProviderTimeout
from mainspring.gateway.faults import another_key_may_cure, is_dropped, outcome_of
from mainspring.ledger.types import Attempt

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.ledger.types import Outcome
    from mainspring.providers.types import Seen
    from mainspring.routing.health import Health
    from mainspring.routing.types import Target


class Trial:
    """A call under way. Whatever happens to it, exactly one of its ends is told to health; later ones have no effect.

    Args:
        exchange: whose list of attempts it joins.
        target: who is called.
        health: how the targets are.
        hedge: it was begun before the one before it had failed.
        probe: it holds the one place of a target that may be back.
    """

    __slots__ = ("_health", "began", "open", "probe", "record", "seen", "stream", "target")

    def __init__(
        self, exchange: Exchange, target: Target, health: Health, *, hedge: bool = False, probe: bool = False
    ) -> None:
        self.target = target
        self.record = Attempt(target.provider, target.model, now_us())
        if hedge:
            self.record.hedge = True
        self.seen: Seen | None = None
        self.stream = exchange.stream
        self.probe = probe
        self.open = True
        self._health = health
        exchange.attempts.append(self.record)
        self.began = health.began(target)

    def answered(self) -> None:
        """The first content of a stream is here."""
        if self.open:
            health, began = self._health, self.began
            health.answered(self.target, first_token_s=monotonic() - began, stream=True, began=began)

    def succeeded(self) -> None:
        """The answer is complete."""
        if not self.open:
            return
        self.open = False
        self.record.ended_us = now_us()
        if self.stream:
            self._health.succeeded(self.target)
        else:
            took = monotonic() - self.began
            self._health.succeeded(
                self.target, first_token_s=took, total_s=took, stream=False, began=self.began
            )

    def failed(self, error: MainspringError, *, repeated: bool = False) -> None:
        """It ended in an error.

        Args:
            error: what went wrong.
            repeated: a kept connection of this request to this target was dropped before.
        """
        if not self.open:
            return
        record, status = self.record, None
        if isinstance(error, ProviderRefused):
            record.status = status = error.upstream_status
            record.key = error.key or record.key
        record.error = error.code
        self._end(record, outcome_of(error))
        if another_key_may_cure(error) or (is_dropped(error) and not repeated):
            self._health.let_go(self.target, began=self.began)  # about a key, or a connection
        else:
            self._health.failed(self.target, record.outcome, status=status, began=self.began)

    def let_go(self, reason: MainspringError | None = None) -> None:
        """It was given up, for a reason that is not the target's."""
        if self.open:
            self.record.error = reason.code if reason is not None else None
            self._end(self.record, "cancelled")
            self._health.let_go(self.target, began=self.began)

    def outrun(self) -> None:
        """It was given up because another target answered first."""
        if self.open:
            self._end(self.record, "cancelled")
            waited = monotonic() - self.began
            self._health.outrun(self.target, waited_s=waited, stream=self.stream, began=self.began)

    def leave_behind(self) -> None:
        """Its answer is not needed any more, but health still waits for how it ends."""
        self.record.outcome, self.record.ended_us = "cancelled", now_us()
        self.record = Attempt(self.target.provider, self.target.model, self.record.started_us)

    def _end(self, record: Attempt, outcome: Outcome) -> None:
        self.open = False
        record.outcome = outcome
        record.ended_us = now_us()


def silent(target: Target, seconds: float) -> ProviderTimeout:
    """The error of a target that has sent nothing for too long."""
    return ProviderTimeout(
        f"{target} sent nothing for {seconds:g} s.",
        remedy="Raise timeouts.first_token of the route if that is normal for this model.",
    )
