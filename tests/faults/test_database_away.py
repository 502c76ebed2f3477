"""The database goes away or fills up: callers get a clear error in their dialect, and all is well when it is back."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.conversations import sse, user
from tests.support.postgres import Cluster
from tests.support.server import provider_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BODY: dict[str, Any] = {"model": "default", "max_tokens": 50, "messages": user("hi")}


def test_postgres_goes_and_comes_back(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = provider_config(provider.url) + "\n[ledger]\nwait_seconds = 1\n"
    with Cluster.started() as cluster:
        server = start_server(config, database=cluster.url)
        key = server.create_key()
        with httpx2.Client(
            base_url=server.url, headers={"x-api-key": key}, timeout=120, trust_env=False
        ) as http:
            assert http.post(CHAT, json=BODY).status_code == 200
            cluster.stop()
            _assert_clear_errors(http)
            assert server.client.get("/readyz").status_code == 503
            assert server.client.get("/healthz").status_code == 200, "alive, though of no use now"
            cluster.start()
            _wait_for_recovery(http)
            rows = server.rows()
            assert server.client.get("/readyz").status_code == 200
        assert server.running
        server.close()
    good = [row for row in rows if row["status"] == 200]
    assert len(good) >= 2


def test_an_answer_waits_for_a_database_that_is_back_in_time(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = provider_config(provider.url) + "\n[ledger]\nwait_seconds = 60\n"
    with Cluster.started() as cluster:
        server = start_server(config, database=cluster.url)
        key = server.create_key()
        with httpx2.Client(
            base_url=server.url, headers={"x-api-key": key}, timeout=120, trust_env=False
        ) as http:
            assert http.post(CHAT, json=BODY).status_code == 200
            cluster.stop()
            back = threading.Timer(1, cluster.start)
            back.start()
            answer = http.post(CHAT, json=BODY)
            back.join()
            assert answer.status_code == 200, answer.text
            assert server.row(answer.headers["x-request-id"])["status"] == 200
        server.close()


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_stop_without_a_database_ends_and_says_what_is_lost(
    start_server: Callable[..., RunningServer], provider: ProviderServer, how: str
) -> None:
    config = provider_config(provider.url) + "\n[ledger]\nwait_seconds = 1\ndurability = 'relaxed'\n"
    with Cluster.started() as cluster:
        server = start_server(config, database=cluster.url)
        headers = {"x-api-key": server.create_key()}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http:
            assert http.post(CHAT, json=BODY).status_code == 200
            written = len(server.wait_rows(1))
            if how == "stopped":
                cluster.stop()
            else:
                cluster.freeze()
            try:
                assert [http.post(CHAT, json=BODY).status_code for _ in range(3)] == [200, 200, 200]
                server.send_signal(signal.SIGTERM)
                assert server.wait(60) == 0
            finally:
                if how == "hanging":
                    cluster.thaw()
        assert "3 answers have no row, perhaps" in server.log()
        if how == "stopped":
            cluster.start()
        server.start()
        rows = len(server.rows())
        # What only hung may have done after all what it was sent.
        assert rows == written if how == "stopped" else written <= rows <= written + 3


def test_sqlite_on_a_full_disk(
    start_server: Callable[..., RunningServer], provider: ProviderServer, tmp_path: Path
) -> None:
    config = provider_config(provider.url) + "\n[ledger]\nwait_seconds = 1\n"
    with _small_disk(tmp_path) as disk:
        server = start_server(config, database=f"sqlite:///{disk}/mainspring.db")
        key = server.create_key()
        with httpx2.Client(
            base_url=server.url, headers={"x-api-key": key}, timeout=120, trust_env=False
        ) as http:
            assert http.post(CHAT, json=BODY).status_code == 200
            filler = disk / "filler"
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            filler.write_bytes(bytes(free))
            # What is left in the files of the database may hold a few rows more.
            for _ in range(200):
                answer = http.post(CHAT, json=BODY | {"messages": user(os.urandom(20_000).hex())})
                if answer.status_code != 200:
                    break
            assert answer.status_code == 503
            _assert_clear_errors(http)
            filler.unlink()
            _wait_for_recovery(http)
            done = http.post(CHAT, json=BODY)
            assert server.row(done.headers["x-request-id"])["status"] == 200
        server.close()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory; the test is skipped where none may be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _assert_clear_errors(http: httpx2.Client) -> None:
    """Whole and streamed, in both dialects: 503 or an error in-band, which says what it is about."""
    chat = http.post(CHAT, json=BODY)
    assert chat.status_code == 503
    assert chat.json()["error"]["code"] == "store_unavailable"
    message = http.post(MESSAGES, json=BODY)
    assert message.status_code == 503
    assert message.json()["type"] == "error"
    streamed = http.post(CHAT, json=BODY | {"stream": True})
    assert "[DONE]" not in streamed.text
    assert [
        data for _, data in sse(streamed.content) if data.get("error", {}).get("code") == "store_unavailable"
    ]
    streamed = http.post(MESSAGES, json=BODY | {"stream": True})
    assert "message_stop" not in streamed.text
    assert sse(streamed.content)[-1][0] == "error"


def _wait_for_recovery(http: httpx2.Client, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while (answer := http.post(CHAT, json=BODY)).status_code != 200:
        assert time.monotonic() < limit, answer.text
        time.sleep(0.2)
