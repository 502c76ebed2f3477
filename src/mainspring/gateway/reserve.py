"""Before each call upstream: what it may cost at most is set aside; after the last one, what it has cost is counted.

What a call costs beyond its bounds all the same (a provider that ignores limits, a picture that was larger than it
looked) is taken from what the process holds, and learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import RequestError
from mainspring.base.logging import get_logger
from mainspring.budgets import Bounds
from mainspring.budgets.settling import SHARES
from mainspring.gateway.bounds import bounds_of
from mainspring.providers.capabilities import Capabilities
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.base.errors import BudgetExceeded
    from mainspring.base.settings import Settings
    from mainspring.budgets import Budgets, Charge
    from mainspring.budgets.settling import Counter, Shares
    from mainspring.gateway.exchange import Exchange
    from mainspring.ledger.types import Inference
    from mainspring.providers import Providers
    from mainspring.routing import Plan
    from mainspring.routing.types import Target
    from mainspring.store import Connection

#: A conversation that the provider remembers, where the model's context is not known.
_REMEMBERED = 128_000
#: An attempt with one of these has used nothing that anybody bills.
_UNUSED = frozenset({"refused", "unreachable"})

_log = get_logger(__name__)


class Purse:
    """What the requests of one configuration share on their way through budgets.

    Args:
        budgets: the room.
        settings: the configuration.
        providers: who answers, and what that costs.
    """

    def __init__(self, budgets: Budgets, settings: Settings, providers: Providers) -> None:
        self.budgets = budgets
        self.prices = providers.prices
        self._capabilities = Capabilities(settings, providers.prices)

    def open(self, exchange: Exchange) -> None:
        """Open the account of a request. Where no budget is about it, there is none."""
        if self.budgets.has_none(exchange.received_us):
            return
        subject = exchange.subject
        assert subject is not None, "admit comes first"
        charge = self.budgets.open(subject, _time_us(exchange.id))
        if charge is not None and exchange.operation is not Operation.COUNT_TOKENS:
            exchange.cover = Cover(self, charge)

    def settle(
        self, exchange: Exchange, row: Inference
    ) -> list[Counter] | Callable[[Connection], list[Counter]]:
        """Count what a request has cost. Returns what goes into the transaction of its row."""
        subject, cover, budgets = exchange.subject, exchange.cover, self.budgets
        if subject is None or (cover is None and budgets.has_none(exchange.received_us)):
            return []
        time_us = _time_us(exchange.id) if cover is None else cover.charge.time_us
        if cover is None and not budgets.is_stale(time_us) and not budgets.concerns(subject, time_us):
            return []
        shares = _shares(exchange, row)
        if cover is not None:
            cover.learn(exchange, row)
        counters = budgets.settle(subject, time_us, cover.charge if cover is not None else None, shares)
        if not shares:
            return counters
        if callable(counters):
            count = counters

            def late(connection: Connection) -> list[Counter]:
                row.extra = {**(row.extra or {}), SHARES: shares}
                return count(connection)

            return late
        if budgets.counts_models:
            row.extra = {**(row.extra or {}), SHARES: shares}
        return counters

    def most_output(self, target: Target) -> int | None:
        """The longest answer that a model gives; its context where nothing else is known."""
        known = self._capabilities.of(target.provider, target.model)
        return known.max_output_tokens or known.context_tokens

    def context(self, target: Target) -> int | None:
        """What a model reads at most."""
        return self._capabilities.of(target.provider, target.model).context_tokens


class Cover:
    """The account of one request: what was reserved for its calls."""

    __slots__ = ("_base", "_freed", "charge", "limits", "purse", "stepped_down")

    def __init__(self, purse: Purse, charge: Charge) -> None:
        self.purse = purse
        self.charge = charge
        #: Output limits that must be written into the calls to these targets.
        self.limits: dict[Target, int] = {}
        self.stepped_down = False
        self._base: Bounds | None = None
        self._freed: set[int] = set()

    def take_at_once(self, exchange: Exchange, target: Target) -> bool:
        """Reserve for a call to a target, if what this process holds is enough. Raises UnknownPrice as `take` does."""
        if exchange.attempts:
            self._free_unused(exchange)
        hold = self.charge.cover_at_once(
            target.provider,
            target.model,
            self._bounds(exchange, target),
            self.purse.prices.rates(target.provider, target.model),
        )
        if hold is None:
            return False
        if hold.limit is not None:
            self.limits[target] = hold.limit
        return True

    async def take(self, exchange: Exchange, target: Target) -> None:
        """Reserve for a call to a target; ask for what is missing, and wait for it. Raises as `Charge.cover` does."""
        assert exchange.timeouts is not None, "plan comes first"
        hold = await self.charge.cover(
            target.provider,
            target.model,
            self._bounds(exchange, target),
            self.purse.prices.rates(target.provider, target.model),
            until=exchange.received + exchange.timeouts.total,
        )
        if hold.limit is not None:
            self.limits[target] = hold.limit

    def _free_unused(self, exchange: Exchange) -> None:
        """Give back what was reserved for calls that nobody bills."""
        for attempt in exchange.attempts:
            if attempt.ended_us and attempt.outcome in _UNUSED and id(attempt) not in self._freed:
                self._freed.add(id(attempt))
                self.charge.free(attempt.provider, attempt.model)

    def _bounds(self, exchange: Exchange, target: Target) -> Bounds:
        """What a call to a target can use at most."""
        base, purse = self._base, self.purse
        if base is None:
            base = self._base = bounds_of(
                exchange.operation, exchange.body, exchange.envelope, has_parts=exchange.has_parts
            )
        prompt, maximum = base.prompt, None
        if base.output is None and base.answers:
            maximum = purse.most_output(target)
        elif not exchange.content_sent and exchange.operation is not Operation.RESPONSES:
            return base
        if exchange.operation is Operation.RESPONSES and _is_continued(exchange.body):
            prompt += purse.context(target) or _REMEMBERED
        if exchange.content_sent:  # the rest of a stream: what was said goes in once more
            prompt += exchange.response_bytes
        return Bounds(prompt, base.output, maximum, base.choices, base.writes_cache, base.answers)

    def learn(self, exchange: Exchange, row: Inference) -> None:
        """See how good the bounds of a call were that was the only one."""
        holds, target = self.charge.holds, exchange.target
        if len(holds) != 1 or exchange.losses or target is None or row.usage_source != "provider":
            return
        hold, base = holds[0], self._base
        if base is None or (hold.provider, hold.model) != (target.provider, target.model):
            return
        prompt = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
        output = row.output_tokens + row.reasoning_tokens
        raised = self.purse.budgets.learned.note(
            hold.provider, hold.model, prompt, output, hold.prompt, hold.output * base.choices
        )
        if raised is not None:
            _log.warning(
                "budget_bound_passed",
                provider=hold.provider,
                model=hold.model,
                prompt_tokens=prompt,
                prompt_bound=hold.prompt,
                output_tokens=output,
                output_bound=hold.output * base.choices,
                correction=[round(raised.prompt, 2), round(raised.output, 2)],
            )


def reserve_at_once(exchange: Exchange, target: Target) -> bool:
    """Set aside what a call may cost, where no budget is about it or all of them have it ready.

    Returns:
        Whether that is done; if not, `reserve` does it.

    Raises:
        UnknownPrice: nobody knows what it would cost; another target may have a price.
    """
    return exchange.cover is None or exchange.cover.take_at_once(exchange, target)


async def reserve(exchange: Exchange, target: Target) -> None:
    """Set aside what a call of this exchange to this target may cost, however long that takes.

    Raises:
        BudgetExceeded: there is too little left; another target may be cheaper.
        UnknownPrice: nobody knows what it would cost; another target may have a price.
        StoreUnavailable: the database must be asked, and does not answer.
    """
    if not reserve_at_once(exchange, target):
        assert exchange.cover is not None, "without budgets there is nothing to wait for"
        await exchange.cover.take(exchange, target)


def release(exchange: Exchange) -> None:
    """Give back what is still reserved. More than once is fine."""
    if exchange.cover is not None:
        exchange.cover.charge.close()


def step_down(exchange: Exchange, error: BudgetExceeded, plan_for: Callable[[str], Plan]) -> bool:
    """Go on with the route that a budget names for the case that it is spent, once.

    Args:
        exchange: the request that was refused; nothing was sent upstream that is still open.
        error: the refusal.
        plan_for: finds the plan of a route.

    Returns:
        Whether there is such a route.
    """
    cover = exchange.cover
    if error.step_down is None or cover is None or cover.stepped_down or exchange.content_sent:
        return False
    cover.stepped_down = True
    try:
        plan = plan_for(error.step_down)
    except RequestError:  # there is no such route any more, or it cannot do this
        return False
    before = exchange.plan.route if exchange.plan is not None else None
    plan = msgspec.structs.replace(
        plan,
        why=f"stepped down from {before or exchange.envelope.model} because budget {error.budget_id} is spent; {plan.why}",
    )
    exchange.plan, exchange.timeouts = plan, plan.timeouts
    return True


def _shares(exchange: Exchange, row: Inference) -> Shares:
    """What each model used, by name; empty where nothing was."""
    nusd, target = row.cost_nusd or 0, exchange.target
    tokens = (
        row.input_tokens
        + row.cache_read_tokens
        + row.cache_write_tokens
        + row.output_tokens
        + row.reasoning_tokens
    )
    shares: Shares = {}
    if not nusd and not tokens:
        return shares
    for loss in exchange.losses:
        usage, name = loss.usage, f"{loss.target.provider}/{loss.target.model}"
        lost = usage.input + usage.cache_read + usage.cache_write + usage.output + usage.reasoning
        cost = (loss.attempt.cost_nusd or 0) if row.cost_nusd is not None else 0
        before = shares.get(name, (0, 0))
        shares[name] = before[0] + cost, before[1] + lost
        nusd, tokens = nusd - cost, tokens - lost
    if target is not None:  # else a text of our own stood in: what it took to get there stands above
        name = f"{target.provider}/{target.model}"
        before = shares.get(name, (0, 0))
        shares[name] = before[0] + nusd, before[1] + tokens
    return shares


def _is_continued(body: bytes) -> bool:
    return b'"previous_response_id"' in body or b'"conversation"' in body


def _time_us(request_id: str) -> int:
    """The time of an id, as rows have it."""
    return int(request_id[:8] + request_id[9:13], 16) * 1000
