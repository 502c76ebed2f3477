"""What the ledger holds: one `Inference` per answer, its payload apart, and what people said of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

UsageSource = Literal["provider", "estimated"]
#: Statuses of a refusal that say that the request itself is wrong: any other provider would say the same.
CALLERS_FAULT = frozenset({400, 405, 413, 414, 415, 422, 431})
_CALLERS_ERRORS = frozenset({"invalid_request", "context_length_exceeded", "no_target_fits"})
Outcome = Literal["ok", "refused", "unreachable", "timeout", "protocol", "cut", "cancelled", "failed"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens in exclusive buckets: their sum is all tokens of the call.

    `input` excludes what was read from or written to the provider's prompt cache; `output` excludes `reasoning`.
    `cache_write_1h` is not a bucket: it says how many of `cache_write` were written for an hour, at their own price.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0

    def plus(self, other: Usage) -> Usage:
        """The sum of two usages."""
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
        )


class Attempt(msgspec.Struct, omit_defaults=True):
    """One call to one target. Times are Unix microseconds.

    `key` is the label of the provider's key, never the secret. `hedge` says that it was begun before the one before it
    had failed. `cost_nusd` is set where an answer took more than one call that cost something.
    """

    provider: str
    model: str
    started_us: int
    ended_us: int = 0
    first_byte_us: int | None = None
    outcome: Outcome = "ok"
    status: int | None = None
    error: str | None = None
    key: str | None = None
    hedge: bool = False
    cost_nusd: int | None = None

    @property
    def is_error(self) -> bool:
        """Whether it failed by the provider's doing, not the caller's."""
        if self.outcome == "refused":
            return self.status not in CALLERS_FAULT
        return self.outcome not in {"ok", "cancelled"} and self.error not in _CALLERS_ERRORS


class Inference(msgspec.Struct, kw_only=True):
    """One answer: the row of the ledger. Field names are column names.

    `id` comes from `new_id` when the request is received: its millisecond is the time of the row wherever rows are
    ordered, filtered by time or summed. (Rows that are made up or brought in from elsewhere get theirs from `id_at`.)
    Times are Unix microseconds. `status` is the HTTP status that the caller got; a stream that broke after its 200
    has status 200, `cut` true and an `error`; a caller that hung up has status 499. `cost_nusd` is nano-dollars,
    None when the price is unknown. `error` is the stable code of our error tree; `error_message` never quotes contents.
    """

    id: str
    received_us: int
    first_byte_us: int | None = None
    done_us: int
    tenant: str
    key_id: str | None = None
    user: str | None = None
    feature: str | None = None
    session: str | None = None
    tags: dict[str, str] | None = None
    dialect: str
    route: str | None = None
    requested_model: str
    provider: str | None = None
    model: str | None = None
    attempts: list[Attempt] = []
    why: str | None = None
    status: int
    error: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    usage_source: UsageSource | None = None
    cost_nusd: int | None = None
    stream: bool = False
    cut: bool = False
    cache: str = "off"
    config_hash: str
    trace_id: str | None = None
    parent_span_id: str | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    extra: dict[str, Any] | None = None


class Payload(msgspec.Struct, kw_only=True):
    """What was asked and what was answered, as bytes in the caller's dialect.

    `response` of a stream is the SSE text as it went to the caller.
    """

    id: str
    request: bytes
    response: bytes | None = None


class Feedback(msgspec.Struct, kw_only=True):
    """What someone or something said of an answer. Several may stand for one name; the newest counts in lists.

    `value` is a number, a boolean, a category (text) or None when there is only a comment.
    """

    id: str
    request_id: str
    created_us: int
    tenant: str
    name: str
    value: float | bool | str | None = None
    comment: str | None = None
    key_id: str | None = None


class LedgerFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which rows. Every field that is set narrows; times are Unix microseconds, compared with the time of the id.

    `error` is a status of 400 or more, or an error inside a stream; `cut` a stream that did not end by itself; `ok` is
    neither.
    """

    tenant: str | None = None
    key_id: str | None = None
    user: str | None = None
    feature: str | None = None
    session: str | None = None
    route: str | None = None
    provider: str | None = None
    model: str | None = None
    status: Literal["ok", "error", "cut"] | None = None
    since_us: int | None = None
    until_us: int | None = None


class Page(msgspec.Struct):
    """A page of rows, newest first; `next` is the id to pass as `after`, None on the last page.

    `searched_us` is set where the page is not full because looking took too long: what is older was not looked at yet.
    """

    items: list[Inference]
    next: str | None = None
    searched_us: int | None = None


class UsageRow(msgspec.Struct, kw_only=True):
    """Sums over a group or an interval.

    `cost_nusd` sums known costs; `unpriced` counts the answers whose price is unknown. Latencies are milliseconds.
    `attempts` are calls to providers that were not cancelled, `attempt_errors` those of them that failed by the
    provider's doing, whether or not another call made up for them; both are 0 by user and by key.
    """

    group: str | None = None
    bucket_us: int | None = None
    requests: int = 0
    errors: int = 0
    cut: int = 0
    streams: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    unpriced: int = 0
    latency_mean_ms: float | None = None
    latency_sd_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    attempts: int = 0
    attempt_errors: int = 0
    first_token_mean_ms: float | None = None
    first_token_p50_ms: float | None = None
    first_token_p95_ms: float | None = None
    first_token_p99_ms: float | None = None

    @property
    def tokens(self) -> int:
        """All tokens; the counts exclude each other."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.output_tokens
            + self.reasoning_tokens
        )
