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
#: All sums in order. The sum of squares of latencies is in milliseconds. Coarser tables hold the first ones only.
SUMS = (*COUNTS, "latency_sq", *HISTOGRAM, *SQUARES)

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


def _sums(count: int) -> tuple[tuple[str, Kind], ...]:
    return tuple((name, "real" if name.endswith("_sq") else "integer") for name in SUMS[:count])


USAGE = Sheet(
    "usage_rollups",
    _kinds(("grain", "bucket_us"), "integer") + _kinds(DIMENSIONS, "text") + _sums(len(SUMS)),
    keys=2 + len(DIMENSIONS),
)

#: By tenant only: charts over long times read these few rows instead of every combination of the dimensions.
TOTALS = Sheet(
    "usage_totals",
    _kinds(("grain", "bucket_us"), "integer") + _kinds(("tenant",), "text") + _sums(len(SUMS) - len(SQUARES)),
    keys=3,
)

#: By UTC day, without a histogram: users are many.
USAGE_BY_USER = Sheet(
    "usage_by_user",
    _kinds(("bucket_us",), "integer") + _kinds(("tenant", "key_id", "user"), "text") + _sums(len(COUNTS) + 1),
    keys=4,
)
