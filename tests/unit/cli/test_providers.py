"""`mainspring providers` and what `mainspring check` says of keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran

CONFIG = """
[providers.mine]
base_url = "http://127.0.0.1:9/v1"
api_keys = ["env:MINE_A", "env:MINE_B", "file:old", "vault:secret/a#b"]
[providers.anthropic]
"""


@pytest.fixture(autouse=True)
def configured(mainspring: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mainspring.toml").write_text(CONFIG)
    (tmp_path / "old").write_text("sk-old")
    os.utime(tmp_path / "old", (1_700_000_000, 1_700_000_000))
    monkeypatch.setenv("MINE_A", "sk-same")
    monkeypatch.setenv("MINE_B", "sk-same")
    monkeypatch.delenv("VAULT_ADDR", raising=False)


def test_list(mainspring: Callable[..., Ran]) -> None:
    found = {item["name"]: item for item in mainspring("providers", "list", "--json").json["items"]}
    assert list(found) == ["anthropic", "local", "mine"]
    assert found["anthropic"]["state"] == "without_key"
    states = {key["label"]: key["state"] for key in found["mine"]["keys"]}
    assert states == {
        "env:MINE_A": "ready",
        "env:MINE_B": "duplicate",
        "file:old": "ready",
        "vault:secret/a#b": "missing",
    }
    shown = mainspring("providers", "list")
    assert shown.code == 0
    assert "VAULT_ADDR is not set" in shown.out
    assert "older than it should be" in shown.out
    assert "sk-" not in shown.out + shown.err


def test_drain_and_undrain(mainspring: Callable[..., Ran]) -> None:
    assert "out of use" in mainspring("providers", "drain", "mine", "--reason", "their outage").out
    mine = mainspring("providers", "list", "--json").json["items"][2]
    assert mine["state"] == "drained"
    assert mine["drain"]["reason"] == "their outage"
    assert "(command line)" in mine["drain"]["by"]
    assert mainspring("providers", "undrain", "mine", "--json").json["state"] == "ready"
    assert mainspring("providers", "undrain", "mine").code == 1
    assert mainspring("providers", "drain", "mine", "--key", "file:old").code == 0
    assert "by " in mainspring("providers", "list").out
    for arguments, said in (
        (("drain", "yours"), "There are: anthropic, local, mine"),
        (("drain", "mine", "--key", "x"), "Its keys are: env:MINE_A"),
    ):
        refused = mainspring("providers", *arguments)
        assert refused.code == 1
        assert said in refused.err


def test_check_has_a_sentence_for_each_mistake(mainspring: Callable[..., Ran]) -> None:
    mainspring("providers", "drain", "mine", "--key", "file:old", "--reason", "leaked")
    checked = mainspring("check")
    assert checked.code == 1
    for said in (
        "FAILS   provider anthropic: The environment variable ANTHROPIC_API_KEY is not set.",
        "FAILS   provider mine, env:MINE_B: It is the same key as env:MINE_A",
        "FAILS   provider mine, vault:secret/a#b: A secret is kept in Vault, but VAULT_ADDR is not set.",
        "warns   provider mine, file:old: in use for ",
        "warns   provider mine, file:old: taken out of use by ",
        "FAILS   provider mine, env:MINE_A: http://127.0.0.1:9/v1 cannot be reached",
    ):
        assert said in checked.out, checked.out
    assert "sk-" not in checked.out + checked.err
