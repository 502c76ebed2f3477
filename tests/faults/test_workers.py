"""Four workers are one server: what changes is in force in all of them, and stopping is told first.

They hear of changes within a second of a machine that has a core for them; a machine that is busy with other tests
takes longer.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
from tests.support.conversations import user
from tests.support.server import provider_config
from tests.support.sockets import Caller
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "openai/test", "messages": user("hi"), "user": "ann"}
#: Connections, each of them new, so that every worker is asked.
ENOUGH = 30


class Answer(NamedTuple):
    """What came back."""

    status_code: int
    headers: Mapping[str, str]


def answers(server: RunningServer, key: str, count: int = ENOUGH, **more: Any) -> list[Answer]:
    found = []
    for _ in range(count):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        head = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", CHAT, json.dumps(BODY | more), head)
        answer = connection.getresponse()
        answer.read()
        found.append(Answer(answer.status, dict(answer.getheaders())))
        connection.close()
    return found


def all_workers(server: RunningServer, count: int) -> None:
    """Until so many have come up."""
    limit = time.monotonic() + 90
    while True:
        text = httpx2.get(f"{server.url}/metrics", trust_env=False).text
        if text.count("mainspring_open_exchanges{") >= count:
            return
        assert time.monotonic() < limit, server.log()
        time.sleep(0.1)


def soon(server: RunningServer, key: str, status: int, **more: Any) -> list[Answer]:
    """Until every worker answers so; returns the answers."""
    limit = time.monotonic() + 60
    while True:
        time.sleep(0.5)
        found = answers(server, key, **more)
        if {answer.status_code for answer in found} == {status}:
            return found
        assert time.monotonic() < limit, [answer.status_code for answer in found]


async def test_four_workers_are_one_server(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = (
        provider_config(provider.url)
        .replace("[server]", "[server]\nnotice_seconds = 8")
        .replace("drain_seconds = 5", "drain_seconds = 60")
    )
    config += "\n[limits]\nrps_per_user = 0\n"
    server = await asyncio.to_thread(start_server, config, workers=4)
    await asyncio.to_thread(all_workers, server, 4)
    await asyncio.to_thread(changes_are_in_force_everywhere, server, config)
    await readiness_goes_first_and_open_streams_are_drained(server)


def changes_are_in_force_everywhere(server: RunningServer, config: str) -> None:
    made = server.client.post("/api/v1/keys", json={"name": "shared", "tenant": "acme"}).json()
    soon(server, made["key"], 200)
    soon(server, made["key"], 404, model="fresh")
    edited = config.replace("rps_per_user = 0", "rps_per_user = 4000")
    (server.folder / "mainspring.toml").write_text(
        edited + '\n[routes.fresh]\ntargets = ["openai/test"]\n', "utf-8"
    )
    found = soon(server, made["key"], 200, model="fresh")
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in found} == {"4000"}
    assert server.client.delete(f"/api/v1/keys/{made['id']}").status_code < 300
    soon(server, made["key"], 401)


def all_draining(server: RunningServer) -> list[httpx2.Response]:
    """Some answers about readiness, where none of them says ready; else nothing."""
    asked = [httpx2.get(f"{server.url}/readyz", trust_env=False) for _ in range(6)]
    return asked if {answer.status_code for answer in asked} == {503} else []


async def readiness_goes_first_and_open_streams_are_drained(server: RunningServer) -> None:
    stream = {"model": "openai/t+words=80+gap=0.1", "messages": user("hi"), "stream": True}
    callers = [Caller(server.url, server.admin_key) for _ in range(6)]
    with ExitStack() as stack:
        for caller in callers:
            stack.enter_context(caller)
            await caller.send(CHAT, stream)
            await caller.read_until(b"w1")
        server.send_signal(signal.SIGTERM)
        asked = await asyncio.to_thread(until, lambda: all_draining(server), 4)
        assert asked[0].json()["checks"]["serving"] == "draining"
        late = await asyncio.to_thread(answers, server, server.admin_key, 2)
        assert {answer.status_code for answer in late} == {200}, "whoever has not heard yet is answered"
        for caller in callers:
            assert b"data: [DONE]" in await caller.read_until(b"0\r\n\r\n")
    assert await asyncio.to_thread(server.wait, 60) == 0
