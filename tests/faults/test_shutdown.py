"""Going down and coming back: streams are drained, workers agree, a broken edit of the configuration changes nothing."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import httpx2
from tests.support.conversations import sse, user
from tests.support.server import provider_config
from tests.support.sockets import Caller
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT = "/v1/chat/completions"


def _body(model: str = "openai/test", *, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": user("hi"), "stream": stream}


async def test_open_streams_are_drained(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = provider_config(provider.url).replace("drain_seconds = 5", "drain_seconds = 60")
    server = await asyncio.to_thread(start_server, config)
    key = server.create_key()
    with Caller(server.url, key) as caller:
        await caller.send(
            CHAT, _body("openai/t+words=20+gap=0.1", stream=True), {"x-mainspring-session": "drained"}
        )
        await caller.read_until(b"w1")
        server.send_signal(signal.SIGTERM)
        whole = await caller.read_until(b"0\r\n\r\n")
    assert b"w19" in whole
    assert b"data: [DONE]" in whole
    assert await asyncio.to_thread(server.wait, 60) == 0
    await asyncio.to_thread(server.start)
    row = next(row for row in server.rows() if row["session"] == "drained")
    assert (row["status"], row["cut"], row["output_tokens"]) == (200, False, 20)


async def test_what_cannot_be_drained_ends_as_an_error(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = provider_config(provider.url).replace("drain_seconds = 5", "drain_seconds = 0.5")
    server = await asyncio.to_thread(start_server, config)
    with Caller(server.url, server.create_key()) as caller:
        await caller.send(
            CHAT, _body("openai/t+words=200+gap=0.1", stream=True), {"x-mainspring-session": "undrained"}
        )
        await caller.read_until(b"w1")
        server.send_signal(signal.SIGTERM)
        whole = await caller.read_for(30)
    assert b"[DONE]" not in whole
    await asyncio.to_thread(server.wait, 60)
    await asyncio.to_thread(server.start)
    row = next(row for row in server.rows() if row["session"] == "undrained")
    assert row["cut"] is True
    assert row["error"]
    assert row["output_tokens"] > 0


def test_workers_share_port_keys_and_ledger(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(workers=2)
    made = server.client.post("/api/v1/keys", json={"name": "shared", "tenant": "acme"}).json()

    def statuses() -> set[int]:
        found = []
        for _ in range(16):  # a connection each, so that both workers are asked
            with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as http:
                headers = {"authorization": f"Bearer {made['key']}"}
                found.append(http.post(CHAT, json=_body(), headers=headers).status_code)
        answered.extend(status for status in found if status == 200)
        return set(found)

    answered: list[int] = []
    until(lambda: statuses() == {200})
    assert len(server.rows()) == len(answered)
    revoked = server.client.delete(f"/api/v1/keys/{made['id']}")
    assert revoked.status_code < 300, revoked.text
    until(lambda: statuses() == {401})
    assert len(server.rows()) == len(answered)


def test_a_broken_edit_keeps_the_last_good_configuration(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    config = provider_config(provider.url)
    server = start_server(config)
    file = server.folder / "mainspring.toml"
    headers = {"authorization": f"Bearer {server.create_key()}"}

    def ask(model: str) -> int:
        return httpx2.post(server.url + CHAT, json=_body(model), headers=headers, trust_env=False).status_code

    assert ask("fresh") == 404
    file.write_text(config + '\n[routes.fresh]\ntargets = ["openai/test"]\n', "utf-8")
    until(lambda: ask("fresh") == 200)
    file.write_text(config + "\n[routs.wrong]\n", "utf-8")
    until(lambda: "routs" in server.log())
    assert ask("fresh") == 200
    file.write_text(config, "utf-8")
    server.send_signal(signal.SIGHUP)
    until(lambda: ask("fresh") == 404)


def test_the_last_answer_of_a_killed_server_is_there(start_server: Callable[..., RunningServer]) -> None:
    server = start_server()
    headers = {"authorization": f"Bearer {server.create_key()}"}
    answer = httpx2.post(server.url + CHAT, json=_body(stream=True), headers=headers, trust_env=False)
    assert sse(answer.content)[-1][1] == "[DONE]"
    server.kill()
    server.start()
    row = server.row(answer.headers["x-request-id"])
    assert (row["status"], row["stream"], row["cut"]) == (200, True, False)
    assert httpx2.post(server.url + CHAT, json=_body(), headers=headers, trust_env=False).status_code == 200
