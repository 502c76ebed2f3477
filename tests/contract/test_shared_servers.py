"""Servers behind TLS, servers that will not have us and servers that are not what they should be: one sentence each."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.redis import RedisServer
from tests.support.tls import Authority, tls_front

from mainspring.store.shared import Allowance, Ask, Shared, SharedStatus, open_shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASK = [Ask("k", Allowance(1000, 1000), 1)]


@contextmanager
def server(*options: str) -> Iterator[RedisServer]:
    made = RedisServer(*options)
    made.start()
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def poor(redis: RedisServer) -> str:
    """A user of the server who may do nothing of what is needed."""
    assert redis.ask("ACL", "SETUSER", "poor", "on", ">p@ss", "~*", "+ping") == "+OK\r\n"
    return redis.url.replace("//", "//poor:p%40ss@")


async def status(url: str) -> SharedStatus:
    """How it is after the start, and after a request, which is answered whatever it is."""
    shared = open_shared(url, workers=2, timeout_seconds=5)
    await shared.start()
    try:
        taken = await shared.take(ASK)
        found = shared.status()
        assert (taken.admitted, taken.parts) == (True, 1 if found.working else 2)
        return found
    finally:
        await shared.close()


async def until(shared: Shared, reason: str, seconds: float = 10) -> None:
    """Ask until it is so; an empty reason is that all is well."""
    limit = time.monotonic() + seconds
    while True:
        await shared.take(ASK)
        found = shared.status()
        if reason in found.reason if reason else found.working:
            return
        assert time.monotonic() < limit, found
        await asyncio.sleep(0.05)


class TestTls:
    async def test_a_trusted_certificate(
        self, redis: RedisServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with tls_front(redis.port, authority.context("DNS:localhost")) as port:
            found = await status(f"rediss://localhost:{port}/1")
            assert (found.working, found.place) == (True, f"localhost:{port}/1")
            found = await status(f"rediss://127.0.0.1:{port}")
            assert "not trusted: IP address mismatch" in found.reason
            assert "as its certificate does" in found.remedy

    async def test_an_authority_named_in_the_address(self, redis: RedisServer, authority: Authority) -> None:
        with tls_front(redis.port, authority.context("IP:127.0.0.1")) as port:
            assert (await status(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}")).working

    async def test_a_certificate_of_somebody_else(self, redis: RedisServer, authority: Authority) -> None:
        with tls_front(redis.port, authority.context("DNS:localhost")) as port:
            found = await status(f"rediss://:hunter2@localhost:{port}")
        assert found.reason.startswith("has a certificate that is not trusted: ")
        assert "hunter2" not in repr(found)

    async def test_it_comes_back(
        self, own_redis: RedisServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with tls_front(own_redis.port, authority.context("DNS:localhost")) as port:
            shared = open_shared(f"rediss://localhost:{port}", timeout_seconds=5)
            await shared.start()
            await until(shared, "")
            own_redis.kill()
            await until(shared, "closed the connection")
            own_redis.start()
            await until(shared, "")
            await shared.close()

    async def test_tls_on_one_side_only(self, redis: RedisServer, authority: Authority) -> None:
        found = await status(redis.url.replace("redis:", "rediss:"))
        assert not found.working
        assert "without TLS it is redis://" in found.remedy
        with tls_front(redis.port, authority.context("DNS:localhost")) as port:
            found = await status(f"redis://localhost:{port}")
        assert not found.working
        assert "is rediss://" in found.remedy


class TestWhoMayUseIt:
    async def test_a_user_a_password_and_a_database(self) -> None:
        with server("--requirepass", "s3cret pass") as locked:
            url = locked.url.replace("//", "//{}@")
            for let_in in (":s3cret%20pass", "default:s3cret%20pass"):
                found = await status(url.format(let_in) + "/3")
                assert (found.working, found.place) == (True, f"127.0.0.1:{locked.port}/3")
            assert (await status(locked.url)).reason == "asks for a password"
            found = await status(url.format(":wr0ng"))
            assert found.reason == "does not accept the user name or the password"
            assert "storage.shared" in found.remedy
            assert "wr0ng" not in repr(found)

    async def test_no_password_is_wanted(self, redis: RedisServer) -> None:
        found = await status(redis.url.replace("//", "//:hunter2@"))
        assert found.reason == "has no password, but storage.shared names one"

    async def test_rights_are_missing(self, poor: str) -> None:
        found = await status(poor)
        assert found.reason.startswith("refused: NOPERM ")
        assert "EVALSHA" in found.remedy

    async def test_no_such_database(self, redis: RedisServer) -> None:
        assert (await status(f"{redis.url}/99")).reason == "has no database of this number"


class TestStates:
    async def test_it_is_loading(self, tmp_path: Path) -> None:
        options = ("--dir", str(tmp_path), "--loading-process-events-interval-bytes", "1024")
        with server(*options, "--enable-debug-command", "yes") as slow:
            assert slow.ask("DEBUG", "POPULATE", "3000") == "+OK\r\n"
            assert slow.ask("SAVE") == "+OK\r\n"
        with server(*options, "--key-load-delay", "500") as slow:
            shared = open_shared(slow.url, timeout_seconds=5)
            await shared.start()
            await until(shared, "is still loading its data")
            await until(shared, "")
            await shared.close()

    async def test_it_becomes_a_replica_and_a_primary_again(self, redis: RedisServer, tmp_path: Path) -> None:
        with server("--dir", str(tmp_path)) as own:
            shared = open_shared(own.url, timeout_seconds=5)
            await shared.start()
            await until(shared, "")
            own.ask("REPLICAOF", "127.0.0.1", str(redis.port))
            await until(shared, "is a read-only replica")
            assert "primary" in shared.status().remedy
            own.ask("REPLICAOF", "NO", "ONE")
            await until(shared, "")
            await shared.close()

    async def test_it_has_forgotten_the_script_after_a_restart(self, own_redis: RedisServer) -> None:
        shared = open_shared(own_redis.url, timeout_seconds=5)
        await shared.start()
        own_redis.kill()
        own_redis.start()
        await until(shared, "")
        assert own_redis.ask("SCRIPT", "FLUSH") == "+OK\r\n"
        assert (await shared.take(ASK)).parts == 1
        await shared.close()

    async def test_a_cluster_is_not_spoken(self, tmp_path: Path) -> None:
        folder = ("--dir", str(tmp_path), "--cluster-enabled", "yes")
        options = [(*folder, "--cluster-config-file", f"{name}.conf") for name in "ab"]
        with server(*options[0]) as first, server(*options[1]) as second:
            assert first.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK\r\n"
            assert second.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port), str(first.bus)) == "+OK\r\n"
            shared = open_shared(second.url, timeout_seconds=5)
            await shared.start()
            assert "does not speak" in shared.status().reason, "before it has met the other"
            limit = time.monotonic() + 20
            while not second.ask("GET", "{mainspring}:alive").startswith("-MOVED"):
                assert time.monotonic() < limit
                await asyncio.sleep(0.1)
            found = await status(second.url)
            assert found.reason == "is a node of a Redis Cluster, which Mainspring does not speak"
            assert "single server" in found.remedy
            await shared.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sent something that is no answer"),
        (b"-ERR max number of clients reached\r\n", "has no room for another client"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "has no memory left"),
        (b"-MISCONF Valkey is configured to save RDB snapshots\r\n", "cannot save to its disk"),
        (b"", "closed the connection"),
    ],
)
async def test_something_else_answers(said: bytes, reason: str) -> None:
    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"MAX" not in said.upper():  # that one is said before anything is asked
            await reader.read(1)
        writer.write(said)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(taken, "127.0.0.1", 0) as listening:
        found = await status(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    assert reason in found.reason
    assert found.remedy
