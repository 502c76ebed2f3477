from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mainspring.base.errors import ConfigError
from mainspring.base.settings import Settings, load, redact, without_password

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Loads a file with these contents, in an environment with these variables."""
    monkeypatch.chdir(tmp_path)

    def read(text: str = "", **environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "mainspring.toml").write_text(text, "utf-8")
        return load()

    return read


def test_every_key_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load() == Settings()
    assert load().server.port == 8080


def test_the_environment_wins_over_the_file(read: Callable[..., Settings]) -> None:
    settings = read("[server]\nport = 1000\nhost = '::1'", MAINSPRING_SERVER__PORT="2000")
    assert settings.server.port == 2000
    assert settings.server.host == "::1"


def test_the_environment_reaches_into_named_sections(read: Callable[..., Settings]) -> None:
    settings = read(
        MAINSPRING_PROVIDERS__MINE__BASE_URL="http://x/v1", MAINSPRING_ROUTES='{"r": {"targets": ["a/b"]}}'
    )
    assert settings.providers["mine"].base_url == "http://x/v1"
    assert settings.routes["r"].targets == ["a/b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[servr]\nport = 1", "mainspring.toml, line 1: servr is not a setting. Did you mean 'server'?"),
        ("[server]\nprot = 1", "mainspring.toml, line 2: server.prot is not a setting. Did you mean 'port'?"),
        ("[providers.x]\nbase_ur = 'a'", "providers.x.base_ur is not a setting. Did you mean 'base_url'?"),
        (
            "[routes.default]\ntargets = ['a/b']\n[routes.default.timeouts]\nconect = 1",
            "routes.default.timeouts.conect is not a setting. Did you mean 'connect'?",
        ),
        ("[models.'a/b']\ninput_usd = 1", "Did you mean 'input_usd_per_mtok'?"),
        ("[defaults.timeouts]\nzzz = 1", "Known here: connect, first_token, idle, total."),
        ("[server]\nport = 'x'", "mainspring.toml, line 2: server.port must be a whole number."),
        ("[routes.'a/b']\ntargets = ['c/d']", "the name of a route has no slash"),
        ("[models.small]\npath = 'x'", "models.small: a model has the name of its provider before it"),
        ("[providers.x]\napi_keys = ['vualt:a#b']", "vualt: is no kind of reference"),
        (
            "[server\n",
            "mainspring.toml, line 1, is not valid TOML: the name of the table does not end with ]",
        ),
    ],
)
def test_a_wrong_file_is_told_with_the_place_and_the_nearest_key(
    read: Callable[..., Settings], text: str, says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert says in raised.value.message
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        (
            "MAINSPRING_SERVER__PROT",
            "1",
            "variable MAINSPRING_SERVER__PROT: server.prot is not a setting. Did you mean 'port'?",
        ),
        (
            "MAINSPRING_SERVER__PORT",
            "x",
            "variable MAINSPRING_SERVER__PORT: server.port must be a whole number",
        ),
        (
            "MAINSPRING_PROVIDERS__X__BASE_UR",
            "x",
            "variable MAINSPRING_PROVIDERS__X__BASE_UR: providers.x.base_ur is not",
        ),
        (
            "MAINSPRING_SEVER__PORT",
            "1",
            "variable MAINSPRING_SEVER__PORT is not a setting. Did you mean 'MAINSPRING_SERVER__PORT'?",
        ),
        ("MAINSPRING_PROVIDERS", "{", "variable MAINSPRING_PROVIDERS is not JSON"),
        (
            "MAINSPRING_PROVIDERS",
            '{"x": {"bas_url": 1}}',
            "variable MAINSPRING_PROVIDERS: providers.x.bas_url is not",
        ),
    ],
)
def test_a_wrong_variable_is_blamed_and_not_the_file(
    read: Callable[..., Settings], variable: str, value: str, says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read("", **{variable: value})
    assert says in raised.value.message
    assert "mainspring.toml" not in raised.value.message


def test_variables_of_the_commands_are_no_settings(read: Callable[..., Settings]) -> None:
    assert read(
        MAINSPRING_KEY="ms-x", MAINSPRING_URL="http://x", MAINSPRING_CONFIG="y", MAINSPRING_TEST_ANY="z"
    )


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load(tmp_path / "other.toml")


def test_printing_settings_prints_no_secret(read: Callable[..., Settings]) -> None:
    settings = read(
        "[telemetry]\nsentry_dsn = 'https://tellme@host/1'\n[storage]\ndatabase = 'postgresql://u:tellme@h/d'\n"
        "[providers.x]\napi_keys = ['env:A', 'tellme']\n[providers.x.headers]\nauthorization = 'tellme'",
        MAINSPRING_ADMIN_KEY="tellme-tellme-tellme",
    )
    config_hash, document = settings.snapshot()
    assert len(config_hash) == 16
    assert b"tellme" not in document
    assert b"env:A" in document
    assert "tellme-tellme" not in repr(settings)
    assert "tellme@host" not in repr(settings)


def test_the_hash_names_the_contents(read: Callable[..., Settings]) -> None:
    first = read("[server]\nport = 1").snapshot()[0]
    assert read("[server]\nport = 1").snapshot()[0] == first
    assert read("[server]\nport = 2").snapshot()[0] != first


def test_references_are_shown_and_secrets_are_not() -> None:
    assert redact("env:SOME_KEY") == "env:SOME_KEY"
    assert redact("plain") == "set"


def test_a_url_is_shown_without_its_password() -> None:
    assert without_password("postgresql://u:p@h/d") == "postgresql://u:***@h/d"
    assert without_password("sqlite:///a.db") == "sqlite:///a.db"
    assert (
        without_password("postgresql:///d?user=u&password=p&x=1") == "postgresql:///d?user=u&password=***&x=1"
    )
