"""Requests and answers made to get past a budget, or to leave it with another sum than the ledger."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.server import RunningServer, provider_config, running
from tests.wire.test_budgets import Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.provider_server import ProviderServer

CONFIG = """
[models."openai/attacked"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
[models."anthropic/attacked"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
[models."openai/gone+hang=headers"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
[models."openai/free"]
input_usd_per_mtok = 0
output_usd_per_mtok = 0
[routes.brief]
targets = ["openai/attacked"]
[routes.brief.timeouts]
total = 1
[routes.excused]
targets = ["openai/gone+hang=headers"]
[routes.excused.timeouts]
total = 0.4
[routes.excused.fallback]
message = "Please come back later."
[limits]
rps_per_user = 0
"""
MODEL = "openai/attacked"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    """A server whose models have prices."""
    folder = tmp_path_factory.mktemp("attacked")
    with running(RunningServer(folder, provider_config(provider.url) + CONFIG)) as started:
        yield started


@pytest.fixture
def tenant(server: RunningServer) -> Tenant:
    """A tenant without a budget yet."""
    return Tenant(server)


def agrees(tenant: Tenant) -> bool:
    """Whether every budget has counted what the rows of the ledger have."""
    return "whose sums are those of the ledger" in tenant.server.command("check").stdout


def sent(provider: ProviderServer, tenant: Tenant) -> dict[str, Any]:
    """The body of the last call upstream."""
    body: dict[str, Any] = json.loads(provider.requests(tenant.mark)[-1].body)
    return body


def nearly_spent(tenant: Tenant, provider: ProviderServer) -> dict[str, Any]:
    """A budget with a queue, and too little left in it for another call with `max_tokens=600`."""
    budget = tenant.budget(usd=0.002, policy="queue", queue_seconds=60)
    provider.script("attacked", "words=500")
    assert tenant.ask(MODEL, max_tokens=600).status_code == 200
    return budget


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"max_tokens": 1}),
        ("/v1/responses", {"max_completion_tokens": 1}),
        ("/v1/chat/completions", {"max_output_tokens": 1}),
        ("/v1/completions", {"max_completion_tokens": 1}),
    ],
)
def test_a_limit_of_another_protocol_bounds_nothing(
    tenant: Tenant, provider: ProviderServer, path: str, body: dict[str, Any]
) -> None:
    tenant.budget(usd=1)
    prompt = {"/v1/responses": "input", "/v1/completions": "prompt"}.get(path)
    asked = {prompt: tenant.mark} if prompt else {"messages": [{"role": "user", "content": tenant.mark}]}
    assert tenant.post(path, {"model": MODEL, **asked, **body}).status_code == 200
    ours = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    assert sent(provider, tenant)[ours] > 1


@pytest.mark.parametrize("said", [1e9, -1, "100000", 1 << 41, True])
def test_a_limit_that_is_no_length_is_replaced(
    tenant: Tenant, provider: ProviderServer, said: float | str
) -> None:
    tenant.budget(usd=1)
    assert tenant.ask(MODEL, max_tokens=None, max_completion_tokens=said).status_code == 200
    call = sent(provider, tenant)
    assert "max_completion_tokens" not in call
    assert 1 < call["max_tokens"] < 100_000


@pytest.mark.parametrize("name", ["max\\u005ftokens", "max_completion\\u005ftokens"])
def test_a_name_with_escapes_hides_no_limit(tenant: Tenant, provider: ProviderServer, name: str) -> None:
    tenant.budget(usd=1)
    body = '{"model":"%s","messages":[{"role":"user","content":"%s"}],"%s":-1}' % (MODEL, tenant.mark, name)  # noqa: UP031 - braces
    answer = tenant.server.client.post(
        "/v1/chat/completions", content=body, headers={"authorization": f"Bearer {tenant.key}"}
    )
    assert answer.status_code == 200
    call = sent(provider, tenant)
    assert "max_completion_tokens" not in call
    assert call["max_tokens"] > 1


@pytest.mark.parametrize("number", [100, 100.0, "100", 1 << 39])
def test_several_answers_are_several_times_as_dear(
    tenant: Tenant, provider: ProviderServer, number: float | str
) -> None:
    tenant.budget(usd=0.1)  # an answer may cost 0.02
    assert tenant.ask(MODEL, max_tokens=10_000, n=number).status_code == 429
    assert tenant.ask(MODEL, max_tokens=10_000, n=2).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "traits",
    ["input=-100000", "cached=-5", "words=3+reasoning=-50", "input=9000000000000000", "input=" + "9" * 30],
)
def test_a_report_that_cannot_be_is_none(
    tenant: Tenant, provider: ProviderServer, traits: str, *, stream: bool
) -> None:
    budget = tenant.budget(usd=1)
    provider.script("attacked", traits)
    answer = tenant.ask(MODEL, stream=stream)
    assert answer.status_code == 200
    row = tenant.server.row(answer.headers["x-request-id"])
    assert row["usage_source"] == "estimated"
    assert 0 < row["cost_usd"] < 0.001
    assert tenant.standing(budget)["spent_usd"] == row["cost_usd"]
    assert tenant.ask(MODEL).status_code == 200


def test_what_it_took_until_a_message_stood_in_is_counted(tenant: Tenant) -> None:
    budget, by_model = tenant.budget(usd=1), tenant.budget(scope={"model": "openai/gone+hang=headers"}, usd=1)
    answer = tenant.ask("excused")
    assert answer.status_code == 200
    assert answer.headers["x-mainspring-degraded"] == "message"
    cost = tenant.server.row(answer.headers["x-request-id"])["cost_usd"]
    assert cost > 0
    assert tenant.standing(budget)["spent_usd"] == tenant.standing(by_model)["spent_usd"] == cost
    assert agrees(tenant)


def test_who_leaves_the_queue_leaves_it_at_once(tenant: Tenant, provider: ProviderServer) -> None:
    crowded = Tenant(tenant.server, concurrency=1)
    nearly_spent(crowded, provider)
    calls = len(provider.requests(crowded.mark))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            tenant.server.url + "/v1/chat/completions",
            json={"model": MODEL, "max_tokens": 600, "messages": [{"role": "user", "content": crowded.mark}]},
            headers={"authorization": f"Bearer {crowded.key}"},
            timeout=httpx2.Timeout(30, read=1),
            trust_env=False,
        )
    assert tenant.server.wait_rows(1, 30, tenant=crowded.name, status="error")[0]["status"] == 499
    assert crowded.ask("openai/free", max_tokens=5).status_code == 200  # its place is free
    assert len(provider.requests(crowded.mark)) == calls + 1


def test_nobody_waits_longer_for_room_than_the_request_has(tenant: Tenant, provider: ProviderServer) -> None:
    nearly_spent(tenant, provider)
    began = time.monotonic()
    refused = tenant.ask("brief", max_tokens=600)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert 0.9 < time.monotonic() - began < 20


@pytest.mark.parametrize("way", ["raised", "deleted"])
def test_a_queue_ends_when_the_cap_is_raised_or_gone(
    tenant: Tenant, provider: ProviderServer, way: str
) -> None:
    budget = nearly_spent(tenant, provider)
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(tenant.ask(MODEL, max_tokens=600).status_code))
    waiting.start()
    time.sleep(0.6)
    assert not found
    client, path = tenant.server.client, f"/api/v1/budgets/{budget['id']}"
    changed = client.patch(path, json={"usd": 1}) if way == "raised" else client.delete(path)
    assert changed.is_success
    waiting.join(30)
    assert found == [200]


def test_the_first_request_after_a_start_is_cut_to_what_is_left(
    tmp_path: Path, provider: ProviderServer
) -> None:
    with running(RunningServer(tmp_path, provider_config(provider.url) + CONFIG)) as server:
        tenant = Tenant(server)
        tenant.budget(usd=0.01)
        provider.script("attacked", "words=4000")
        assert tenant.ask(MODEL, max_tokens=4000).status_code == 200
        server.restart()
        assert tenant.ask(MODEL, max_tokens=None).status_code == 200
        assert 256 <= sent(provider, tenant)["max_tokens"] < 1000


PICTURE = "A" * 400_000
URL = f"data:image/png;base64,{PICTURE}"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (
            "/v1/chat/completions",
            {
                "max_tokens": 50,
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}],
            },
        ),
        (
            "/v1/responses",
            {
                "max_output_tokens": 50,
                "input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}],
            },
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 50,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "toolu_1",
                                "content": [
                                    {
                                        "type": "image",
                                        "source": {
                                            "type": "base64",
                                            "media_type": "image/png",
                                            "data": PICTURE,
                                        },
                                    }
                                ],
                            }
                        ],
                    }
                ],
            },
        ),
    ],
)
def test_a_picture_is_not_set_aside_by_its_letters(tenant: Tenant, path: str, asked: dict[str, Any]) -> None:
    tenant.budget(usd=0.1)
    provider = "anthropic" if path == "/v1/messages" else "openai"
    assert tenant.post(path, {"model": f"{provider}/attacked", **asked}).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "user", "content": URL}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": URL}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x" + URL}}]}]},
        {
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "image_url", "image_url": {"url": URL}}],
        },
    ],
)
def test_what_only_looks_like_a_picture_is_text(tenant: Tenant, asked: dict[str, Any]) -> None:
    tenant.budget(usd=0.1)
    refused = tenant.post("/v1/chat/completions", {"model": MODEL, "max_tokens": 50, **asked})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
