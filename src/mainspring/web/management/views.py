"""How rows look in JSON: times as RFC 3339, money as dollars, latencies as milliseconds.

Used by the API and by `--json` of the command line, so that a script reads the same from both. An unknown price is
null. Dollars are JSON numbers whose digits are exact to the nano-dollar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base import money
from mainspring.base.clock import iso
from mainspring.ledger.types import Inference

if TYPE_CHECKING:
    from mainspring.keys.types import Key as StoredKey
    from mainspring.ledger.types import Attempt as StoredAttempt
    from mainspring.ledger.types import Feedback as StoredFeedback
    from mainspring.ledger.types import Payload as StoredPayload
    from mainspring.ledger.types import UsageRow


class Key(msgspec.Struct, kw_only=True):
    """A key without anything that could open a door; limits are null where it has none of its own."""

    id: str
    name: str
    tenant: str
    role: str
    last4: str
    models: list[str] | None
    payloads: bool | None
    rps: float | None
    tokens_per_minute: int | None
    concurrency: int | None
    budget: dict[str, Any] | None
    created: str
    expires: str | None
    revoked: str | None
    replaced_by: str | None
    last_used: str | None


class NewKey(Key, kw_only=True):
    """A key that was made just now, with its secret, which is shown this once."""

    key: str


class Attempt(msgspec.Struct, kw_only=True):
    """One call to one target; times are milliseconds since the request was received.

    `key` is the label of the provider's key that it was made with. `hedge` says that it went out before the one before
    it had failed. `cost_usd` is given where an answer took more than one call that cost something.
    """

    provider: str
    model: str
    key: str | None
    hedge: bool
    cost_usd: float | None
    outcome: str
    status: int | None
    error: str | None
    started_ms: float
    first_byte_ms: float | None
    ended_ms: float | None


class Answer(msgspec.Struct, kw_only=True):
    """One answer: the row of the ledger. `first_token_ms` is the time to the first byte of the answer."""

    id: str
    time: str
    tenant: str
    key_id: str | None
    user: str | None
    feature: str | None
    session: str | None
    tags: dict[str, str] | None
    dialect: str
    route: str | None
    requested_model: str
    provider: str | None
    model: str | None
    status: int
    error: str | None
    error_message: str | None
    finish_reason: str | None
    stream: bool
    cut: bool
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: str | None
    cost_usd: float | None
    latency_ms: float
    first_token_ms: float | None
    attempts: list[Attempt]
    why: str | None
    cache: str
    config_hash: str
    trace_id: str | None
    parent_span_id: str | None
    request_bytes: int
    response_bytes: int
    extra: dict[str, Any] | None


class Feedback(msgspec.Struct, kw_only=True):
    """What somebody or something said of an answer."""

    id: str
    request_id: str
    time: str
    tenant: str
    key_id: str | None
    name: str
    value: float | bool | str | None
    comment: str | None


class Payload(msgspec.Struct, kw_only=True):
    """What was asked and answered: JSON where it is JSON, else text (a stream is its server-sent events)."""

    request: Any
    response: Any


class FullAnswer(Answer, kw_only=True):
    """One answer with what was said of it and, if asked for and kept, its payload."""

    feedback: list[Feedback]
    payload: Payload | None


class Usage(msgspec.Struct, kw_only=True):
    """Sums over a group (`group`), an interval (`time`, its start) or everything.

    `cost_usd` sums known costs; `unpriced` counts the answers whose price is unknown. `attempts` are calls to
    providers, `attempt_errors` those that failed by the provider's doing, also where another call made up for them;
    by provider and model they stand under the one that was called. By user and by key they are 0.
    """

    group: str | None
    time: str | None
    requests: int
    errors: int
    cut: int
    streams: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: float
    unpriced: int
    latency_mean_ms: float | None
    latency_sd_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    attempts: int
    attempt_errors: int
    first_token_mean_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    first_token_p99_ms: float | None


def key_view(key: StoredKey) -> Key:
    """A key as it may be shown."""
    return Key(**_key_fields(key))


def new_key_view(key: StoredKey, secret: str) -> NewKey:
    """A key with its secret: shown to whoever made it, once."""
    return NewKey(**_key_fields(key), key=secret)


def answer_view(row: Inference) -> Answer:
    """A row of a list."""
    return Answer(**_answer_fields(row))


def full_answer_view(
    row: Inference, feedback: list[StoredFeedback], payload: StoredPayload | None
) -> FullAnswer:
    """An answer with all that hangs on it."""
    return FullAnswer(
        **_answer_fields(row),
        feedback=[feedback_view(each) for each in feedback],
        payload=None
        if payload is None
        else Payload(request=_readable(payload.request), response=_readable(payload.response)),
    )


def feedback_view(feedback: StoredFeedback) -> Feedback:
    """Feedback as it was given."""
    fields = msgspec.structs.asdict(feedback)
    return Feedback(time=iso(fields.pop("created_us")), **fields)


def usage_view(row: UsageRow) -> Usage:
    """Sums, with their money in dollars."""
    fields = msgspec.structs.asdict(row)
    time, cost = _time(fields.pop("bucket_us")), dollars(fields.pop("cost_nusd"))
    return Usage(time=time, cost_usd=cost or 0.0, **{name: fields[name] for name in _USAGE_FIELDS})


def dollars(nusd: int | None) -> float | None:
    """Nano-dollars as the float whose shortest text is exact."""
    return None if nusd is None else float(money.to_usd(nusd))


_USAGE_FIELDS = tuple(name for name in Usage.__struct_fields__ if name not in {"time", "cost_usd"})
_SAME_FIELDS = tuple(
    name for name in Answer.__struct_fields__ if name in Inference.__struct_fields__ and name != "attempts"
)


def _key_fields(key: StoredKey) -> dict[str, Any]:
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
        "tokens_per_minute": settings.get("tokens_per_minute"),
        "concurrency": settings.get("concurrency"),
        "budget": settings.get("budget"),
        "created": iso(key.created_us),
        "expires": _time(key.expires_us),
        "revoked": _time(key.revoked_us),
        "replaced_by": key.replaced_by,
        "last_used": _time(key.last_used_us),
    }


def _answer_fields(row: Inference) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in _SAME_FIELDS}
    return fields | {
        "time": iso(row.received_us),
        "cost_usd": dollars(row.cost_nusd),
        "latency_ms": _milliseconds(row.received_us, row.done_us),
        "first_token_ms": _milliseconds(row.received_us, row.first_byte_us),
        "attempts": [_attempt(attempt, row.received_us) for attempt in row.attempts],
    }


def _attempt(attempt: StoredAttempt, received_us: int) -> Attempt:
    return Attempt(
        provider=attempt.provider,
        model=attempt.model,
        key=attempt.key,
        hedge=attempt.hedge,
        cost_usd=dollars(attempt.cost_nusd),
        outcome=attempt.outcome,
        status=attempt.status,
        error=attempt.error,
        started_ms=_milliseconds(received_us, attempt.started_us) or 0.0,
        first_byte_ms=_milliseconds(received_us, attempt.first_byte_us),
        ended_ms=_milliseconds(received_us, attempt.ended_us or None),
    )


def _readable(data: bytes | None) -> Any:
    """Bytes as the JSON document that they are, or as text."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")


def _milliseconds(since_us: int, us: int | None) -> float | None:
    """Milliseconds between two instants, to the microsecond."""
    return None if us is None else round((us - since_us) / 1000, 3)


def _time(us: int | None) -> str | None:
    return None if us is None else iso(us)
