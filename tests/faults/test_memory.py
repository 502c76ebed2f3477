"""Failed requests leave nothing behind: their bodies are let go at once, not when the collector comes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import psutil
from tests.support.conversations import user

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import RunningServer

ROUNDS, BODY_MB = 40, 10
#: What may stay: a few bodies in freed but unreturned memory. Forty of them would be 400 MB and more.
MOST_MB = 150


def test_large_requests_that_fail_do_not_stay(start_server: Callable[..., RunningServer]) -> None:
    server = start_server()
    key = server.create_key(payloads=False)
    process = psutil.Process(server.pid)
    body = {"model": "openai/test+cut=headers", "messages": user("x" * (BODY_MB << 20))}
    with httpx2.Client(
        base_url=server.url, headers={"authorization": f"Bearer {key}"}, trust_env=False
    ) as http:

        def ask(times: int) -> None:
            for _ in range(times):
                assert http.post("/v1/chat/completions", json=body, timeout=30).status_code >= 500

        ask(3)
        before = process.memory_info().rss
        ask(ROUNDS)
    assert (process.memory_info().rss - before) >> 20 < MOST_MB
