"""Which providers there are, by configuration and by environment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.loopback import loopback, response
from tests.support.waiting import happens

from mainspring.base.errors import ConfigError, NotFound
from mainspring.base.secrets import Secrets
from mainspring.base.settings import Settings
from mainspring.providers import Operation, Providers
from mainspring.providers.configured import base_url_of, configurations
from mainspring.providers.known import KNOWN


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in KNOWN.values():
        for name in (known.key_variable, known.url_variable):
            if name:
                monkeypatch.delenv(name, raising=False)


def settings(**providers: Any) -> Settings:
    return Settings(providers=providers)


def sent(providers: Providers, name: str) -> list[bytes]:
    """What the calls of a provider carry, by key."""
    return [key.credentials for key in providers.get(name).pool.keys]


def test_known_names_appear_with_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(configurations(settings())) == ["local"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-2")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://box:11434/v1")
    providers = Providers(settings())
    assert {p.name: p.api for p in providers} == {
        "openai": "openai",
        "anthropic": "anthropic",
        "ollama": "openai",
        "local": "local",
    }
    assert sent(providers, "openai") == [b"authorization: Bearer sk-1\r\n"]
    assert sent(providers, "anthropic") == [b"x-api-key: sk-2\r\n"]
    assert sent(providers, "ollama") == [b""]
    assert Operation.RESPONSES in providers.get("openai").operations
    assert Operation.RESPONSES not in providers.get("ollama").operations
    assert "local" in providers
    assert "groq" not in providers


def test_azure_needs_its_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    assert "azure" not in configurations(settings())
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    found = configurations(settings())["azure"]
    assert base_url_of("azure", found) == "https://mine.openai.azure.com/openai/v1"
    assert sent(Providers(settings()), "azure") == [b"api-key: k\r\n"]
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/openai/v1/")
    assert base_url_of("azure", found) == "https://mine.openai.azure.com/openai/v1/"


def test_a_known_name_keeps_its_protocol() -> None:
    providers = Providers(settings(anthropic={"api_keys": ["sk-2"]}, local={}, openai={"api_keys": ["sk-1"]}))
    assert {p.name: p.api for p in providers} == {
        "anthropic": "anthropic",
        "local": "local",
        "openai": "openai",
    }
    explicit = settings(anthropic={"api": "openai", "base_url": "http://gateway/v1"})
    assert Providers(explicit).get("anthropic").api == "openai"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "ftp://x",
        "localhost:8000/v1",
        "http://",
        "http://host:99999/v1",
        "http://host:x/v1",
        "https://host/v1?api-version=1",
        "http://h\n/v1",
        "http://hö/v1",
    ],
)
def test_addresses_that_are_none(url: str | None) -> None:
    with pytest.raises(ConfigError, match=r"providers\.mine"):
        Providers(settings(mine={"base_url": url}))


def test_an_address_is_shown_without_its_password() -> None:
    with pytest.raises(ConfigError) as error:
        Providers(settings(mine={"base_url": "ftp://me:secret@host"}))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"x": "a\r\nevil: 1"}},
        {"headers": {"x\n": "a"}},
        {"headers": {"x": "“"}},
        {"api_keys": ["sk-\u2013"]},
    ],
)
def test_headers_that_cannot_be_sent(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="holds what a header cannot") as error:
        Providers(settings(mine={"base_url": "http://host/v1", **given}))
    assert "evil" not in str(error.value)
    assert "sk-" not in str(error.value)


def test_a_key_with_a_line_break_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-9\n")
    mine = {"base_url": "http://host/v1", "api_keys": ["env:NOT_SET", "env:MY_KEY"]}
    assert sent(Providers(settings(mine=mine)), "mine") == [b"", b"authorization: Bearer sk-9\r\n"]


def test_operations() -> None:
    chosen = Providers(settings(mine={"base_url": "http://host/v1", "operations": ["chat"]})).get("mine")
    assert chosen.operations == {Operation.CHAT}
    with pytest.raises(ConfigError, match="names something unknown"):
        Providers(settings(mine={"base_url": "http://host/v1", "operations": ["chat", "sing"]}))


def test_unknown_names() -> None:
    providers = Providers(settings(mine={"base_url": "http://host/v1"}))
    with pytest.raises(
        NotFound, match=r"There is no provider 'yours' here\. Configured are: local, mine"
    ) as error:
        providers.get("yours")
    assert error.value.param == "model"
    with pytest.raises(ValueError, match="has no slash"):
        Providers(settings(**{"a/b": {"base_url": "http://host/v1"}}))


def test_prices_hold_only_where_the_known_name_is_the_known_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert Providers(settings()).prices.rates("openai", "gpt-4o") is not None
    elsewhere = settings(openai={"base_url": "http://127.0.0.1:9/v1"})
    assert Providers(elsewhere).prices.rates("openai", "gpt-4o") is None


async def test_a_silent_provider_does_not_hide_the_models_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.providers.registry._LIST_SECONDS", 1)

    async def silent(visit: Any) -> None:
        await visit.request()
        await asyncio.sleep(600)

    async def telling(visit: Any) -> None:
        await visit.request()
        await visit.send(response(b'{"data":[{"id":"b"},{"id":"a"}]}'))

    async with loopback(silent) as one, loopback(telling) as two:
        urls = {"one": f"http://127.0.0.1:{one.port}", "two": f"http://127.0.0.1:{two.port}"}
        providers = Providers(settings(**{name: {"base_url": url} for name, url in urls.items()}))
        await providers.start()
        await providers.warm()
        assert [name for name in providers.models() if not name.startswith("local/")] == ["two/b", "two/a"]
        await providers.close()


async def test_a_provider_whose_key_comes_later_tells_of_its_models_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    async def telling(visit: Any) -> None:
        while request := await visit.request():
            asked.append(b"Bearer sk-late" in request)
            await visit.send(response(b'{"data":[{"id":"a"}]}'))

    async with loopback(telling) as up:
        secrets = Secrets()
        late = {"base_url": f"http://127.0.0.1:{up.port}", "api_keys": ["env:LATE_KEY"]}
        providers = Providers(settings(late=late), secrets)
        await providers.start()
        await providers.warm()
        assert not asked
        monkeypatch.setenv("LATE_KEY", "sk-late")
        await secrets.reread()
        await happens(lambda: "late/a" in providers.models())
        assert asked == [True]
        await providers.close()
