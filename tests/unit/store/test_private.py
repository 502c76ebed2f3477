"""Who may read what the stores write to disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.support.answers import answer

from mainspring.base.private import open_to_everybody
from mainspring.base.settings import Settings
from mainspring.keys.secrets import write_file
from mainspring.ledger.recorder import LedgerRecorder, Record
from mainspring.store import open_blobs, open_database
from mainspring.web.doubts import doubts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def written(file: Path) -> dict[str, int]:
    """Write an answer to a database, and say the modes of its files meanwhile."""
    database = await open_database(f"sqlite:///{file}")
    await database.append(LedgerRecorder(), Record(answer()))
    found = {path.name.removeprefix(file.name): mode(path) for path in file.parent.glob(f"{file.name}*")}
    await database.close()
    return found


async def test_a_new_database_is_its_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "x.db"
    assert await written(file) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


async def test_a_new_database_behind_a_link_is_so_too(tmp_path: Path) -> None:
    (tmp_path / "x.db").symlink_to(tmp_path / "elsewhere.db")
    await written(tmp_path / "x.db")
    assert mode(tmp_path / "elsewhere.db") == 0o600


async def test_what_somebody_has_opened_to_a_group_stays_open(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o750)
    file = folder / "x.db"
    await written(file)
    file.chmod(0o640)
    assert await written(file) == {"": 0o640, "-wal": 0o640, "-shm": 0o640}
    assert mode(folder) == 0o750


async def test_new_blobs_and_the_admin_key_are_in_a_folder_of_their_user(tmp_path: Path) -> None:
    await open_blobs(f"file://{tmp_path}/data/blobs").put("payloads/x", b"asked")
    assert (mode(tmp_path / "data"), mode(tmp_path / "data" / "blobs")) == (0o700, 0o700)
    assert write_file(tmp_path / "kept" / "admin.key", "s" * 20)
    assert mode(tmp_path / "kept") == 0o700


def test_a_database_that_everybody_may_read_is_a_doubt(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "x.db"
    settings = Settings.model_validate({"storage": {"database": f"sqlite:///{file}"}})
    file.touch(0o600)
    assert not [doubt for doubt in doubts(settings) if doubt.place == "storage.database"]
    file.chmod(0o644)
    assert [doubt for doubt in doubts(settings) if doubt.place == "storage.database"]
    tmp_path.chmod(0o750)
    assert not open_to_everybody(file)
