"""Several keys of one provider, as a caller sees them: not at all."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.provider_server import ProviderServer
from tests.support.server import RunningServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

CONFIG = """
[providers.many]
base_url = "{url}/v1"
api_keys = ["env:MANY_A", "env:MANY_B"]
[providers.claude]
api = "anthropic"
base_url = "{url}"
api_keys = ["env:MANY_A", "env:MANY_B"]
[providers.missing]
base_url = "{url}/v1"
api_keys = ["env:NOT_THERE"]
[routes.all]
targets = ["many/pooled"]
"""
A, B = "sk-pool-a", "sk-pool-b"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProviderServer]:
    """A provider of our own, for it tells keys apart."""
    server = ProviderServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory, upstream: ProviderServer) -> Iterator[RunningServer]:
    folder, env = tmp_path_factory.mktemp("pools"), {"MANY_A": A, "MANY_B": B}
    with running(RunningServer(folder, CONFIG.format(url=upstream.url), env=env)) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(upstream: ProviderServer) -> Iterator[None]:
    yield
    for key in (A, B):
        upstream.treat(key, "")


def ask(server: RunningServer, model: str, path: str = "chat/completions", **more: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, **more}
    return server.client.post(f"/v1/{path}", json=body)


def used(upstream: ProviderServer, model: str) -> list[str]:
    """The keys of the calls for a model, in their order."""
    name = model.partition("/")[2]
    return [received.key() for received in upstream.requests(f'"{name}"')]


def state(server: RunningServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(f"/api/v1/providers/{name}").json()
    return found


def test_keys_take_turns_on_both_wires(pooled: RunningServer, upstream: ProviderServer) -> None:
    for model, path in (("many/turns", "chat/completions"), ("claude/turns2", "messages")):
        for _ in range(6):
            assert ask(pooled, model, path).status_code == 200
        assert Counter(used(upstream, model)) == {A: 3, B: 3}


@pytest.mark.parametrize("stream", [False, True])
def test_a_429_of_one_key_is_nothing_to_the_caller(
    pooled: RunningServer, upstream: ProviderServer, *, stream: bool
) -> None:
    upstream.treat(A, "status=429+retry_after=60")
    model = f"many/limited-{stream}"
    for _ in range(6):
        answer = ask(pooled, model, stream=stream)
        assert answer.status_code == 200, answer.text
    assert Counter(used(upstream, model)) == {A: 1, B: 6}, "it is asked once, and then left alone"
    keys = {key["label"]: key for key in state(pooled, "many")["keys"]}
    assert keys["env:MANY_A"]["state"] == "cooling"
    assert f"limited-{stream}" in keys["env:MANY_A"]["resting"]
    assert ask(pooled, f"many/another-{stream}").status_code == 200
    attempts = [row["attempts"] for row in pooled.rows(model=model.partition("/")[2])]
    both = next(one for one in attempts if len(one) == 2)
    assert [one["key"] for one in both] == ["env:MANY_A", "env:MANY_B"]


def test_headroom_decides(pooled: RunningServer, upstream: ProviderServer) -> None:
    for model, path in (("many/room", "chat/completions"), ("claude/room2", "messages")):
        upstream.treat(A, "left=900")
        upstream.treat(B, "left=100")
        for _ in range(4):
            assert ask(pooled, model, path).status_code == 200
        time.sleep(0.2)  # what the answers say is looked at some times a second
        for _ in range(20):
            assert ask(pooled, model, path).status_code == 200
        counts = Counter(used(upstream, model)[4:])
        assert counts[A] >= 16, counts
        assert counts[B] >= 1, counts
    shown = {key["label"]: key["headroom"] for key in state(pooled, "claude")["keys"]}
    assert shown["env:MANY_A"][0]["requests"]["remaining"] == 900


def test_when_all_of_them_rest_the_caller_is_told_when_to_come_back(
    pooled: RunningServer, upstream: ProviderServer
) -> None:
    for key in (A, B):
        upstream.treat(key, "status=429+retry_after=30")
    answers = [ask(pooled, "many/full") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429] * 4
    assert len(used(upstream, "many/full")) == 2, "nobody is asked who said no"
    assert 10 <= int(answers[-1].headers["retry-after"]) <= 30
    assert answers[-1].json()["error"]["code"] == "provider_cooling_down"
    rows = pooled.rows(model="full")
    assert rows[0]["status"] == 429
    assert "sk-" not in str(rows)


def test_a_key_that_is_not_accepted_is_replaced_by_the_other(
    pooled: RunningServer, upstream: ProviderServer
) -> None:
    upstream.treat(A, "status=401")
    for number in range(4):
        assert ask(pooled, f"many/refused-{number}").status_code == 200
    sent = [key for number in range(4) for key in used(upstream, f"many/refused-{number}")]
    assert Counter(sent) == {A: 1, B: 4}
    assert state(pooled, "many")["keys"][0]["state"] == "refused"
    log = pooled.log()
    assert '"provider_key_refused"' in log
    assert "sk-pool" not in log


def test_a_provider_without_a_key_says_so(pooled: RunningServer, upstream: ProviderServer) -> None:
    answer = ask(pooled, "missing/none")
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"
    assert "NOT_THERE is not set" in answer.text
    assert not used(upstream, "missing/none")
    assert '"provider_without_key"' in pooled.log()


def test_a_drained_key_and_a_drained_provider(pooled: RunningServer, upstream: ProviderServer) -> None:
    post = pooled.client.post
    post("/api/v1/providers/claude/keys/env:MANY_A/drain", json={"reason": "leaked"}).raise_for_status()
    for _ in range(4):
        assert ask(pooled, "claude/drained", "messages").status_code == 200
    assert set(used(upstream, "claude/drained")) == {B}
    post("/api/v1/providers/claude/drain", json={}).raise_for_status()
    refused = ask(pooled, "claude/drained", "messages")
    assert refused.status_code == 503
    assert "out of use" in refused.text
    assert len(used(upstream, "claude/drained")) == 4
    pooled.restart()
    assert state(pooled, "claude")["state"] == "drained"
    post("/api/v1/providers/claude/undrain").raise_for_status()
    post("/api/v1/providers/claude/keys/env:MANY_A/undrain").raise_for_status()
    assert ask(pooled, "claude/drained", "messages").status_code == 200
