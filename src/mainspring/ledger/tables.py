"""The ledger's tables as bulk writes see them. What creates them is `store/migrations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.ledger.types import Inference
from mainspring.store.types import Sheet

if TYPE_CHECKING:
    from mainspring.store.types import Kind

#: Upper bounds of the latency histogram in microseconds; the last of the 30 buckets (from 519 s) has none.
BOUNDS_US: tuple[int, ...] = tuple(round(1000 * 1.6**n) for n in range(29))

#: What an answer is summed by.
DIMENSIONS = ("tenant", "feature", "route", "provider", "model")
COUNTS = (
    "requests",
    "errors",
    "cut",
    "streams",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "unpriced",
    "latency_us",
    "first_tokens",
    "first_token_us",
)
HISTOGRAM = tuple(f"h{n:02d}" for n in range(len(BOUNDS_US) + 1))
#: Further sums of squares, for comparisons with an error margin: of milliseconds, tokens and nano-dollars.
SQUARES = ("first_token_sq", "output_tokens_sq", "cost_sq")
#: Calls to providers, and those that failed by the provider's doing. They stand under the target that was called: a
#: call that another target made up for is in no row of its own.
ATTEMPTS = ("attempts", "attempt_errors")
#: Times to the first token of streams, with the bounds of the latency histogram.
FIRST_TOKENS = tuple(f"f{n:02d}" for n in range(len(BOUNDS_US) + 1))
#: All sums in order. The sum of squares of latencies is in milliseconds. Coarser tables hold the first ones only.
SUMS = (*COUNTS, "latency_sq", *ATTEMPTS, *HISTOGRAM, *FIRST_TOKENS, *SQUARES)

#: Widths of the buckets of the rollups, in seconds, widest first. Totals are not kept by day.
DAY, HOUR, MINUTE = GRAINS = (86_400, 3_600, 60)


def _kinds(names: tuple[str, ...], kind: Kind) -> tuple[tuple[str, Kind], ...]:
    return tuple((name, kind) for name in names)


_FLAGS = {"stream", "cut"}
_NUMBERS = {
    "received_us",
    "first_byte_us",
    "done_us",
    "status",
    "cost_nusd",
    "request_bytes",
    "response_bytes",
} | {f"{bucket}_tokens" for bucket in ("input", "cache_read", "cache_write", "output", "reasoning")}


def _kind(name: str) -> Kind:
    if name in _FLAGS:
        return "boolean"
    return "integer" if name in _NUMBERS else "text"


INFERENCES = Sheet("inferences", tuple((name, _kind(name)) for name in Inference.__struct_fields__))

PAYLOADS = Sheet(
    "payloads",
    (
        ("id", "text"),
        ("request_bytes", "integer"),
        ("response_bytes", "integer"),
        ("data", "bytes"),
        ("blob", "text"),
    ),
)


def _sums(names: tuple[str, ...]) -> tuple[tuple[str, Kind], ...]:
    return tuple((name, "real" if name.endswith("_sq") else "integer") for name in names)


def _usage(names: tuple[str, ...]) -> Sheet:
    keys = _kinds(("grain", "bucket_us"), "integer") + _kinds(DIMENSIONS, "text")
    return Sheet("usage_rollups", keys + _sums(names), keys=len(keys))


def _totals(names: tuple[str, ...]) -> Sheet:
    keys = _kinds(("grain", "bucket_us"), "integer") + _kinds(("tenant",), "text")
    return Sheet("usage_totals", keys + _sums(names), keys=len(keys))


_WHOLE = (*COUNTS, "latency_sq", *ATTEMPTS, *HISTOGRAM)

#: By every combination of the dimensions; and what is written of a group without a stream.
USAGE = _usage(SUMS)
USAGE_WHOLE = _usage((*_WHOLE, *SQUARES))

#: By tenant only: charts over long times read these few rows instead of every combination of the dimensions.
TOTALS = _totals((*_WHOLE, *FIRST_TOKENS))
TOTALS_WHOLE = _totals(_WHOLE)

#: By UTC day, without a histogram: users are many.
USAGE_BY_USER = Sheet(
    "usage_by_user",
    _kinds(("bucket_us",), "integer")
    + _kinds(("tenant", "key_id", "user"), "text")
    + _sums(SUMS[: len(COUNTS) + 1]),
    keys=4,
)
