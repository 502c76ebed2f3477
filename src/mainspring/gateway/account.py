"""What an answer used, all calls together: what the provider reported, else our own count of what went through.

A call that did not become the answer may have cost as well: one that another target outran, one that the caller or a
deadline ended, one whose answer broke off or cannot be said, the first part of a stream that went on elsewhere, what a
provider asked another of its models for an answer. Each of them is a `Loss`; failed calls that providers do not charge
for are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import ClientGone, ProviderRefused, ProviderUnreachable, StreamCut
from mainspring.gateway.count import count_answer, count_cut
from mainspring.ledger.types import Attempt, Usage, UsageSource
from mainspring.providers.estimate import estimate_request
from mainspring.providers.types import Operation
from mainspring.routing.types import Target

if TYPE_CHECKING:
    from mainspring.base.errors import MainspringError
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.trial import Trial
    from mainspring.providers import PriceTable
    from mainspring.providers.types import Seen

_NOTHING = Usage()
#: No call uses more tokens than this; whoever reports more, or less than none, reports nothing.
_MOST_TOKENS = 1_000_000_000


class Loss(msgspec.Struct):
    """What a call used that did not become the answer.

    Attributes:
        target: who was called.
        attempt: its record.
        usage: what it used.
        source: who says so.
    """

    target: Target
    attempt: Attempt
    usage: Usage
    source: UsageSource


def account(exchange: Exchange, prices: PriceTable) -> Usage:
    """Sum up what a request used. Sets its cost (None where a price is unknown) and where its usage is from.

    Args:
        exchange: one that has been answered, or has failed.
        prices: of the configuration in force.

    Returns:
        The tokens of all calls together.
    """
    usage, target, seen = _answered(exchange), exchange.target, exchange.seen
    if seen is not None and seen.beside and target is not None and exchange.usage_source == "provider":
        for model, used in seen.beside:
            attempt = Attempt(
                target.provider, model, exchange.received_us
            )  # none of ours: its provider made it
            exchange.losses.append(Loss(Target(target.provider, model, ()), attempt, used, "provider"))
    cost: int | None = 0
    if target is not None and usage is not _NOTHING:
        cost = prices.cost(target.provider, target.model, usage)
    if exchange.losses:
        if exchange.attempt is not None:
            exchange.attempt.cost_nusd = cost
        for loss in exchange.losses:
            lost = prices.cost(loss.target.provider, loss.target.model, loss.usage)
            loss.attempt.cost_nusd = lost
            cost = None if cost is None or lost is None else cost + lost
            usage = usage.plus(loss.usage)
            if loss.source == "estimated" or exchange.usage_source is None:
                exchange.usage_source = loss.source
    exchange.cost_nusd = cost
    return usage


def may_be_billed(trial: Trial, error: MainspringError) -> bool:
    """Whether a failed call has probably cost something: its answer broke off, or is whole and cannot be used."""
    return isinstance(error, StreamCut) or (trial.seen is not None and trial.seen.finished)


def lose(exchange: Exchange, trial: Trial, error: MainspringError | None = None) -> None:
    """Note that a call used something although it did not become the answer; `error` is how it failed, if it did."""
    if exchange.operation is Operation.COUNT_TOKENS:
        return
    seen = _believed(trial.seen)
    source: UsageSource = "estimated"
    if seen is not None and seen.usage is not None and seen.finished:
        usage, source = seen.usage, "provider"
    else:
        output = count_cut(error.arrived) if isinstance(error, StreamCut) else 0
        if trial.probe and not trial.stream and exchange.seen is not None and exchange.seen.usage is not None:
            output = exchange.seen.usage.output  # it runs to its end, and was asked the same
        usage = _at_least(seen, estimate_request(exchange.operation, exchange.body), output)
    exchange.losses.append(Loss(trial.target, trial.record, usage, source))


def lose_part(exchange: Exchange, trial: Trial) -> Usage:
    """Note what the first part of a stream used, of which the rest is asked elsewhere. Returns its usage."""
    asked = estimate_request(exchange.operation, exchange.body)
    usage = _at_least(_believed(trial.seen), asked, _counted(exchange))
    exchange.losses.append(Loss(trial.target, trial.record, usage, "estimated"))
    exchange.part_from = len(exchange.answer)
    return usage


def _answered(exchange: Exchange) -> Usage:
    """What the call used that became the answer; nothing where none did, or where it was no model's."""
    seen, error = _believed(exchange.seen), exchange.error
    if exchange.attempt is None or exchange.operation is Operation.COUNT_TOKENS:
        return _NOTHING
    if seen is not None and seen.usage is not None and (seen.finished or error is None):
        exchange.usage_source = "provider"
        return seen.usage
    if not exchange.answer and isinstance(error, ProviderRefused | ProviderUnreachable):
        return _NOTHING
    if (
        not exchange.answer
        and error is not None
        and not isinstance(error, ClientGone)
        and error.code != "provider_timeout"
    ):
        return _NOTHING
    exchange.usage_source = "estimated"
    return _at_least(seen, estimate_request(exchange.operation, exchange.body), _counted(exchange))


def _believed(seen: Seen | None) -> Seen | None:
    """What a provider has said, without a report of usage that cannot be."""
    usage = seen.usage if seen is not None else None
    if usage is not None and not (
        0 <= usage.input <= _MOST_TOKENS
        and 0 <= usage.output <= _MOST_TOKENS
        and 0 <= usage.cache_read <= _MOST_TOKENS
        and 0 <= usage.cache_write <= _MOST_TOKENS
        and 0 <= usage.reasoning <= _MOST_TOKENS
        and 0 <= usage.cache_write_1h <= usage.cache_write
    ):
        assert seen is not None, "it had a usage"
        seen.usage = None
    return seen


def _counted(exchange: Exchange) -> int:
    """Output tokens of what went to the caller since the last call began to answer, estimated."""
    answer = exchange.answer[exchange.part_from :]
    return count_answer(b"".join(answer), stream=exchange.stream)


def _at_least(seen: Seen | None, asked: int, answered: int) -> Usage:
    """What a call used that did not come to its report: what it has said of itself, and our count for the rest."""
    if seen is None or seen.usage is None:
        return Usage(input=asked, output=answered)
    # A stream that was cut has reported its prompt (Anthropic does so first), not all of its output.
    known = seen.usage
    return Usage(
        input=known.input,
        cache_read=known.cache_read,
        cache_write=known.cache_write,
        cache_write_1h=known.cache_write_1h,
        output=max(known.output, answered),
        reasoning=known.reasoning,
    )
