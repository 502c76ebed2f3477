"""Secrets behind references: where they are read, how they are followed, and what is said when they are not there."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tests.support.vault import TOKEN, VaultServer, vault
from tests.support.waiting import happens

from mainspring.base.clock import now_us
from mainspring.base.errors import ConfigError, SecretError, SecretUnavailable
from mainspring.base.secrets import Secrets, aws, fetch, keeper
from mainspring.base.secrets.vault import api_path
from mainspring.base.settings import Settings, load
from mainspring.base.settings.secrets import check_reference, kind_of, redact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["vault"]  # a fixture


@pytest.fixture
def at_vault(vault: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> VaultServer:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.delenv("VAULT_NAMESPACE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return vault


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(keeper, "RENEW_SECONDS", 0.2)


def test_references() -> None:
    kinds = {
        "env:A": "env",
        "file:/a:b": "file",
        "vault:a/b#c": "vault",
        "aws:prod/x": "aws",
        "sk-1": "literal",
        "https://hooks.example.com/x": "literal",
        "1f2e-33:abc": "literal",
    }
    for reference, kind in kinds.items():
        assert kind_of(reference) == kind
        check_reference(reference)
        assert redact(reference) == ("set" if kind == "literal" else reference)
    for wrong, said in {
        "vualt:a#b": "id you mean vault",
        "gcp:x": "no kind of reference",
        "env:": "names nothing",
        "vault:a/b": "names no field",
        "vault:#b": "names no field",
    }.items():
        with pytest.raises(ValueError, match=said):
            check_reference(wrong)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["vualt:a#b"], "id you mean vault"),
        ([" "], "a key is empty"),
        (["env:A", "env:B", "env:A"], "'env:A' stands there twice"),
        (["sk-x", "sk-x"], "a key stands there twice"),
    ],
)
def test_references_that_the_configuration_refuses(tmp_path: Path, keys: list[str], said: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(f"[providers.mine]\nbase_url = 'http://host/v1'\napi_keys = {keys}\n")
    with pytest.raises(ConfigError, match=said) as error:
        load(file)
    assert "api_keys" in str(error.value)
    assert "sk-x" not in str(error.value)


def test_the_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", " sk-1\n")
    assert fetch("env:A_KEY").value == "sk-1"
    assert fetch("env:A_KEY").since_us is None
    file = tmp_path / "key"
    file.write_text("sk-2\n")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert fetch(f"file:{file}").value == "sk-2"
    assert fetch(f"file:{file}").since_us == 1_700_000_000_000_000
    assert "sk-2" not in repr(fetch(f"file:{file}"))
    assert fetch("sk-3").value == "sk-3"
    file.write_text("")
    (tmp_path / "folder").mkdir()
    for reference, said in {
        "env:NOT_THERE": "NOT_THERE is not set",
        f"file:{file}": "is empty",
        f"file:{tmp_path}/none": "is not there",
        f"file:{tmp_path}/folder": "cannot be read",
    }.items():
        with pytest.raises(SecretError, match=said) as error:
            fetch(reference)
        assert error.value.remedy


def test_vault(at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
    at_vault.put("secret/team/openai", made, api_key="sk-1\n", other="x")
    secret = fetch("vault:secret/team/openai#api_key")
    assert (secret.value, secret.since_us) == ("sk-1", int(made.timestamp() * 1_000_000))
    assert fetch("vault:secret/data/team/openai#other").value == "x"
    assert at_vault.reads[-1] == ("/v1/secret/data/team/openai", None, TOKEN)
    monkeypatch.setenv("VAULT_NAMESPACE", "eu")
    fetch("vault:secret/team/openai#other")
    assert at_vault.reads[-1][1] == "eu"
    monkeypatch.delenv("VAULT_TOKEN")
    (tmp_path / ".vault-token").write_text(f"{TOKEN}\n")
    assert fetch("vault:secret/team/openai#other").value == "x"
    assert api_path("kv/data") == "kv/data/data"
    assert api_path("teams/kv/data/a/b") == "teams/kv/data/a/b"


def test_a_token_is_renewed_after_a_third_of_its_time(
    at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    vault = "mainspring.base.secrets.vault"
    monkeypatch.setattr(f"{vault}.monotonic", lambda: clock[0])  # a third of a lease is long
    monkeypatch.setattr("mainspring.base.secrets.vault._renew_at", {})  # begins as a new process does
    at_vault.put("secret/a", k="v")
    at_vault.lease_seconds = 3600
    for seconds, renewals in ((0, 1), (1000, 1), (1201, 2), (1300, 2), (2500, 3)):
        clock[0] = 1000.0 + seconds
        assert fetch("vault:secret/a#k").value == "v"
        assert len(at_vault.renewals) == renewals, seconds
    at_vault.lease_seconds = 0  # from now on it cannot be
    for seconds in (4000, 9000):
        clock[0] = 1000.0 + seconds
        assert fetch("vault:secret/a#k").value == "v"
    assert len(at_vault.renewals) == 3


@pytest.mark.parametrize("status", [412, 429, 472, 473, 500, 503])
def test_what_passes_is_not_taken_for_the_end(at_vault: VaultServer, status: int) -> None:
    at_vault.put("secret/a", k="v")
    at_vault.status = status
    with pytest.raises(SecretUnavailable, match=f"status {status}"):
        fetch("vault:secret/a#k")


def test_what_was_deleted_is_told_as_that(at_vault: VaultServer) -> None:
    at_vault.put("secret/a", k="v")
    at_vault.delete("secret/a")
    with pytest.raises(SecretError, match="newest version in Vault was deleted"):
        fetch("vault:secret/a#k")


def test_what_vault_may_say(at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at_vault.put("secret/a", k="v")
    with pytest.raises(SecretError, match="no field 'x'"):
        fetch("vault:secret/a#x")
    with pytest.raises(SecretError, match="no such secret"):
        fetch("vault:secret/b#x")
    at_vault.status = 503
    with pytest.raises(SecretUnavailable, match="status 503"):
        fetch("vault:secret/a#k")
    at_vault.status = 0
    monkeypatch.setenv("VAULT_TOKEN", "hvs.secret-of-another")
    with pytest.raises(SecretError, match="does not let this token") as error:
        fetch("vault:secret/a#k")
    assert "hvs." not in str(error.value)
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(SecretError, match="no token"):
        fetch("vault:secret/a#k")
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    with pytest.raises(SecretUnavailable, match="does not answer"):
        fetch("vault:secret/a#k")
    monkeypatch.setenv("VAULT_ADDR", "file:///etc")
    with pytest.raises(SecretError, match="no http"):
        fetch("vault:secret/a#k")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(SecretError, match="VAULT_ADDR is not set"):
        fetch("vault:secret/a#k")


@pytest.fixture
def at_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """AWS's protocol on loopback, by moto, and a client of it."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    served = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    aws._clients.clear()
    yield aws._client()
    aws._clients.clear()
    served.stop()


