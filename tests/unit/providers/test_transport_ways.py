"""How bytes get to a provider: over TLS, and through the proxies that the environment names."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.loopback import connect_proxy, loopback, response, socks_proxy
from tests.support.pools import OK, always, pool, whole

from mainspring.base.errors import (
    ProviderUnreachable,
)
from mainspring.providers import transport
from mainspring.providers.transport import proxy_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.loopback import Script, Visit


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    transport._tls.cache_clear()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    yield server
    transport._tls.cache_clear()


async def test_tls(trusted: ssl.SSLContext) -> None:
    async with loopback(always(OK), trusted) as server, pool(f"https://localhost:{server.port}") as made:
        for _ in range(2):
            assert await whole(made) == b'{"ok":true}'
        assert len(server.visits) == 1


async def test_tls_that_cannot_be_trusted(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    async with loopback(always(OK), server_side) as server, pool(f"https://localhost:{server.port}") as made:
        with pytest.raises(
            ProviderUnreachable, match=r"cannot be reached securely .*CERTIFICATE_VERIFY_FAILED"
        ):
            await whole(made)

    async def plain_text(visit: Visit) -> None:
        await visit.send(OK)

    async with loopback(plain_text) as plain, pool(f"https://localhost:{plain.port}") as made:
        with pytest.raises(ProviderUnreachable, match="cannot be reached"):
            await whole(made)


@pytest.mark.parametrize(
    ("script", "scheme"),
    [(connect_proxy, "http"), (socks_proxy, "socks5"), (socks_proxy, "socks5h"), (connect_proxy, "")],
)
@pytest.mark.parametrize("secure", [False, True])
async def test_proxies(
    script: Script, scheme: str, secure: bool, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loopback(script) as proxy, loopback(always(OK), trusted if secure else None) as server:
        url = f"{scheme}://127.0.0.1:{proxy.port}" if scheme else f"127.0.0.1:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY" if secure else "ALL_PROXY", url)
        async with pool(f"{'https' if secure else 'http'}://localhost:{server.port}") as made:
            for _ in range(2):
                assert await whole(made) == b'{"ok":true}'
        assert len(proxy.visits) == len(server.visits) == 1


async def test_a_proxy_that_refuses_or_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(response(b"", status="407 Proxy Authentication Required"))

    async with loopback(script) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with pool("http://example.invalid") as made:
            with pytest.raises(ProviderUnreachable, match=r"the proxy said: .*407"):
                await whole(made)
    for url in (
        f"http://127.0.0.1:{proxy.port}",
        "http://127.0.0.1:1",
        "gopher://127.0.0.1:1",
        "http://127.0.0.1",
    ):
        monkeypatch.setenv("ALL_PROXY", url)
        async with pool("http://example.invalid") as made:
            with pytest.raises(ProviderUnreachable, match="cannot be reached"):
                await whole(made)


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://api.example.com/v1") is None
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://secure:2")
    monkeypatch.setenv("NO_PROXY", "internal.example.com,.lan,10.0.0.1,host:99")
    assert proxy_for("https://api.example.com/v1") == "http://secure:2"
    assert proxy_for("http://api.example.com/v1") == "http://plain:1"
    assert proxy_for("https://internal.example.com/v1") is None
    assert proxy_for("http://box.lan:8000/v1") is None
    assert proxy_for("http://10.0.0.1:8000/v1") is None
    assert proxy_for("http://host:99/v1") is None
    assert proxy_for("http://host:98/v1") == "http://plain:1"
