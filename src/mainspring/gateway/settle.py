"""Last step: what was used becomes tokens and money, and the answer becomes a row of the ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.base.errors import ProviderRefused
from mainspring.gateway.account import account
from mainspring.ledger.types import Inference, Payload

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.providers import PriceTable

#: Longer explanations are cut in the row; the payload has what the caller was told.
_MESSAGE_CHARS = 500
#: Sums are kept by name, and no index takes one of any length, whatever a provider calls its model.
_NAME_CHARS = 256
#: What a type of error looks like; anything else in its place may be a text.
_TYPE = re.compile(r"[\w.-]{1,64}", re.ASCII)


def settle(exchange: Exchange, prices: PriceTable, config_hash: str) -> tuple[Inference, Payload | None]:
    """Close the account of an exchange.

    Args:
        exchange: one that has been answered, or has failed.
        prices: of the configuration in force.
        config_hash: names that configuration.

    Returns:
        The row, and the payload if it is to be kept.
    """
    usage = account(exchange, prices)
    target, seen, error = exchange.target, exchange.seen, exchange.error
    principal, attribution, plan = exchange.principal, exchange.attribution, exchange.plan
    assert principal is not None, "a row belongs to a tenant"
    model = (seen.model if seen is not None else None) or (target.model if target is not None else None)
    row = Inference(
        id=exchange.id,
        received_us=exchange.received_us,
        first_byte_us=exchange.first_byte_us,
        done_us=now_us(),
        tenant=principal.tenant,
        key_id=principal.key_id,
        user=attribution.user,
        feature=attribution.feature,
        session=attribution.session,
        tags=attribution.tags,
        trace_id=attribution.trace_id,
        parent_span_id=attribution.parent_span_id,
        dialect=exchange.dialect.name,
        route=plan.route if plan is not None else None,
        why=_why(exchange),
        requested_model=exchange.envelope.model,
        provider=target.provider if target is not None else None,
        model=model and model[:_NAME_CHARS],
        attempts=exchange.attempts,
        status=exchange.status,
        error=error.code if error is not None else None,
        error_message=_explanation(error) if error is not None else None,
        finish_reason=seen.finish_reason if seen is not None else None,
        input_tokens=usage.input,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        usage_source=exchange.usage_source,
        cost_nusd=exchange.cost_nusd,
        stream=exchange.stream,
        cut=exchange.cut,
        config_hash=config_hash,
        request_bytes=len(exchange.body),
        response_bytes=exchange.response_bytes,
    )
    if exchange.degraded is not None:
        row.extra = {**(row.extra or {}), "degraded": exchange.degraded}
    if exchange.resumed:
        row.extra = {**(row.extra or {}), "resumed": exchange.resumed}
    if plan is not None and plan.detail is not None:
        row.extra = {**(row.extra or {}), "routing": plan.detail}
    if not exchange.store_payloads:
        return row, None
    response = b"".join(exchange.answer)
    if len(response) < exchange.response_bytes:
        row.extra = {**(row.extra or {}), "payload_truncated_at": len(response)}
    response += exchange.refusal
    return row, Payload(id=exchange.id, request=exchange.body, response=response or None)


def _why(exchange: Exchange) -> str | None:
    """Why this target: the plan's reason, and what became of those before it."""
    plan, target = exchange.plan, exchange.target
    if plan is None or target not in plan.targets or len(plan.targets) == 1:
        return plan.why if plan is not None else None
    others = [attempt for attempt in exchange.attempts if attempt is not exchange.attempt]
    if exchange.attempt is None:
        others = exchange.attempts[:-1]
    failed = [f"{attempt.provider}/{attempt.model} {attempt.outcome}" for attempt in others]
    after = f" after {', '.join(failed)}" if failed else ""
    return f"{plan.why}: target {plan.targets.index(target) + 1} of {len(plan.targets)}{after}"


def _explanation(error: Exception) -> str:
    if isinstance(error, ProviderRefused):
        # What the provider wrote may quote the conversation: it stands in the payload, not in the row.
        kind = error.upstream_type or ""
        named = f" ({kind})" if _TYPE.fullmatch(kind) else ""
        return f"The provider answered {error.upstream_status}{named}."
    return str(error)[:_MESSAGE_CHARS]
