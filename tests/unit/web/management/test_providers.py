"""`/api/v1/providers`: what is shown, and what is taken out of use."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from mainspring.base.settings import Settings
from mainspring.providers import Providers

if TYPE_CHECKING:
    import httpx2

    from mainspring.web.runtime import Runtime

LABEL = "file:/run/secrets/a b#c"


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """With a provider of two keys, one of which is not there."""
    mine = {"base_url": "http://me:pw@127.0.0.1:9/v1", "api_keys": ["sk-very-secret", LABEL]}
    runtime.providers = Providers(Settings(providers={"mine": mine}), runtime.secrets)  # type: ignore[dict-item] # pydantic reads it
    return runtime


async def test_the_list(runtime: Runtime, admin: httpx2.AsyncClient) -> None:
    await runtime.ages.learn_all(runtime.providers.get("mine").pool)
    answer = await admin.get("/api/v1/providers")
    assert answer.status_code == 200
    assert "very-secret" not in answer.text
    assert "pw@" not in answer.text
    page = answer.json()
    assert page["next"] is None
    assert [item["name"] for item in page["items"]] == ["local", "mine"]
    mine = page["items"][1]
    assert (mine["api"], mine["state"], mine["base_url"]) == (
        "openai",
        "ready",
        "http://me:***@127.0.0.1:9/v1",
    )
    first, second = mine["keys"]
    assert (first["label"], first["source"], first["state"], first["age_days"]) == (
        "key 1",
        "literal",
        "ready",
        0,
    )
    assert (second["label"], second["source"], second["state"]) == (LABEL, "file", "missing")
    assert "is not there" in second["problem"]
    assert (await admin.get("/api/v1/providers/mine")).json() == mine
    assert (await admin.get("/api/v1/providers/yours")).status_code == 404


async def test_drain_and_undrain(runtime: Runtime, admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/api/v1/providers/mine/drain", json={"reason": "their outage"})
    assert answer.status_code == 200
    drained = answer.json()
    assert (drained["state"], drained["ready_in_s"]) == ("drained", None)
    assert (drained["drain"]["by"], drained["drain"]["reason"]) == ("admin", "their outage")
    assert (await admin.post("/api/v1/providers/mine/undrain")).json()["state"] == "ready"
    assert (await admin.post("/api/v1/providers/mine/undrain")).status_code == 404

    path = f"/api/v1/providers/mine/keys/{quote(LABEL, safe='')}"
    drained = (await admin.post(f"{path}/drain", json={})).json()
    assert [key["state"] for key in drained["keys"]] == ["ready", "drained"]
    assert (await admin.post(f"{path}/undrain")).json()["keys"][1]["state"] == "missing"
    unknown = await admin.post("/api/v1/providers/mine/keys/none/drain", json={})
    assert unknown.status_code == 404
    assert "Its keys are: key 1" in unknown.text


async def test_refusals(
    runtime: Runtime, admin: httpx2.AsyncClient, member: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    for client, status in ((member, 403), (nobody, 401)):
        assert (await client.get("/api/v1/providers")).status_code == status
        assert (await client.post("/api/v1/providers/mine/drain", json={})).status_code == status
    long = await admin.post("/api/v1/providers/mine/drain", json={"reason": "x" * 501})
    assert long.status_code == 422
    assert runtime.drains.find("mine") is None


async def test_numbers(runtime: Runtime, nobody: httpx2.AsyncClient) -> None:
    await runtime.drains.drain("mine", by="ann")
    runtime.providers.apply(runtime.drains)
    text = (await nobody.get("/metrics")).text
    for line in (
        'provider_keys{provider="mine",state="ready"} 1.0',
        'provider_keys{provider="mine",state="missing"} 1.0',
        'provider_keys{provider="mine",state="cooling"} 0.0',
        'provider_drained{provider="mine"} 1.0',
    ):
        assert f"mainspring_{line}" in text
