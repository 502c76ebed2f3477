"""A server and its `check` on a Redis behind TLS: trusted, and signed by somebody whom nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.tls import Authority, tls_front

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.redis import RedisServer
    from tests.support.server import RunningServer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def address(redis: RedisServer, authority: Authority) -> Iterator[str]:
    with tls_front(redis.port, authority.context("DNS:localhost")) as port:
        yield f"rediss://localhost:{port}/5"


def test_trusted(start_server: Callable[..., RunningServer], address: str, authority: Authority) -> None:
    url = f"{address}?ssl_ca_certs={authority.file}"
    server = start_server(env={"MAINSPRING_STORAGE__SHARED": url})
    shared = server.client.get("/api/v1/limits").json()["shared"]
    assert (shared["kind"], shared["working"]) == ("redis", True)
    checked = server.command("check")
    assert "redis at localhost:" in checked.stdout, checked.stdout + checked.stderr
    assert "answers" in checked.stdout


def test_signed_by_a_stranger(start_server: Callable[..., RunningServer], address: str) -> None:
    server = start_server(env={"MAINSPRING_STORAGE__SHARED": address.replace("//", "//:hunter2@")})
    sentence = "has a certificate that is not trusted: "
    assert sentence in server.log()
    shared = server.client.get("/api/v1/limits").json()["shared"]
    assert not shared["working"]
    assert sentence in shared["reason"]
    checked = server.command("check")
    assert checked.returncode == 1
    assert sentence in checked.stdout
    assert "ssl_ca_certs" in checked.stdout
    assert "hunter2" not in checked.stdout + server.log()