def test_aws(at_aws: Any) -> None:
    at_aws.create_secret(Name="prod/openai", SecretString="sk-1")
    at_aws.create_secret(Name="prod/both", SecretString='{"a": "sk-2", "n": 1}')
    at_aws.create_secret(Name="prod/binary", SecretBinary=b"\x00")
    found = fetch("aws:prod/openai")
    assert found.value == "sk-1"
    assert found.since_us is not None
    assert abs(found.since_us - now_us()) < 120_000_000
    assert fetch("aws:prod/both#a").value == "sk-2"
    at_aws.put_secret_value(SecretId="prod/openai", SecretString="sk-3")
    assert fetch("aws:prod/openai").value == "sk-3"
    for reference, said in {
        "aws:prod/none": "no such secret",
        "aws:prod/both#n": "no JSON object with a text under 'n'",
        "aws:prod/openai#a": "no JSON object",
        "aws:prod/binary": "binary",
    }.items():
        with pytest.raises(SecretError, match=said):
            fetch(reference)


def test_aws_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore", reason="botocore is not installed")
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    aws._clients.clear()
    with pytest.raises(SecretUnavailable, match="AWS does not answer"):
        fetch("aws:prod/openai")
    aws._clients.clear()


async def test_a_rotation_is_noticed_and_a_source_that_is_away_keeps_the_last_secret(
    at_vault: VaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setenv("ROTATING", "e1")
    file = tmp_path / "key"
    file.write_text("f1")
    at_vault.put("secret/a", k="v1")
    references = ["env:ROTATING", f"file:{file}", "vault:secret/a#k"]
    secrets, heard = Secrets(reread_seconds=0.2), []
    with capture_logs() as log:
        await secrets.load(references)
        secrets.listen(heard.append)
        secrets.start()
        assert [secrets.value(reference) for reference in references] == ["e1", "f1", "v1"]
        monkeypatch.setenv("ROTATING", "e2")
        file.write_text("f2")
        at_vault.put("secret/a", k="v2")
        await happens(lambda: [secrets.value(r) for r in references] == ["e2", "f2", "v2"])
        assert set(heard) == set(references)
        at_vault.status = 503
        file.unlink()
        await happens(lambda: secrets.problem(references[1]) and secrets.problem(references[2]))
        assert [secrets.value(reference) for reference in references] == ["e2", "f2", "v2"]
        at_vault.status = 0
        file.write_text("f3")
        await happens(lambda: not secrets.problem(references[1]) and not secrets.problem(references[2]))
        assert secrets.value(references[1]) == "f3"
    await secrets.close()
    events = [event["event"] for event in log]
    assert events.count("secret_not_readable") == 2, "once for each, however often it was tried"
    assert events.count("secret_readable_again") == 2
    assert not {"f1", "f2", "f3", "v1", "v2", "e1", "e2"} & {str(v) for event in log for v in event.values()}


async def test_a_secret_that_was_refused_is_read_again_at_once_but_not_by_everybody(
    at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RENEW_SECONDS", 0.1)  # a moment later it may be read again
    at_vault.put("secret/a", k="v1")
    secrets = Secrets(reread_seconds=3600)
    await secrets.load(["vault:secret/a#k"])
    at_vault.put("secret/a", k="v2")
    await asyncio.sleep(0.15)
    await asyncio.gather(*(secrets.renew("vault:secret/a#k") for _ in range(20)))
    assert secrets.value("vault:secret/a#k") == "v2"
    assert len(at_vault.reads) == 2
    monkeypatch.setattr(keeper, "RENEW_SECONDS", 600)  # what was read a moment ago is not read again
    at_vault.put("secret/a", k="v3")
    await secrets.renew("vault:secret/a#k")
    assert secrets.value("vault:secret/a#k") == "v2", "it was read a moment ago"
    await secrets.reread()
    assert secrets.value("vault:secret/a#k") == "v3", "somebody asked for it"
    await secrets.close()


async def test_one_that_was_away_at_the_start_is_asked_again_soon(at_vault: VaultServer, quick: None) -> None:
    at_vault.status = 503
    secrets = Secrets(reread_seconds=3600)
    await secrets.load(["vault:secret/a#k"])
    assert secrets.value("vault:secret/a#k") is None
    secrets.start()
    at_vault.put("secret/a", k="v1")
    at_vault.status = 0
    await happens(lambda: secrets.value("vault:secret/a#k") == "v1")
    await secrets.close()
    assert threading.active_count() < 50


def test_a_period_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="reread_seconds"):
        Settings.model_validate({"secrets": {"reread_seconds": 0}})
