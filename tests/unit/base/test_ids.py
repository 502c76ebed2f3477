from __future__ import annotations

import subprocess
import sys
import time
import uuid

import pytest

from mainspring.base.ids import lowest_id, new_id, time_of


def test_ids_are_version_7_uuids() -> None:
    made = uuid.UUID(new_id())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert str(made) == str(made).lower()


def test_ids_of_one_process_increase_and_never_repeat() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_an_id_tells_its_time() -> None:
    before = time.time()
    made = time_of(new_id())
    # Ids made faster than the clock ticks run ahead of it by less than anybody can see.
    assert before - 0.001 <= made <= time.time() + 0.05


def test_lowest_id_begins_its_instant() -> None:
    identifier = new_id()
    assert lowest_id(time_of(identifier)) <= identifier < lowest_id(time_of(identifier) + 0.002)
    assert lowest_id(-5) == "00000000-0000-7000-8000-000000000000"


def test_time_of_refuses_what_is_no_uuid() -> None:
    with pytest.raises(ValueError, match="not a UUID"):
        time_of("hello")


def test_two_processes_make_different_ids() -> None:
    code = "from mainspring.base.ids import new_id; print(*(new_id() for _ in range(100)))"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert not set(runs[0].stdout.split()) & set(runs[1].stdout.split())
