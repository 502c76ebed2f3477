"""Limits as clients meet them: the same on every surface, in the words of each, and free again whatever happens."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest
from tests.support.server import RunningServer, provider_config, running
from tests.support.sockets import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.provider_server import ProviderServer

CHAT: dict[str, Any] = {"model": "openai/test", "messages": [{"role": "user", "content": "hi"}]}
SURFACES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "openai/test", "prompt": "hi"},
    "/v1/responses": {"model": "openai/test", "input": "hi"},
    "/v1/embeddings": {"model": "openai/test", "input": "hi"},
    "/v1/messages": {**CHAT, "model": "anthropic/test", "max_tokens": 16},
    "/v1/messages/count_tokens": {**CHAT, "model": "anthropic/test"},
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    config = provider_config(provider.url) + "\n[limits]\nrps_per_user = 0.05\nconcurrency_per_feature = 1\n"
    with running(RunningServer(tmp_path_factory.mktemp("limited"), config)) as server:
        yield server


def asked(server: RunningServer, path: str, user: str, **more: Any) -> httpx2.Response:
    return server.client.post(path, json=SURFACES[path] | more, headers={"x-mainspring-user": user})


@pytest.mark.parametrize("path", SURFACES)
def test_the_same_on_every_surface(limited: RunningServer, path: str) -> None:
    first, second = (asked(limited, path, path) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["x-ratelimit-reset-requests"] == "20s"
    assert second.status_code == 429
    assert second.headers["x-should-retry"] == "true"
    assert 0 < int(second.headers["retry-after"]) <= 20
    assert 0 < int(second.headers["retry-after-ms"]) <= 20_000
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    error = second.json()["error"]
    assert error["message"].startswith("The limit of 0.05 requests a second for each user is reached.")
    assert error["type"] == "rate_limit_error"
    if path.startswith("/v1/messages"):
        assert second.json()["type"] == "error"
        assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
        assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
    else:
        assert error["code"] == "rate_limit_exceeded"
    row = limited.row(second.headers["x-request-id"])
    assert (row["status"], row["error"], row["cost_usd"]) == (429, "rate_limit_exceeded", 0)
    assert row["extra"] == {"limit": "rps_per_user", "denied_unrecorded": 0}
    assert (row["attempts"], row["provider"], row["response_bytes"]) == ([], None, 0)


def test_streams_have_the_headers_and_are_denied_before_they_begin(limited: RunningServer) -> None:
    first, second = (asked(limited, "/v1/chat/completions", "streams", stream=True) for _ in range(2))
    assert first.headers["content-type"].startswith("text/event-stream")
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert (second.status_code, second.headers["content-type"]) == (429, "application/json")


def test_real_clients_raise_what_they_should(limited: RunningServer) -> None:
    key = limited.create_key()
    one = openai.OpenAI(api_key=key, base_url=f"{limited.url}/v1", max_retries=0)
    one.chat.completions.create(**CHAT, user="sdk")
    with pytest.raises(openai.RateLimitError) as caught:
        one.chat.completions.create(**CHAT, user="sdk")
    assert caught.value.code == "rate_limit_exceeded"
    other = anthropic.Anthropic(api_key=key, base_url=limited.url, max_retries=0)
    body = SURFACES["/v1/messages"] | {"metadata": {"user_id": "sdk-2"}}
    other.messages.create(**body)
    with pytest.raises(anthropic.RateLimitError):
        other.messages.create(**body)


def test_a_client_that_retries_gets_its_answer(limited: RunningServer) -> None:
    key = limited.create_key(rps=2)
    client = openai.OpenAI(api_key=key, base_url=f"{limited.url}/v1", max_retries=3)
    began = time.monotonic()
    for _ in range(5):
        client.chat.completions.create(**CHAT)
    assert time.monotonic() - began >= 1.4, "two at once, and then two a second"


def test_a_place_is_free_when_the_answer_has_come(limited: RunningServer) -> None:
    head = {"x-mainspring-feature": "one-by-one"}
    for stream in (False, True) * 10:
        answer = limited.client.post("/v1/chat/completions", json=CHAT | {"stream": stream}, headers=head)
        assert answer.status_code == 200


def test_one_at_a_time(limited: RunningServer, provider: ProviderServer) -> None:
    head = {"x-mainspring-feature": "slow"}

    def ask(model: str) -> int:
        return limited.client.post(
            "/v1/chat/completions", json=CHAT | {"model": model}, headers=head
        ).status_code

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, "openai/one-at-a-time+pause=3")
        provider.wait("one-at-a-time", lambda _: True)
        assert [ask("openai/test") for _ in range(3)] == [429, 429, 429]
        assert first.result() == 200
    assert ask("openai/test") == 200


async def test_a_place_is_free_when_the_caller_has_left(limited: RunningServer) -> None:
    key = limited.create_key()
    head = {"x-mainspring-feature": "left"}
    for model, stream in (("openai/test+hang=headers", False), ("openai/test+hang=content", True)):
        with Caller(limited.url, key) as caller:
            await caller.send("/v1/chat/completions", CHAT | {"model": model, "stream": stream}, head)
            await asyncio.sleep(0.3)
        limit = time.monotonic() + 30
        while True:
            answer = await asyncio.to_thread(
                limited.client.post, "/v1/chat/completions", json=CHAT, headers=head
            )
            if answer.status_code == 200:
                break
            assert time.monotonic() < limit
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("traits", ["status=500", "cut=headers", "body=garbage", "status=429"])
def test_a_place_is_free_when_the_provider_has_failed(limited: RunningServer, traits: str) -> None:
    head = {"x-mainspring-feature": f"failing {traits}"}
    for _ in range(3):
        failed = limited.client.post(
            "/v1/chat/completions", json=CHAT | {"model": f"openai/test+{traits}"}, headers=head
        )
        assert failed.status_code >= 429
        assert "The limit of" not in failed.text


def test_keys_have_limits_of_their_own(limited: RunningServer) -> None:
    made = limited.client.post(
        "/api/v1/keys",
        json={"name": "k", "tenant": "acme", "rps": 3, "tokens_per_minute": 6000, "concurrency": 2},
    ).json()
    assert (made["rps"], made["tokens_per_minute"], made["concurrency"]) == (3, 6000, 2)
    head = {"authorization": f"Bearer {made['key']}"}
    body = CHAT | {"model": "openai/test+input=100+words=20", "max_tokens": 50}
    answer = httpx2.post(f"{limited.url}/v1/chat/completions", json=body, headers=head, trust_env=False)
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-limit-tokens"] == "6000"
    used = answer.json()["usage"]["total_tokens"]
    answer = httpx2.post(f"{limited.url}/v1/chat/completions", json=body, headers=head, trust_env=False)
    left = int(answer.headers["x-ratelimit-remaining-tokens"])
    reserved = len(answer.request.content) // 4 + 1 + 50
    assert left == pytest.approx(6000 - used - reserved, abs=120), (
        "the truth of the first, and room for this one"
    )


def test_what_the_api_tells(limited: RunningServer) -> None:
    for _ in range(3):
        asked(limited, "/v1/chat/completions", "told")
    told = limited.client.get("/api/v1/limits").json()
    assert told["shared"]["kind"] == "memory"
    assert {rule["name"]: rule["limit"] for rule in told["rules"]} == {
        "rps_per_user": 0.05,
        "concurrency_per_feature": 1,
    }
    (found,) = [one for one in told["denied"] if one["subject"] == "told"]
    assert (found["limit"], found["scope"], found["denials"]) == ("rps_per_user", "user", 2)


def test_a_flood_of_denials_fills_no_disk(limited: RunningServer) -> None:
    for _ in range(150):
        asked(limited, "/v1/chat/completions", "flood")
    rows = [row for row in limited.rows(user="flood") if row["status"] == 429]
    assert 10 <= len(rows) <= 25
    metrics = limited.client.get("/metrics").text
    (line,) = [
        one
        for one in metrics.splitlines()
        if one.startswith('mainspring_limit_denials_total{limit="rps_per_user"')
    ]
    assert float(line.split()[-1]) >= 149


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[limits]\nrps_per_user = -1", "limits.rps_per_user"),
        ("[limits]\nburst_seconds = 0", "limits.burst_seconds"),
        ("[limits]\nrps_per_usr = 1", "limits.rps_per_usr is not a setting. Did you mean 'rps_per_user'?"),
        ('[storage]\nshared = "redis://"', "storage.shared: 'redis://' names no host"),
        ('[storage]\nshared = "etcd://x"', "is not a shared state that Mainspring knows"),
    ],
)
def test_what_cannot_be(tmp_path: Any, config: str, words: str) -> None:
    server = RunningServer(tmp_path, config)
    server.start(wait=False)
    assert server.wait(90) != 0
    assert words in server.log()
    assert "Traceback" not in server.log()
