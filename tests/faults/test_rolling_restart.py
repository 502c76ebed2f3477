"""Two servers with two versions of the configuration on one Postgres are restarted in turn, and nobody notices.

What stands before them is as simple as can be: it asks each for its readiness now and then, and takes turns.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
from tests.support.conversations import user
from tests.support.server import provider_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT = "/v1/chat/completions"
CALLERS = 4
LOOK_SECONDS = 0.2


class Balancer:
    """Hands out the addresses of servers that are ready, in turn."""

    def __init__(self, servers: Sequence[RunningServer]) -> None:
        self._servers = servers
        self._ready = {server.url: True for server in servers}
        self._turn = itertools.cycle([server.url for server in servers])
        self._lock = threading.Lock()
        self.done = threading.Event()

    def look(self) -> None:
        """Ask for readiness until `done`."""
        while not self.done.wait(LOOK_SECONDS):
            for url in self._ready:
                try:
                    answer = httpx2.get(f"{url}/readyz", timeout=5, trust_env=False)
                    self._ready[url] = answer.status_code == 200
                except httpx2.HTTPError:
                    self._ready[url] = False

    def next(self) -> str:
        """The next one that is ready."""
        with self._lock:
            return next(url for url in itertools.islice(self._turn, 1000) if self._ready[url])

    def is_ready(self, server: RunningServer) -> bool:
        """Whether it was when it was asked last."""
        return self._ready[server.url]


def body(number: int) -> dict[str, Any]:
    words = "openai/t+words=8+gap=0.05"
    return {"model": words, "messages": user("hi"), "stream": number % 2 == 0, "user": f"u{number}"}


def test_a_rolling_restart_fails_nobody(
    start_server: Callable[..., RunningServer], provider: ProviderServer, postgres_url: str
) -> None:
    old = provider_config(provider.url).replace("[server]", "[server]\nnotice_seconds = 4")
    old += "\n[limits]\nrps_per_user = 0\n"
    new = old + '\n[routes.fresh]\ntargets = ["openai/test"]\n'
    servers = [start_server(old, name=name, database=postgres_url) for name in ("first", "second")]
    key = servers[0].create_key()
    time.sleep(2)  # the second has heard of it
    balancer = Balancer(servers)
    failures: list[str] = []

    def call() -> int:
        asked = 0
        for number in itertools.count():
            if balancer.done.is_set():
                return asked
            url = balancer.next()
            try:
                answer = httpx2.post(
                    url + CHAT,
                    json=body(number),
                    headers={"authorization": f"Bearer {key}"},
                    timeout=30,
                    trust_env=False,
                )
            except httpx2.HTTPError as error:
                failures.append(f"{url}: {type(error).__name__}")
            else:
                whole = "[DONE]" in answer.text if number % 2 == 0 else answer.status_code == 200
                if not whole:
                    failures.append(f"{url}: {answer.status_code} {answer.text[-200:]}")
            asked += 1
        return asked

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        pool.submit(balancer.look)
        asking = [pool.submit(call) for _ in range(CALLERS)]
        try:
            for server in servers:
                restart(server, new, balancer)
        finally:
            balancer.done.set()
        asked = sum(one.result() for one in asking)
    print(f"{asked} requests, {len(failures)} failed")
    assert not failures
    assert asked > 4 * CALLERS
    rows = servers[0].rows(tenant="acme")
    assert len(rows) == asked
    hashes = [row["config_hash"] for row in rows]
    assert len(set(hashes)) == 2, "each row has the configuration that it was answered under"


def restart(server: RunningServer, config: str, balancer: Balancer) -> None:
    """Stop it under load and start it with another file; return when the balancer uses it again."""
    time.sleep(1)
    (server.folder / "mainspring.toml").write_text(config, "utf-8")
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    server.start()
    limit = time.monotonic() + 30
    while not balancer.is_ready(server):
        assert time.monotonic() < limit
        time.sleep(0.05)
