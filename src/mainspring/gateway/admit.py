"""Third step: whether there is room in the limits that are about a request.

What a request is granted travels with it and is released however it ends: before its row is written, so that whoever
waits for the end of one answer to ask for the next finds the room free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.base.errors import BudgetExceeded
from mainspring.keys.types import Subject
from mainspring.providers.estimate import estimate_request
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.ledger.types import Inference
    from mainspring.limits import Limits
    from mainspring.limits.usual import Usual

#: Answers of these are not made of tokens, or nobody is billed for them.
_WITHOUT_OUTPUT = frozenset({Operation.EMBEDDINGS})
#: A longer answer than this is nobody's wish; a larger number is a mistake.
_MOST_TOKENS = 10_000_000


async def admit(exchange: Exchange, limits: Limits | None) -> None:
    """Name the subject of a request, and ask for room in every limit that is about it.

    Raises:
        RateLimited: one of them has none; nothing was consumed.
    """
    principal, attribution = exchange.principal, exchange.attribution
    assert principal is not None, "authenticate comes first"
    subject = exchange.subject = Subject(
        principal.tenant,
        principal.key_id,
        attribution.user,
        attribution.feature,
        principal.rps,
        principal.tokens_per_minute,
        principal.concurrency,
        principal.origin,
    )
    if limits is None:
        return
    grant = exchange.grant = await limits.admit(subject, _estimate, exchange)
    if grant is not None and grant.denied is not None:
        raise limits.refusal(grant)


def release(exchange: Exchange, limits: Limits | None, row: Inference) -> None:
    """Count what an answer has used, and give back the room that it held."""
    grant, error = exchange.grant, exchange.error
    if isinstance(error, BudgetExceeded) and error.unrecorded is not None:
        row.extra = {**(row.extra or {}), "budget": error.budget_id, "denied_unrecorded": error.unrecorded}
    if grant is None or limits is None:
        return
    if grant.denied is not None:
        row.extra = {"limit": grant.denied.name, "denied_unrecorded": grant.unrecorded}
    elif grant.counts_tokens:
        prompt = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
        output = row.output_tokens + row.reasoning_tokens
        grant.settle(prompt + output)
        if row.usage_source == "provider" and row.error is None:
            size = None if _has_data(exchange) else len(exchange.body)
            limits.usual.learn(exchange.envelope.model, size=size, prompt=prompt, output=output)
    grant.release()


def _estimate(exchange: Exchange, usual: Usual) -> int:
    """Tokens that a request will probably use, in and out."""
    operation, body = exchange.operation, exchange.body
    if operation is Operation.COUNT_TOKENS:
        return 0
    said = exchange.envelope
    model, most = said.model, None
    prompt = estimate_request(operation, body) if _has_data(exchange) else usual.prompt(model, len(body))
    if operation in _WITHOUT_OUTPUT:
        return prompt
    for limit in (said.max_completion_tokens, said.max_tokens, said.max_output_tokens):
        if limit is not None and (most := _count(limit)):
            break
    output = usual.output(model, most)
    return prompt + (output if said.n is None else output * (_count(said.n) or 1))


def _has_data(exchange: Exchange) -> bool:
    """Whether there are pictures or files, which are not charged by their letters."""
    return exchange.has_parts and b"base64" in exchange.body


def _count(value: Any) -> int | None:
    """A number that makes sense; others are the provider's to refuse."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST_TOKENS:
        return None
    return value
