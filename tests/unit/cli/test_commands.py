from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mainspring import __version__
from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.ledger import Attempt, Inference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]


def _answer(**fields: Any) -> Inference:
    received = now_us()
    given = {
        "id": new_id(),
        "received_us": received,
        "done_us": received + 150_000,
        "tenant": "acme",
        "dialect": "openai.chat",
        "requested_model": "default",
        "provider": "openai",
        "model": "gpt",
        "attempts": [Attempt("openai", "gpt", received, received + 1000)],
        "status": 200,
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_nusd": 123_456,
        "config_hash": "0" * 16,
    }
    return Inference(**{**given, **fields})


def test_version(mainspring: Run) -> None:
    assert mainspring("--version").out == f"mainspring {__version__}\n"


def test_importing_the_package_and_asking_for_help_load_nothing_heavy() -> None:
    code = (
        "import sys, mainspring.cli.app\n"
        "heavy = {'pydantic', 'structlog', 'fastapi', 'uvicorn', 'sqlalchemy', 'rich', 'aiohttp', 'prometheus_client'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["keys", "list", "--nonsense"],
        ["keys", "list", "--limit", "0"],
        ["serve", "--port", "70000"],
        ["keys", "revoke"],
    ],
)
def test_wrong_usage_is_2(mainspring: Run, arguments: list[str]) -> None:
    ran = mainspring(*arguments)
    assert ran.code == 2
    assert "Error: " in ran.err
    assert "--help" in ran.err
    assert "Traceback" not in ran.err


