"""How budgets stand: what was spent and is held, and which thresholds were crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.budgets import windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mainspring.budgets.types import Budget
    from mainspring.store.types import Connection


def spent(connection: Connection, budget: Budget, room_us: int, now_us: int) -> tuple[int, int, int]:
    """What was spent in the window that is about an instant: nano-dollars, tokens, answers."""
    row = connection.one(
        "SELECT COALESCE(SUM(nusd), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(answers), 0) FROM budget_spent"
        " WHERE budget_id = :id AND bucket_us >= :low AND bucket_us <= :high",
        id=budget.id,
        low=windows.lowest_bucket(budget, room_us, now_us),
        high=windows.highest_bucket(budget, room_us),
    )
    assert row is not None, "sums are one row"
    return int(row[0]), int(row[1]), int(row[2])


def spent_of(
    connection: Connection, budget_ids: Sequence[str], low_us: int, high_us: int
) -> dict[str, tuple[int, int, int]]:
    """What several budgets have spent between two slices, both counted: nano-dollars, tokens, answers."""
    return {
        row[0]: (int(row[1]), int(row[2]), int(row[3]))
        for these in _batches(budget_ids)
        for row in connection.rows(
            "SELECT budget_id, SUM(nusd), SUM(tokens), SUM(answers) FROM budget_spent"  # noqa: S608 - names of parameters
            f" WHERE budget_id IN ({_names(these)}) AND bucket_us >= :low AND bucket_us <= :high"
            " GROUP BY budget_id",
            low=low_us,
            high=high_us,
            **these,
        )
    }


def held_of(connection: Connection, budget_ids: Sequence[str], room_us: int) -> dict[str, tuple[int, int]]:
    """What all processes hold of several budgets."""
    return {
        row[0]: (int(row[1]), int(row[2]))
        for these in _batches(budget_ids)
        for row in connection.rows(
            "SELECT budget_id, SUM(CASE WHEN nusd > 0 THEN nusd ELSE 0 END),"  # noqa: S608 - names of parameters
            " SUM(CASE WHEN tokens > 0 THEN tokens ELSE 0 END) FROM budget_leases"
            f" WHERE budget_id IN ({_names(these)}) AND room_us = :room GROUP BY budget_id",
            room=room_us,
            **these,
        )
    }


def crossings_of(
    connection: Connection, budget_ids: Sequence[str], window_us: int
) -> dict[str, tuple[int, ...]]:
    """The thresholds that several budgets have crossed in a window, ascending."""
    found: dict[str, tuple[int, ...]] = {}
    for these in _batches(budget_ids):
        for budget_id, threshold in connection.rows(
            "SELECT budget_id, threshold FROM budget_crossings"  # noqa: S608 - names of parameters
            f" WHERE budget_id IN ({_names(these)}) AND window_us = :window ORDER BY threshold",
            window=window_us,
            **these,
        ):
            found[budget_id] = (*found.get(budget_id, ()), int(threshold))
    return found


def cross(  # noqa: PLR0917 - a row
    connection: Connection,
    budget_id: str,
    window_us: int,
    threshold: int,
    now_us: int,
    nusd: int,
    tokens: int,
) -> bool:
    """Note that a threshold was crossed; False where somebody has done so."""
    return bool(
        connection.run(
            "INSERT INTO budget_crossings (budget_id, window_us, threshold, crossed_us, nusd, tokens)"
            " VALUES (:id, :window, :threshold, :now, :nusd, :tokens)"
            " ON CONFLICT (budget_id, window_us, threshold) DO NOTHING",
            id=budget_id,
            window=window_us,
            threshold=threshold,
            now=now_us,
            nusd=nusd,
            tokens=tokens,
        )
    )


def slices(connection: Connection, budget: Budget, room_us: int, now_us: int) -> list[tuple[int, int, int]]:
    """What was spent in each slice of a window, oldest first: where it begins, nano-dollars, tokens."""
    rows = connection.rows(
        "SELECT bucket_us, nusd, tokens FROM budget_spent"
        " WHERE budget_id = :id AND bucket_us >= :low AND bucket_us <= :high ORDER BY bucket_us",
        id=budget.id,
        low=windows.lowest_bucket(budget, room_us, now_us),
        high=windows.highest_bucket(budget, room_us),
    )
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]


def _batches(values: Sequence[str]) -> Iterator[dict[str, str]]:
    """Values as named parameters, as many at a time as a statement takes everywhere."""
    for start in range(0, len(values), 500):
        yield {f"v{index}": value for index, value in enumerate(values[start : start + 500])}


def _names(parameters: dict[str, str]) -> str:
    return ", ".join(f":{name}" for name in parameters)
