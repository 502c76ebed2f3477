"""Every mistake gets the same two sentences from `check`, from `serve`, and from a server that is told to read it again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.support.misconfigurations import MISTAKES, Mistake

from mainspring.base.logging import configure
from mainspring.base.settings import load
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., Any]

SECRETS = ("hunter2", "sk-secret")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside."""
    for variable in os.environ:
        if variable.startswith(("MAINSPRING_", "VAULT_")) or variable.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(variable)


def _prepare(folder: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put everything in its place; returns the sentence that is expected."""
    text = mistake.text.encode() if isinstance(mistake.text, str) else mistake.text
    for name, contents in {"mainspring.toml": text, **mistake.files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(contents)
    for name, value in mistake.env.items():
        monkeypatch.setenv(name, value)
    if mistake.says.startswith("line "):
        return f"mainspring.toml, {mistake.says}"
    return f"The environment variable {mistake.says[1:]}" if mistake.says.startswith("$") else mistake.says


def _is_sound(sentence: str, remedy: str) -> None:
    """One sentence of what, one of what to do, nothing of a library and no secret."""
    for text in (sentence, remedy):
        assert text[0].isupper() or text.startswith(("mainspring.toml", "docs/", "providers.", ".mainspring"))
        assert text.endswith((".", "?"))
        assert "\n" not in text
        for foreign in ("Input should", "Traceback", "Error", "errno", "codec", *SECRETS):
            assert foreign not in text


@pytest.mark.parametrize("name", MISTAKES)
def test_check_and_serve_say_the_same(
    mainspring: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sentence = _prepare(tmp_path, MISTAKES[name], monkeypatch)
    checked = mainspring("check", "--json")
    assert checked.code == 1
    found = next(item for item in checked.json["items"] if item["works"] is False)
    assert (found["subject"], found["detail"]) == ("configuration", sentence)
    _is_sound(found["detail"], found["remedy"])
    served = mainspring("serve", "--port", "0")
    assert (served.code, served.out) == (2, "")
    assert served.err == f"Error: {sentence} {found['remedy']}\n"
    for text in (checked.out, checked.err, served.err):
        assert not any(secret in text for secret in SECRETS)


SEVERAL = """\
[storage]
sync = "fast"
[routes.s]
strategy = "cheap"
[server]
prot = 1
[routes.r]
targets = ["local/small"]
hedge = { aftr = 1 }
metadata = true
"""
LEADING_NOWHERE = """\
[routes.r]
targets = ["z/x", "y"]
[storage]
shared = "memcached://h"
[routes.s]
targets = ["local/small"]
fallback = { route = "r" }
[[routes.s.when]]
targets = ["z/x"]
stream = true
"""


@pytest.mark.parametrize(
    ("mistake", "places"),
    [
        (
            Mistake(SEVERAL, "", {"MAINSPRING_LEDGER__PAYLOADS": "perhaps", "MAINSPRING_SEVER__PORT": "1"}),
            [
                "mainspring.toml, line 2: storage.sync must",
                "mainspring.toml, line 3: routes.s.targets is missing",
                "mainspring.toml, line 4: routes.s.strategy must",
                "mainspring.toml, line 6: server.prot is not",
                "mainspring.toml, line 9: routes.r.hedge.aftr is not",
                "mainspring.toml, line 10: routes.r.metadata is not",
                "The environment variable MAINSPRING_LEDGER__PAYLOADS: ledger.payloads must",
                "The environment variable MAINSPRING_SEVER__PORT is not",
            ],
        ),
        (
            Mistake(LEADING_NOWHERE, ""),
            [
                "mainspring.toml, line 2: routes.r: the target 'z/x' names",
                "mainspring.toml, line 2: routes.r: the target 'y' is not",
                "mainspring.toml, line 4: storage.shared",
                "mainspring.toml, line 9: routes.s.when[1]: the target 'z/x' names",
            ],
        ),
        (
            Mistake(
                "[routes.r]\ntargets = [1, 2, 3]\n[[routes.r.when]]\ntargets = ['p/y']\nuser = [1, 2]\n", ""
            ),
            [
                "mainspring.toml, line 2: routes.r.targets[1]",
                "mainspring.toml, line 5: routes.r.when[1].user[1]",
            ],
        ),
        (
            Mistake("[providers.p]\nbase_url = 'p'\n[providers.q]\nbase_url = 'q'\n", ""),
            ["mainspring.toml, line 2: providers.p", "mainspring.toml, line 4: providers.q"],
        ),
    ],
)
def test_all_mistakes_are_told_at_once(
    mainspring: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: Mistake,
    places: list[str],
) -> None:
    _prepare(tmp_path, mistake, monkeypatch)
    found = [i for i in mainspring("check", "--json").json["items"] if i["subject"] == "configuration"]
    assert [item["detail"][: len(place)] for item, place in zip(found, places, strict=True)] == places
    more = len(places) - 1
    served = mainspring("serve", "--port", "0")
    assert served.err == (
        f"Error: {found[0]['detail']} {found[0]['remedy']}"
        f" `mainspring check` tells of {'one more mistake' if more == 1 else f'{more} more mistakes'}.\n"
    )


def test_a_file_of_nothing_but_mistakes(mainspring: Run, tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("".join(f"key{n} = 1\n" for n in range(100)))
    found = [i["detail"] for i in mainspring("check", "--json").json["items"]]
    assert len(found) == 21
    assert found[-1] == "80 more mistakes"


#: What can be, but does not work: what `check` says about which subject, and what the log of a server says.
LIVES: dict[str, tuple[Mistake, str, str]] = {
    "key unset": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['env:NO_SUCH_KEY']\n", "The environment variable NO_SUCH_KEY is not set."), "provider p", "FAILS"),
    "key file missing": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['file:nowhere']\n", "The file nowhere is not there."), "provider p", "FAILS"),
    "key file empty": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['file:empty']\n", "The file empty is empty.", files={"empty": b""}), "provider p", "FAILS"),
    "vault without an address": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['vault:a/b#c']\n", "A secret is kept in Vault, but VAULT_ADDR is not set."), "provider p", "FAILS"),
    "model of no provider": (Mistake("[models.'opnai/x']\ninput_usd_per_mtok = 1\n", "there is no provider 'opnai', so it has no effect."), "models.opnai/x", "warns"),
    "model without a file": (Mistake("[models.'local/mine']\npath = 'nowhere.gguf'\n", "there is no file nowhere.gguf."), "models.local/mine.path", "warns"),
    "rule about no route": (Mistake("[alerts.rules.x]\nmetric = 'error_rate'\nabove = 0.1\nroute = 'nope'\n", "there is no route 'nope', so the rule never fires."), "alerts.rules.x.route", "warns"),
    "key with quotes": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['env:QUOTED']\n", "env:QUOTED has quotes around the key.", env={"QUOTED": '"sk-secret-abcdef"'}), "provider p", "FAILS"),
    "key in the file": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\napi_keys = ['sk-secret-abcdefghijkl']\n", "a key stands in the file itself, where whoever reads the file has it."), "providers.p.api_keys", "warns"),
    "price of one token": (Mistake("[models.'openai/x']\ninput_usd_per_mtok = 2.5e-7\n", "2.5e-07 dollars per million tokens are less than any model costs."), "models.openai/x.input_usd_per_mtok", "warns"),
    "price of too much": (Mistake("[models.'openai/x']\noutput_usd_per_mtok = 9_000\n", "9000 dollars per million tokens are more than any model costs."), "models.openai/x.output_usd_per_mtok", "warns"),
    "timeout in milliseconds": (Mistake("[routes.r]\ntargets = ['local/small']\ntimeouts = { first_token = 30_000 }\n", "a request has 600 seconds in all, so 30000 are never waited."), "routes.r.timeouts.first_token", "warns"),
    "provider twice": (Mistake("[providers.p]\nbase_url = 'http://127.0.0.1:9'\n[routes.r]\ntargets = ['p/p/x']\n", "the target 'p/p/x' has the name of its provider twice."), "routes.r.targets", "warns"),
    "admin key for all": (Mistake("", "other users of this machine may read it.", files={".mainspring/admin.key": b"ms-" + b"a" * 40}), ".mainspring/admin.key", "warns"),
    "redis away": (Mistake("[storage]\nshared = 'redis://:hunter2@127.0.0.1:1/0'\n", "cannot be reached"), "shared state", "FAILS"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVES)
def test_what_a_server_can_live_with_is_told_in_its_log(
    mainspring: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mistake, subject, mark = LIVES[name]
    _prepare(tmp_path, mistake, monkeypatch)
    lines = mainspring("check").out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{mark:<7} {subject}: "))
    assert mistake.says in lines[place]
    assert lines[place + 1].strip().endswith((".", "?"))

    async def start() -> None:
        runtime = await Runtime.open(load())
        await asyncio.sleep(0.1)
        await runtime.close()

    configure("info")  # `check` has made it quiet
    with structlog.testing.capture_logs() as logged:
        asyncio.run(start())
    told = [entry for entry in logged if mistake.says in str(entry.get("reason") or entry.get("why"))]
    assert told
    assert {entry["log_level"] for entry in told} == {"warning"}
    assert not any(secret in "\n".join(lines) + str(logged) for secret in SECRETS)


#: Stores that can be, but are not: both commands fail, and say why.
STORES = {
    "a folder": (Mistake("[storage]\ndatabase = 'sqlite:///.'\n", ". is a folder."), ()),
    "no database": (Mistake("[storage]\ndatabase = 'sqlite:///x.txt'\n", "The database cannot be used: the file is no SQLite database.", files={"x.txt": b"hello " * 100}), ()),
    "below a file": (Mistake("[storage]\ndatabase = 'sqlite:///x.txt/a.db'\n", "The folder x.txt of the database cannot be made: Not a directory.", files={"x.txt": b""}), ()),
    "nobody listens": (Mistake("[ledger]\nwait_seconds = 0.1\n[storage]\ndatabase = 'postgresql://u:hunter2@127.0.0.1:1/x'\n", "The database cannot be used: nothing listens at its address."), ()),
    "no such host": (Mistake("[ledger]\nwait_seconds = 0.1\n[storage]\ndatabase = 'postgresql://u:hunter2@no-such-host.invalid/x'\n", "The database cannot be used: its host is not known."), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_cannot_be_used(
    mainspring: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mistake, _ = STORES[name]
    _prepare(tmp_path, mistake, monkeypatch)
    checked = mainspring("check", "--json")
    found = next(item for item in checked.json["items"] if item["subject"] == "database")
    assert (checked.code, found["works"]) == (1, False)
    assert found["detail"].endswith(mistake.says)
    _is_sound(mistake.says if mistake.says[0].isupper() else "X.", found["remedy"])
    served = mainspring("serve", "--port", "0")
    assert (served.code, served.err) == (1, f"Error: {mistake.says} {found['remedy']}\n")
    assert "hunter2" not in checked.out + served.err


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("no-such-host.invalid", "Name or service not known"),
        ("http://127.0.0.1", "Name or service not known"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_an_address_that_is_not_ours(mainspring: Run, tmp_path: Path, host: str, says: str) -> None:
    (tmp_path / "mainspring.toml").write_text(f"[server]\nport = 0\nhost = '{host}'\n")
    found = next(i for i in mainspring("check", "--json").json["items"] if i["subject"] == "server")
    assert found["works"] is False
    assert found["detail"] == f"cannot listen on {host}:0: {says}"
    served = mainspring("serve")
    assert (served.code, served.out) == (2, "")
    assert served.err.startswith(
        f"Error: Cannot listen on {host}:0: {says}. Choose an address of this machine"
    )


@contextmanager
def _taken() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_a_port_that_somebody_else_uses(mainspring: Run, tmp_path: Path) -> None:
    with _taken() as port:
        (tmp_path / "mainspring.toml").write_text(f"[server]\nport = {port}\n")
        found = next(i for i in mainspring("check", "--json").json["items"] if i["subject"] == "server")
        assert (found["works"], found["warns"]) == (True, True)
        assert found["detail"] == f"something else uses 127.0.0.1:{port}"
        assert mainspring("serve").code == 2


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_file_that_was_named_and_is_not_there_is_wrong_usage(mainspring: Run, command: str) -> None:
    ran = mainspring(command, "--config", "other.toml")
    assert ran.code == 2
    assert ran.err == (
        "Error: There is no configuration file other.toml. "
        "Name an existing file with --config or MAINSPRING_CONFIG.\n"
    )


@pytest.mark.parametrize(
    "arguments", [["check"], ["serve", "--port", "0"], ["serve", "--port", "0", "--workers", "2"]]
)
def test_as_a_process(tmp_path: Path, arguments: list[str]) -> None:
    """A cycle of fallbacks, as a person at a terminal sees it."""
    (tmp_path / "mainspring.toml").write_text(MISTAKES["fallback cycle"].text)  # type: ignore[arg-type] # this one is a text
    ran = subprocess.run(
        [sys.executable, "-m", "mainspring", *arguments],
        cwd=tmp_path,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    what = "mainspring.toml, line 5: routes.r.fallback.route: the fallbacks go in a circle, r to s to t to r."
    remedy = "Let the last of them have no fallback route."
    if arguments == ["check"]:
        assert ran.returncode == 1
        assert ran.stdout.splitlines()[:2] == [f"FAILS   configuration: {what}", f"        {remedy}"]
    else:
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == f"Error: {what} {remedy}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", "--rps", "-1"],
        ["keys", "create", "--budget-usd", "-5/day"],
        ["budgets", "create", "tenant=acme", "--usd", "-1"],
        ["budgets", "create", "tenant=acme", "--tokens", "-1"],
        ["budgets", "create", "tenant=acme"],
        ["budgets", "create", "colour=red", "--usd", "1"],
        ["budgets", "create", "tenant=acme", "--usd", "1", "--window", "week"],
        ["budgets", "create", "tenant=acme", "--usd", "1", "--policy", "step_down", "--step-down", "nowhere"],
    ],
)
def test_caps_that_cannot_be(mainspring: Run, arguments: list[str]) -> None:
    ran = mainspring(*arguments)
    assert ran.code == 2
    assert ran.err.startswith(("Error: ", "Usage: "))
    assert "Traceback" not in ran.err
    assert "bug of ours" not in ran.err


def test_a_broken_edit_is_refused_with_the_same_sentence(
    mainspring: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process takes all of them in turn and keeps what it has."""
    del mainspring
    (tmp_path / "mainspring.toml").write_text("[routes.good]\ntargets = ['local/small']\n")

    async def edit() -> list[tuple[str, str]]:
        runtime, told = await Runtime.open(load()), []
        kept = runtime.config_hash
        for name, mistake in MISTAKES.items():
            if mistake.files or mistake.env or name == "toml not utf8":
                continue
            sentence = _prepare(tmp_path, mistake, monkeypatch)
            with structlog.testing.capture_logs() as logged:
                assert not await runtime.reload()
            refusal = next(entry for entry in logged if entry["event"] == "configuration_kept")
            told.append((refusal["reason"], sentence))
            assert runtime.config_hash == kept
            assert "good" in runtime.settings.routes
        assert "mainspring_configuration_refused 1.0" in runtime.meter.render()[0].decode()
        (tmp_path / "mainspring.toml").write_text("[routes.good]\ntargets = ['local/small']\n")
        configure("info")
        with structlog.testing.capture_logs() as logged:
            assert not await runtime.reload()
        assert [entry["event"] for entry in logged] == ["configuration_good_again"]
        assert "mainspring_configuration_refused 0.0" in runtime.meter.render()[0].decode()
        await runtime.close()
        return told

    told = asyncio.run(edit())
    assert len(told) > 150
    assert not [pair for pair in told if not pair[0].startswith(pair[1])]
    assert not any(secret in json.dumps(told) for secret in SECRETS)
