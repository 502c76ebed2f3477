"""How rows look in JSON: times as RFC 3339, money as dollars, latencies as milliseconds.

Used by the API and by `--json` of the command line, so that a script reads the same from both. An unknown price is
null. Dollars are JSON numbers whose digits are exact to the nano-dollar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base import money
from mainspring.base.clock import iso

if TYPE_CHECKING:
    from mainspring.keys.types import Key
    from mainspring.ledger.types import Attempt, Feedback, Inference, UsageRow


def key_view(key: Key) -> dict[str, Any]:
    """A key without anything that could open a door."""
    settings = key.settings or {}
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role,
        "last4": key.last4,
        "models": key.models,
        "payloads": key.payloads,
        "rps": settings.get("rps"),
        "budget": settings.get("budget"),
        "created": iso(key.created_us),
        "expires": _time(key.expires_us),
        "revoked": _time(key.revoked_us),
        "replaced_by": key.replaced_by,
        "last_used": _time(key.last_used_us),
    }


def inference_view(row: Inference) -> dict[str, Any]:
    """One answer, as in the lists and as on its own."""
    return {
        "id": row.id,
        "time": iso(row.received_us),
        "tenant": row.tenant,
        "key_id": row.key_id,
        "user": row.user,
        "feature": row.feature,
        "session": row.session,
        "tags": row.tags,
        "dialect": row.dialect,
        "route": row.route,
        "requested_model": row.requested_model,
        "provider": row.provider,
        "model": row.model,
        "status": row.status,
        "error": row.error,
        "error_message": row.error_message,
        "finish_reason": row.finish_reason,
        "stream": row.stream,
        "cut": row.cut,
        "input_tokens": row.input_tokens,
        "cache_read_tokens": row.cache_read_tokens,
        "cache_write_tokens": row.cache_write_tokens,
        "output_tokens": row.output_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "usage_source": row.usage_source,
        "cost_usd": dollars(row.cost_nusd),
        "latency_ms": _milliseconds(row.received_us, row.done_us),
        "first_token_ms": _milliseconds(row.received_us, row.first_byte_us),
        "attempts": [_attempt(attempt, row.received_us) for attempt in row.attempts],
        "why": row.why,
        "cache": row.cache,
        "config_hash": row.config_hash,
        "trace_id": row.trace_id,
        "request_bytes": row.request_bytes,
        "response_bytes": row.response_bytes,
        "extra": row.extra,
    }


def feedback_view(feedback: Feedback) -> dict[str, Any]:
    """What somebody said of an answer."""
    return {
        "id": feedback.id,
        "request_id": feedback.request_id,
        "time": iso(feedback.created_us),
        "tenant": feedback.tenant,
        "key_id": feedback.key_id,
        "name": feedback.name,
        "value": feedback.value,
        "comment": feedback.comment,
    }


def usage_view(row: UsageRow) -> dict[str, Any]:
    """Sums over a group, an interval, or everything."""
    view = msgspec.structs.asdict(row)
    bucket_us, cost_nusd = view.pop("bucket_us"), view.pop("cost_nusd")
    return {"time": _time(bucket_us), **view, "cost_usd": dollars(cost_nusd)}


def dollars(nusd: int | None) -> float | None:
    """Nano-dollars as the float whose shortest text is exact."""
    return None if nusd is None else float(money.to_usd(nusd))


def _attempt(attempt: Attempt, received_us: int) -> dict[str, Any]:
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "started_ms": _milliseconds(received_us, attempt.started_us),
        "first_byte_ms": _milliseconds(received_us, attempt.first_byte_us),
        "ended_ms": _milliseconds(received_us, attempt.ended_us or None),
    }


def _milliseconds(since_us: int, us: int | None) -> float | None:
    """Milliseconds between two instants, to the microsecond."""
    return None if us is None else round((us - since_us) / 1000, 3)


def _time(us: int | None) -> str | None:
    return None if us is None else iso(us)
