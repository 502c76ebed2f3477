"""Nobody overspends, with kills in between: short rounds of the drill. `python -m tests.faults.budget_drill` runs all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.budget_drill import drill
from tests.support.postgres import Cluster

if TYPE_CHECKING:
    from pathlib import Path


def test_one_process_killed_under_load(tmp_path: Path) -> None:
    outcome = drill(0.1, 64, workers=1, kills=1, database="", folder=tmp_path, quiet=1.5)
    print(outcome)
    assert outcome.good, str(outcome)
    assert outcome.kills == 1


def test_several_processes_on_postgres(tmp_path: Path) -> None:
    with Cluster.started() as cluster:
        outcome = drill(0.15, 64, workers=3, kills=1, database=cluster.url, folder=tmp_path)
    print(outcome)
    assert outcome.good, str(outcome)
    assert outcome.kills == 1
