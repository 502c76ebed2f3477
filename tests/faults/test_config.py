"""The configuration edited under load: two rounds of the drill. `python -m tests.faults.config_drill` runs as many as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.config_drill import drill

if TYPE_CHECKING:
    from pathlib import Path


def test_good_edits_are_in_force_in_all_workers_and_broken_ones_change_nothing(tmp_path: Path) -> None:
    verdicts = list(drill(2, tmp_path, workers=2))
    print(*verdicts, sep="\n")
    assert all(verdict.good for verdict in verdicts), verdicts
    assert all(verdict.answered > 10 for verdict in verdicts), "the drill was no load"
