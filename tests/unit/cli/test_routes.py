"""`mainspring routes`: the list and the explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran

CONFIG = """
[providers.a]
base_url = "http://127.0.0.1:9/v1"
[models."a/small"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
context_tokens = 8000
vision = false
[routes.chat]
targets = ["a/small", "a/big"]
strategy = "cheapest"
[[routes.chat.when]]
targets = ["a/big", "a/small"]
weights = [3, 1]
metadata = { plan = "pro", seats = 5 }
"""


@pytest.fixture(autouse=True)
def configured(mainspring: object, tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text(CONFIG)


def test_list(mainspring: Callable[..., Ran]) -> None:
    chat, default = mainspring("routes", "list", "--json").json["items"]
    assert (chat["name"], chat["strategy"], default["name"]) == ("chat", "cheapest", "default")
    assert [t["target"] for t in chat["targets"]] == ["a/small", "a/big"]
    assert (chat["targets"][0]["vision"], chat["targets"][1]["vision"]) == (False, None)
    (rule,) = chat["rules"]
    assert rule["rule"] == "rule 1 (metadata.plan=pro, metadata.seats=5)"
    assert [t["weight"] for t in rule["targets"]] == [3, 1]
    shown = mainspring("routes", "list").out
    assert "rule 1 (metadata.plan=pro, metadata.seats=5)" in shown
    assert shown.splitlines()[0].split()[:3] == ["ROUTE", "STRATEGY", "TARGET"]


def test_explain(mainspring: Callable[..., Ran]) -> None:
    cheap = mainspring("routes", "explain", "chat", "--tokens", "1000", "--max-tokens", "100", "--json").json
    assert cheap["targets"] == ["a/small", "a/big"]
    assert cheap["detail"]["candidates"][0] == {"target": "a/small", "cost_nusd": 140_000}
    assert "about $0.000300" in mainspring("routes", "explain", "chat", "--tokens", "1000").out
    seen = mainspring("routes", "explain", "chat", "--vision").out
    assert seen.startswith("route chat, passed over a/small (no vision)\n")
    assert "passed over: no vision" in seen
    pro = mainspring(
        "routes",
        "explain",
        "chat",
        "--metadata",
        "plan=pro",
        "--metadata",
        "seats=5",
        "--tokens",
        "9000",
        "--json",
    ).json
    assert pro["why"].startswith("route chat, rule 1 (metadata.plan=pro, metadata.seats=5)")
    direct = mainspring("routes", "explain", "a/whatever")
    assert "named by the caller" in direct.out


def test_wrong_questions(mainspring: Callable[..., Ran], tmp_path: Path) -> None:
    unknown = mainspring("routes", "explain", "chta")
    assert (unknown.code, "Did you mean 'chat'?" in unknown.err) == (1, True)
    assert mainspring("routes", "explain", "chat", "--metadata", "plan").code == 2
    (tmp_path / "mainspring.toml").write_text(
        CONFIG.replace('"a/small", "a/big"]\nstrategy', '"b/small"]\nstrategy')
    )
    broken = mainspring("routes", "list")
    assert broken.code == 2
    assert "line 10: routes.chat: the target 'b/small' names a provider" in broken.err