def test_a_wrong_configuration_is_told_in_two_sentences(mainspring: Run, tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[server]\nprot = 1\n")
    ran = mainspring("keys", "list")
    assert ran.code == 2
    assert ran.err.startswith(
        "Error: mainspring.toml, line 2: server.prot is not a setting. Did you mean 'port'? "
    )
    assert mainspring("keys", "list", "--config", "other.toml").code == 2


def test_a_traceback_needs_debug(mainspring: Run) -> None:
    from mainspring.base.errors import NotFound  # noqa: PLC0415 - stands where it is expected

    ran = mainspring("keys", "revoke", "nope")
    assert (ran.code, ran.err.splitlines()) == (
        1,
        ["Error: There is no key 'nope'. `mainspring keys list` shows those that there are."],
    )
    with pytest.raises(NotFound):
        mainspring("keys", "revoke", "nope", "--debug")


def test_every_model_in_the_box_is_named_in_the_help(mainspring: Run) -> None:
    from mainspring.providers.local.catalog import IN_THE_BOX  # noqa: PLC0415 - stands where it is compared

    assert "|".join([*IN_THE_BOX, "list"]) in mainspring("local", "pull", "--help").out


class TestKeys:
    def test_create_list_rotate_revoke(self, mainspring: Run) -> None:
        made = mainspring(
            "keys", "create", "--tenant", "acme", "--name", "web", "--role", "member", "--models", "a, b",
            "--expires", "90d", "--rps", "10", "--budget-usd", "5/day", "--no-payloads", "--json",
        ).json  # fmt: skip
        assert made["key"].startswith("ms-")
        assert (made["tenant"], made["models"], made["payloads"]) == ("acme", ["a", "b"], False)
        assert (made["rps"], made["budget"]) == (10, {"usd": 5, "window": "day"})
        listed = mainspring("keys", "list", "--tenant", "acme", "--json").json
        assert [key["id"] for key in listed["items"]] == [made["id"]]
        assert "key" not in listed["items"][0]
        new = mainspring("keys", "rotate", made["id"], "--overlap", "1h", "--json").json
        assert new["key"] != made["key"]
        assert mainspring("keys", "revoke", new["id"]).code == 0
        table = mainspring("keys", "list").out
        assert "revoked" in table
        assert "rotated" in table
        assert made["key"] not in table

    def test_the_secret_stands_alone_on_its_line(self, mainspring: Run) -> None:
        first, *_, last = mainspring("keys", "create").out.splitlines()
        assert first.startswith("ms-")
        assert " " not in first
        assert "shown once" in last

    @pytest.mark.parametrize(
        "wrong",
        [["--expires", "soon"], ["--budget-usd", "five"], ["--role", "owner"], ["--budget-usd", "5/week"]],
    )
    def test_wrong_values_are_2(self, mainspring: Run, wrong: list[str]) -> None:
        ran = mainspring("keys", "create", *wrong)
        assert ran.code == 2
        assert ran.err.startswith("Error: ")

    def test_pages(self, mainspring: Run) -> None:
        for _ in range(3):
            mainspring("keys", "create")
        first = mainspring("keys", "list", "--limit", "2", "--json").json
        second = mainspring("keys", "list", "--limit", "2", "--after", first["next"], "--json").json
        assert (len(first["items"]), len(second["items"]), second["next"]) == (2, 1, None)
        assert "--after" in mainspring("keys", "list", "--limit", "2").out


class TestLedger:
    def test_tail_shows_the_last_answers(self, mainspring: Run, record: Callable[..., None]) -> None:
        rows = [
            _answer(),
            _answer(user="ann", tenant="other", cost_nusd=None, status=504, error="provider_timeout"),
        ]
        record(*rows)
        lines = mainspring("ledger", "tail", "--no-follow").out.splitlines()
        assert [row.id in line for row, line in zip(rows, lines, strict=True)] == [True, True]
        assert "$0.000123456" in lines[0]
        assert "504 provider_timeout" in lines[1]
        assert "$?" in lines[1]
        assert "other/ann" in lines[1]
        only = mainspring("ledger", "tail", "--no-follow", "--json", "--status", "error").out
        assert [json.loads(line)["id"] for line in only.splitlines()] == [rows[1].id]
        assert mainspring("ledger", "tail", "--no-follow", "--status", "odd").code == 2

    def test_show(self, mainspring: Run, record: Callable[..., None]) -> None:
        row = _answer()
        record(row, payload=(b'{"a": 1}', b"text"))
        shown = mainspring("ledger", "show", row.id, "--payload", "--json").json
        assert (shown["id"], shown["payload"]) == (row.id, {"request": {"a": 1}, "response": "text"})
        text = mainspring("ledger", "show", row.id).out
        assert "provider openai" in text
        assert "cost_usd: 0.000123456" in text
        assert "stream: no" in text
        assert mainspring("ledger", "show", "nope").code == 1

    def test_show_writes_small_costs_in_plain_digits(
        self, mainspring: Run, record: Callable[..., None]
    ) -> None:
        row = _answer(cost_nusd=28_000)
        record(row)
        assert "cost_usd: 0.000028\n" in mainspring("ledger", "show", row.id).out

    def test_show_says_why_this_model(self, mainspring: Run, record: Callable[..., None]) -> None:
        routing = {
            "strategy": "cheapest",
            "candidates": [{"target": "a/m", "cost_nusd": 201_700}, {"target": "b/m", "cost_nusd": None}],
            "passed_over": [{"target": "c/m", "note": "no tools"}],
        }
        row = _answer(why="route r, cheapest", extra={"routing": routing})
        record(row)
        lines = mainspring("ledger", "show", row.id).out.splitlines()
        place = lines.index("routing: cheapest")
        assert lines[place + 1 : place + 4] == [
            "  1. a/m: about $0.000202",
            "  2. b/m: price unknown",
            "  -. c/m: passed over, no tools",
        ]
        assert "why: route r, cheapest" in lines
        assert not any(line.startswith("extra") for line in lines)

    @pytest.mark.parametrize("form", ["jsonl", "parquet"])
    def test_export(self, mainspring: Run, record: Callable[..., None], tmp_path: Path, form: str) -> None:
        record(_answer(), _answer())
        ran = mainspring("ledger", "export", f"out.{form}", "--format", form, "--since", "1d")
        assert (ran.code, ran.out) == (0, f"2 answers written to out.{form}.\n")
        assert (tmp_path / f"out.{form}").stat().st_size > 0
        assert mainspring("ledger", "export", "--format", "csv").code == 2
        assert mainspring("ledger", "export", "named.jsonl").code == 0
        assert len((tmp_path / "named.jsonl").read_text("utf-8").splitlines()) == 2
        assert mainspring("ledger", "export", f"no/such/folder.{form}", "--format", form).code == 2


def test_usage(mainspring: Run, record: Callable[..., None]) -> None:
    record(_answer(), _answer(cost_nusd=None), _answer(model="other", cost_nusd=None))
    rows = mainspring("usage", "--by", "model", "--json").json["items"]
    assert {row["group"]: row["cost_usd"] for row in rows} == {"gpt": 0.000123456, "other": 0}
    both = mainspring("usage", "--by", "model,tenant", "--since", "1d").out
    assert "MODEL" in both
    assert "TENANT" in both
    assert "$0.000123+?" in both
    assert " ?  " in both
    assert '? there is no price for some of these answers: [models."PROVIDER/MODEL"] in the file' in both
    assert "And 1 more: --limit 0 shows all." in mainspring("usage", "--limit", "1").out
    assert mainspring("usage", "--by", "colour").code == 2
    assert mainspring("usage", "--since", "soon").code == 2
    assert "No answers" in mainspring("usage", "--until", "2001-01-01", "--since", "2000-01-01").out


class TestCheck:
    def test_with_nothing_that_answers(self, mainspring: Run) -> None:
        ran = mainspring("check", "--json")
        assert ran.code == 1
        found = {item["subject"]: item for item in ran.json["items"]}
        assert found["database"]["works"] is True
        assert found["blobs"]["works"] is True
        assert found["model local/small"]["works"] is None
        assert found["models"]["works"] is False
        assert "mainspring local pull small" in found["models"]["remedy"]

    def test_providers_are_asked(
        self, mainspring: Run, tmp_path: Path, provider: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        (tmp_path / "mainspring.toml").write_text(
            f'[providers.good]\nbase_url = "{provider.url}/v1"\napi_keys = ["sk-any"]\n'
            '[providers.away]\nbase_url = "http://127.0.0.1:1/v1"\n'
            f'[providers.keyless]\nbase_url = "{provider.url}/v1"\napi_keys = ["env:NO_SUCH_KEY"]\n'
            '[providers.nowhere]\napi = "openai"\n'
        )
        ran = mainspring("check", "--json")
        found = {item["subject"]: item for item in ran.json["items"]}
        assert ran.code == 1
        assert found["provider good"]["works"] is True
        assert "cannot be reached" in found["provider away"]["detail"]
        assert "NO_SUCH_KEY is not set" in found["provider keyless"]["detail"]
        assert "line 9: providers.nowhere has no base_url" in found["configuration"]["detail"]
        assert found["models"]["works"] is True
        assert "sk-any" not in ran.out

    def test_a_provider_that_is_there_is_to_be_mended(self, mainspring: Run, tmp_path: Path) -> None:
        (tmp_path / "mainspring.toml").write_text('[providers.away]\nbase_url = "http://127.0.0.1:1/v1"\n')
        found = {item["subject"]: item for item in mainspring("check", "--json").json["items"]}
        assert found["models"]["remedy"].startswith("Mend a provider above")

    def test_a_database_that_is_away(self, mainspring: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAINSPRING_STORAGE__DATABASE", "postgresql://u:secret@127.0.0.1:1/x")
        monkeypatch.setenv("MAINSPRING_LEDGER__WAIT_SECONDS", "0.2")
        ran = mainspring("check")
        assert ran.code == 1
        assert "FAILS   database: postgresql://u:***@127.0.0.1:1/x" in ran.out
        assert "secret" not in ran.out + ran.err


def test_chat_without_a_server_or_a_key(mainspring: Run) -> None:
    ran = mainspring("chat", "hello", "--url", "http://127.0.0.1:1", "--key", "ms-x")
    assert ran.code == 1
    assert "refused. Start one with `mainspring serve`" in ran.err
    assert "Errno" not in ran.err
    ran = mainspring("chat", "hello")
    assert ran.code == 1
    assert "MAINSPRING_KEY" in ran.err
    assert mainspring("chat", "hello", "--url", "nonsense", "--key", "x").code == 2
