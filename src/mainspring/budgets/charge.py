"""The account of one request with the budgets that are about it: covered before each call, settled once, closed always."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.clock import monotonic
from mainspring.base.errors import BudgetExceeded, UnknownPrice
from mainspring.budgets.holders import lasting
from mainspring.budgets.learning import NO_CORRECTION
from mainspring.budgets.refusals import exceeded, unknown_price

if TYPE_CHECKING:
    from mainspring.budgets.entry import Entry, Index
    from mainspring.budgets.learning import Correction
    from mainspring.budgets.lease import Lease
    from mainspring.budgets.service import Budgets
    from mainspring.keys.types import Subject
    from mainspring.providers.prices import Rates

_MILLION = 1_000_000
#: A call whose answer has no limit is bounded by the model's maximum where that takes at most this part of what is left.
_SMALL_PART = 64
#: Else by what its answers usually have; where that is not known, by what this part of what is left pays.
_FAIR_PART = 16
#: No answer is held shorter than this.
_SHORTEST = 256
_SHORTEST_UNKNOWN, _LONGEST_UNKNOWN = 1024, 32_768
#: A caller who waits for room looks again after so many seconds.
_QUEUE_STEP = 0.1
#: What others have snatched away is asked for again, but not for ever.
_MOST_ASKED = 5


class Bounds(NamedTuple):
    """The most that a call can use, as far as the request says.

    Attributes:
        prompt: tokens of the prompt: no tokenizer makes more of it.
        output: tokens of one answer; None where the request sets no limit.
        maximum: the most that the model gives; None unknown.
        choices: answers.
        writes_cache: whether parts of the prompt may be billed as written to the provider's cache.
        answers: whether there is an answer made of tokens at all.
    """

    prompt: int
    output: int | None
    maximum: int | None = None
    choices: int = 1
    writes_cache: bool = False
    answers: bool = True


class Hold:
    """What one call has reserved."""

    __slots__ = ("limit", "model", "nusd", "output", "parts", "prompt", "provider", "tokens")

    def __init__(self, provider: str, model: str, prompt: int) -> None:
        self.provider = provider
        self.model = model
        self.parts: list[tuple[Lease, int, int]] = []
        #: The bounds before corrections, for learning.
        self.prompt = prompt
        self.output = 0
        #: The limit that must be written into the request, where it had none and needs one.
        self.limit: int | None = None
        #: The most that the call can cost.
        self.nusd = self.tokens = 0

    def bound(self, bounds: Bounds, rates: tuple[Rates, ...], correction: Correction, output: int) -> None:
        """Say how long an answer may be, and find what the call can cost with that."""
        self.output = output
        prompt = self.prompt
        if correction is not NO_CORRECTION:
            prompt, output = int(prompt * correction.prompt), int(output * correction.output)
        output *= bounds.choices
        self.tokens = prompt + output
        self.nusd = worst(rates, prompt, output, writes_cache=bounds.writes_cache) if rates else 0

    def release(self) -> None:
        """Give it up."""
        for lease, nusd, tokens in self.parts:
            lease.release(nusd, tokens)
        self.parts.clear()


class Charge:
    """One request's account.

    Args:
        budgets: the room.
        subject: who asks.
        time_us: the time of the request's id.
        entries: the budgets that are about it, whichever model it goes to.
    """

    __slots__ = ("_budgets", "_entries", "_index", "holds", "subject", "time_us")

    def __init__(self, budgets: Budgets, subject: Subject, time_us: int, entries: list[Entry]) -> None:
        self._budgets = budgets
        self._entries = entries
        #: Where the entries were found.
        self._index = budgets.index
        self.time_us = time_us
        self.subject = subject
        self.holds: list[Hold] = []

    def cover_at_once(
        self, provider: str, model: str, bounds: Bounds, rates: tuple[Rates, ...] | None
    ) -> Hold | None:
        """Reserve as `cover` does, if that takes nothing but what this process holds already.

        Returns:
            What was reserved; None where somebody must be asked or waited for, and nothing was reserved.

        Raises:
            UnknownPrice: a budget caps money, and the price is not known.
        """
        budgets = self._budgets
        if budgets.is_stale(self.time_us) or lasting() >= budgets.lender.fence:
            return None
        leases = self._leases(provider, model, bounds, rates)
        hold = self._hold(provider, model, bounds, rates or (), leases)
        now = monotonic()
        for entry, lease in leases:
            part = entry.amounts(hold.nusd, hold.tokens)
            if not lease.take(*part, now):
                hold.release()
                return None
            hold.parts.append((lease, *part))
        self.holds.append(hold)
        return hold

    async def cover(
        self,
        provider: str,
        model: str,
        bounds: Bounds,
        rates: tuple[Rates, ...] | None,
        *,
        until: float = math.inf,
    ) -> Hold:
        """Reserve the most that a call can cost, in every budget that is about it, or nothing.

        Earlier calls of the same request keep what they have reserved; see `free`.

        Args:
            provider: who is to be called.
            model: its model.
            bounds: the most that the call can use.
            rates: what the model costs; None unknown.
            until: when the request has no time left to wait for room, in monotonic seconds.

        Raises:
            BudgetExceeded: one of them has too little left.
            UnknownPrice: one of them caps money, and the price is not known.
            StoreUnavailable: more must be asked for, and the database does not answer.
        """
        budgets = self._budgets
        if budgets.is_stale(self.time_us):
            await budgets.catch_up()
            self._index = budgets.index
            self._entries = self._index.about(self.subject, self.time_us)
        leases = self._leases(provider, model, bounds, rates)
        if leases and lasting() >= budgets.lender.fence and budgets.lender.holds:
            await budgets.lender.renew()
        may_be_shorter = bounds.output is None and bounds.answers
        while True:
            hold = self._hold(provider, model, bounds, rates or (), leases)
            try:
                if await self._reserve(hold, leases, None if may_be_shorter else until):
                    break
            except BaseException:  # whatever it was, what the other budgets gave is given back
                hold.release()
                raise
            # Now it is known how much there is, and how long the answer may be for that.
            hold.release()
            may_be_shorter = False
        self.holds.append(hold)
        return hold

    def about(self, index: Index) -> list[Entry]:
        """The budgets about the request, whichever model it goes to, by what is known now."""
        return self._entries if index is self._index else index.about(self.subject, self.time_us)

    def free(self, provider: str, model: str) -> None:
        """Release the oldest reservation for a call to this model, which is known to have used nothing."""
        for index, hold in enumerate(self.holds):
            if hold.provider == provider and hold.model == model:
                hold.release()
                del self.holds[index]
                return

    def close(self) -> None:
        """Give back whatever is still reserved. More than once is fine."""
        for hold in self.holds:
            hold.release()
        self.holds.clear()

    def _leases(
        self, provider: str, model: str, bounds: Bounds, rates: tuple[Rates, ...] | None
    ) -> list[tuple[Entry, Lease]]:
        """The budgets about a call, and what this process holds of each.

        Raises:
            UnknownPrice: see `cover`.
        """
        budgets, time_us, entries = self._budgets, self.time_us, self._entries
        if budgets.index.models:
            entries = entries + budgets.index.about_model(f"{provider}/{model}", self.subject, time_us)
        if (rates is None or (bounds.answers and rates[0].output is None)) and any(
            entry.budget.nusd is not None for entry in entries
        ):
            raise unknown_price(provider, model, entries)
        held = budgets.lender.leases
        return [(entry, entry.lease(entry.span(time_us).room_us, held)) for entry in entries]

    async def _reserve(self, hold: Hold, leases: list[tuple[Entry, Lease]], until: float | None) -> bool:
        """Reserve in every budget. Where there is too little, wait as they say; or return False, if `until` is None."""
        for entry, lease in leases:
            part = entry.amounts(hold.nusd, hold.tokens)
            if not lease.take(*part, monotonic()):
                if until is None:
                    if not lease.is_short(*part, monotonic()):
                        await self._budgets.lender.more(lease, *part)
                    if not lease.take(*part, monotonic()):
                        return False
                elif not await self._wait(entry, lease, *part, until):
                    continue
            hold.parts.append((lease, *part))
        return True

    async def _wait(self, entry: Entry, lease: Lease, nusd: int, tokens: int, until: float) -> bool:
        """Get what is not there yet. False is that the budget is gone, so that nothing is needed."""
        policy = entry.budget
        deadline = min(until, monotonic() + (policy.queue_seconds if policy.policy == "queue" else 0.0))
        asked = 0
        while True:
            now = monotonic()
            if asked < _MOST_ASKED and not lease.is_short(nusd, tokens, now):
                asked += 1
                await self._budgets.lender.more(lease, nusd, tokens)
            elif now >= deadline or _never(entry, nusd, tokens):
                raise await exceeded(self._budgets, entry, self.time_us, nusd, tokens)
            else:
                await asyncio.sleep(min(_QUEUE_STEP, deadline - now))
                asked = 0
            if lease.take(nusd, tokens, monotonic()):
                return True
            if self._budgets.index.entries.get(policy.id) is not entry:
                return False

    def _hold(
        self,
        provider: str,
        model: str,
        bounds: Bounds,
        rates: tuple[Rates, ...],
        leases: list[tuple[Entry, Lease]],
    ) -> Hold:
        """Find how long the answer may be, and with that what the call can cost. Nothing is reserved yet."""
        hold = Hold(provider, model, bounds.prompt)
        correction = self._budgets.learned.correction(provider, model)
        if bounds.output is not None or not bounds.answers:
            hold.bound(bounds, rates, correction, bounds.output or 0)
            return hold
        if bounds.maximum is not None:
            hold.bound(bounds, rates, correction, bounds.maximum)
            if all(_is_small(hold, entry, lease) for entry, lease in leases):
                return hold
        if all(_affordable(bounds, rates, entry, lease, 1) >= _UNBOUNDED for entry, lease in leases):
            hold.bound(bounds, rates, correction, bounds.maximum or 0)  # its length is nobody's matter
            return hold
        usual = self._budgets.learned.usual_output(provider, model)
        if usual is None:
            fair = min(_affordable(bounds, rates, entry, lease, _FAIR_PART) for entry, lease in leases)
            usual = min(_LONGEST_UNKNOWN, max(_SHORTEST_UNKNOWN, fair))
        fits = min(_affordable(bounds, rates, entry, lease, 1) for entry, lease in leases)
        hold.limit = max(_SHORTEST, min(usual, fits, bounds.maximum or usual))
        hold.bound(bounds, rates, correction, hold.limit)
        return hold


_UNBOUNDED = 1 << 40


def worst(rates: tuple[Rates, ...], prompt: int, output: int, *, writes_cache: bool) -> int:
    """Nano-dollars that a call can cost at most, rounded up."""
    most = 0
    for tier in rates:
        if tier.above and prompt <= tier.above:
            break
        each = max(tier.input, tier.cache_read)
        if writes_cache:
            each = max(each, tier.cache_write, tier.cache_write_1h)
        most = max(most, prompt * each + output * (tier.output or 0))
    return -(-most // _MILLION)


def _is_small(hold: Hold, entry: Entry, lease: Lease) -> bool:
    """Whether a call can cost only a small part of what is left of a budget, as far as this process knows."""
    budget = entry.budget
    if budget.nusd is not None:
        free = budget.nusd if lease.free_nusd is None else lease.free_nusd
        if hold.nusd * _SMALL_PART > free + max(0, lease.held_nusd - lease.open_nusd):
            return False
    if budget.tokens is not None:
        free = budget.tokens if lease.free_tokens is None else lease.free_tokens
        if hold.tokens * _SMALL_PART > free + max(0, lease.held_tokens - lease.open_tokens):
            return False
    return True


def _affordable(bounds: Bounds, rates: tuple[Rates, ...], entry: Entry, lease: Lease, part: int) -> int:
    """How long an answer a part of what is left of a budget pays, as far as this process knows."""
    budget, tokens = entry.budget, _UNBOUNDED
    if budget.tokens is not None:
        free = budget.tokens if lease.free_tokens is None else lease.free_tokens
        tokens = (free + lease.idle()[1]) // part - bounds.prompt
    if budget.nusd is not None:
        free = budget.nusd if lease.free_nusd is None else lease.free_nusd
        dear = max((tier.output or 0 for tier in rates), default=0)
        if dear:
            prompt = worst(rates, bounds.prompt, 0, writes_cache=bounds.writes_cache)
            tokens = min(tokens, ((free + lease.idle()[0]) // part - prompt) * _MILLION // dear)
    return tokens // bounds.choices if tokens < _UNBOUNDED else tokens


def _never(entry: Entry, nusd: int, tokens: int) -> bool:
    """Whether a call needs more than the whole cap, so that no waiting helps."""
    budget = entry.budget
    return (budget.nusd is not None and nusd > budget.nusd) or (
        budget.tokens is not None and tokens > budget.tokens
    )


__all__ = ["Bounds", "BudgetExceeded", "Charge", "Hold", "UnknownPrice", "worst"]
