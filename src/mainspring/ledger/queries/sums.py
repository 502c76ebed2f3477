"""Sums over answers, read from the rollups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mainspring.ledger.tables import ATTEMPTS, COUNTS, DAY, FIRST_TOKENS, HISTOGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mainspring.store.types import Connection

# ruff: noqa: S608 - the only texts put into statements are names from our own types; values are parameters


class Piece(NamedTuple):
    """A stretch of time made of whole rollup buckets.

    `grain` is their width in seconds; the bounds are Unix microseconds, the upper one excluded.
    """

    grain: int
    low: int
    high: int


def usage(
    connection: Connection, by: str | None, piece: Piece, only: dict[str, str], *, histograms: int
) -> list[tuple[str, Sequence[Any]]]:
    """Sums over rollup buckets of one grain, by one of the dimensions (or all together under "")."""
    group = f'"{by}"' if by else "''"
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT {group}, {_SUMS[histograms]} FROM {_table(piece.grain, {by, *only})}"
        f" WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1",
        **piece._asdict(),
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def usage_by_user(
    connection: Connection, by: str, low_us: int, high_us: int, only: dict[str, str]
) -> list[tuple[str, Sequence[Any]]]:
    """Sums over whole days, by `user` or `key_id`."""
    condition, parameters = _equal(only)
    rows = connection.rows(
        f'SELECT "{by}", {_USER_SUMS} FROM usage_by_user WHERE bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1',
        low=low_us,
        high=high_us,
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def series(
    connection: Connection, piece: Piece, step_us: int, only: dict[str, str], *, histograms: int
) -> list[tuple[int, Sequence[Any]]]:
    """Sums by time step, oldest first; `step_us` is a multiple of the grain."""
    condition, parameters = _equal(only)
    rows = connection.rows(
        f"SELECT bucket_us / {step_us} * {step_us}, {_SUMS[histograms]}"
        f" FROM {_table(piece.grain, only)}"
        f" WHERE grain = :grain AND bucket_us >= :low AND bucket_us < :high{condition} GROUP BY 1 ORDER BY 1",
        **piece._asdict(),
        **parameters,
    )
    return [(row[0], row[1:]) for row in rows]


def _sums(*names: str) -> str:
    return ", ".join(f"sum({name})" for name in names)


_USER_SUMS = _sums(*COUNTS, "latency_sq")
#: Without histograms, with that of the latency, and with that of the time to the first token too: each costs as much as
#: everything before it.
_SUMS = tuple(
    _sums(*COUNTS, "latency_sq", *ATTEMPTS, *more) for more in ((), HISTOGRAM, (*HISTOGRAM, *FIRST_TOKENS))
)


def _table(grain: int, columns: Iterable[str | None]) -> str:
    """The smaller of the two rollups that can tell these columns apart at this grain."""
    return "usage_totals" if grain != DAY and {"tenant", None}.issuperset(columns) else "usage_rollups"


def _equal(only: dict[str, str]) -> tuple[str, dict[str, str]]:
    return "".join(f' AND "{name}" = :{name}' for name in only), only
