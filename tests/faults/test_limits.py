"""Limits with several processes on a real Redis: a short version of the drill, and what is said while Redis is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.faults.limits_drill import drill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.redis import RedisServer
    from tests.support.server import RunningServer


@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_what_is_let_through(tmp_path: Path, kind: str) -> None:
    """Two processes that did not share would let through twice as much. `python -m tests.faults.limits_drill` is strict."""
    result = drill(kind, tmp_path, workers=2, callers=24, seconds=5, pause=0.05)
    print(*result.lines(), sep="\n")
    assert not result.failures
    assert result.least("user-0") <= 1.1
    assert result.most("user-0") >= 0.5


def test_an_outage_of_redis_fails_no_request(tmp_path: Path) -> None:
    result = drill("requests", tmp_path, workers=2, callers=24, seconds=6, pause=0.05, outage=True)
    print(*result.lines(), sep="\n")
    assert not result.failures
    assert result.least("user-0") <= 1.4
    assert result.most("user-0") >= 0.5


def test_a_redis_that_stands_still_is_told_of_everywhere(
    start_server: Callable[..., RunningServer], own_redis: RedisServer
) -> None:
    # On a busy machine a server that stands still is told from one that waits for a processor by more than 50 ms.
    patient = {"MAINSPRING_STORAGE__SHARED_TIMEOUT_MS": "1000"}
    server = start_server(env={"MAINSPRING_STORAGE__SHARED": own_redis.url, **patient})
    wait_for(server, working=True)
    own_redis.freeze()
    status = wait_for(server, working=False)
    assert status["reason"] in {"did not answer within 1000 ms", "does not answer in time"}
    ready = server.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"]["limits"].startswith("redis d")
    answer = server.client.post(
        "/v1/chat/completions",
        json={"model": "openai/test", "messages": [{"role": "user", "content": "hi"}], "user": "ann"},
    )
    assert (answer.status_code, answer.headers["x-ratelimit-limit-requests"]) == (200, "10")
    assert "mainspring_limits_shared 0.0" in server.client.get("/metrics").text
    assert server.log().count("redis is away") == 1
    own_redis.thaw()
    wait_for(server, working=True)
    assert "limits" not in server.client.get("/readyz").json()["checks"]
    assert "redis is back" in server.log()


def test_a_server_starts_without_its_redis(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(env={"MAINSPRING_STORAGE__SHARED": "redis://:s3cret@127.0.0.1:1"})
    status = wait_for(server, working=False)
    assert "cannot be reached" in status["reason"]
    assert "s3cret" not in server.log() + str(status)


def wait_for(server: RunningServer, *, working: bool) -> dict[str, Any]:
    """Until the process says so of its shared state."""
    limit = time.monotonic() + 60
    while True:
        status: dict[str, Any] = server.client.get("/api/v1/limits").json()["shared"]
        if status["working"] is working:
            return status
        assert time.monotonic() < limit, status
        time.sleep(0.05)
