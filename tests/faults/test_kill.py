"""kill -9 under load: a few rounds of the drill. `python -m tests.faults.kill_drill` runs as many as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.kill_drill import drill
from tests.support.postgres import Cluster

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 2), ("postgres", 1)])
def test_nothing_is_lost(tmp_path: Path, database: str, rounds: int) -> None:
    if database == "sqlite":
        verdicts = list(drill(rounds, "", tmp_path, seconds=(0.5, 1.5), seed=3))
    else:
        with Cluster.started() as cluster:
            verdicts = list(drill(rounds, cluster.url, tmp_path, seconds=(0.5, 1.5), seed=3))
    print(*verdicts, sep="\n")
    assert all(verdict.good for verdict in verdicts), verdicts
    assert all(verdict.completed > 10 for verdict in verdicts), "the drill was no load"
