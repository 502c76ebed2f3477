"""Secrets rotated under load: two rounds of the drill. `python -m tests.faults.rotation_drill` runs as many as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.rotation_drill import drill
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def test_nobody_notices_a_rotation(tmp_path: Path) -> None:
    verdicts = list(drill(2, tmp_path, patience=PATIENCE))
    print(*verdicts, sep="\n")
    assert [verdict.graceful for verdict in verdicts] == [True, False]
    assert all(verdict.good for verdict in verdicts), verdicts
    assert all(verdict.answered > 10 for verdict in verdicts), "the drill was no load"
