from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mainspring.base.errors import AuthenticationFailed

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from mainspring.web.runtime import Runtime


async def test_a_key_is_made_shown_once_listed_and_revoked(admin: AsyncClient, runtime: Runtime) -> None:
    made = await admin.post(
        "/api/v1/keys",
        json={
            "name": "web",
            "tenant": "acme",
            "models": ["default"],
            "expires": "90d",
            "payloads": False,
            "rps": 10,
            "budget": {"usd": 5, "window": "day"},
        },
    )
    assert made.status_code == 201
    body = made.json()
    assert runtime.keys.check(body["key"]).tenant == "acme"
    assert (body["role"], body["models"], body["payloads"], body["rps"]) == ("member", ["default"], False, 10)
    assert body["budget"] == {"usd": 5, "window": "day"}
    listed = (await admin.get("/api/v1/keys", params={"tenant": "acme"})).json()
    assert [key["id"] for key in listed["items"]] == [body["id"]]
    assert "key" not in listed["items"][0]
    assert "digest" not in listed["items"][0]
    assert (await admin.get(f"/api/v1/keys/{body['id']}")).json()["last4"] == body["key"][-4:]
    assert (await admin.delete(f"/api/v1/keys/{body['id']}")).json()["revoked"] is not None
    with pytest.raises(AuthenticationFailed):
        runtime.keys.check(body["key"])


async def test_expiry_is_a_time_too(admin: AsyncClient) -> None:
    body = {"name": "a", "tenant": "t", "expires": "2099-01-01T00:00:00Z"}
    made = await admin.post("/api/v1/keys", json=body)
    assert made.json()["expires"] == "2099-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"])
async def test_a_key_may_last_to_the_end_of_the_calendar(admin: AsyncClient, last: str) -> None:
    made = (await admin.post("/api/v1/keys", json={"name": "a", "tenant": "t", "expires": last})).json()
    assert made["expires"] == "9999-12-31T23:59:59.000000Z"
    await asyncio.sleep(1.1)  # its successor would live on into the year 10000
    successor = await admin.post(f"/api/v1/keys/{made['id']}/rotate", json={})
    assert (successor.status_code, successor.json()["expires"]) == (201, made["expires"])
    beyond = {"name": "a", "tenant": "t", "expires": "9999-12-31T23:59:59-12:00"}
    refused = await admin.post("/api/v1/keys", json=beyond)
    assert (refused.status_code, refused.json()["param"]) == (422, "expires")
    assert (await admin.get("/api/v1/keys")).status_code == 200


async def test_rotation(admin: AsyncClient, runtime: Runtime) -> None:
    old = (await admin.post("/api/v1/keys", json={"name": "a", "tenant": "t"})).json()
    new = await admin.post(f"/api/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 60})
    assert new.status_code == 201
    assert runtime.keys.check(old["key"]).key_id == old["id"]
    assert runtime.keys.check(new.json()["key"]).key_id == new.json()["id"]
    again = await admin.post(f"/api/v1/keys/{old['id']}/rotate", json={})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_members_do_not_manage_keys(member: AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("DELETE", "/x"), ("POST", "/x/rotate")):
        refused = await member.request(method, f"/api/v1/keys{path}", json={})
        assert refused.status_code == 403, (method, path)
        assert refused.json()["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"tenant": "t"}, 422, None),
        ({"name": "a", "tenant": "t", "nmae": 1}, 422, None),
        ({"name": 5, "tenant": "t"}, 422, "name"),
        ({"name": "a", "tenant": "t", "role": "owner"}, 422, "role"),
        ({"name": "a", "tenant": "t", "budget": {"usd": 1, "window": "week"}}, 422, "budget.window"),
        ({"name": "a", "tenant": "t", "expires": "soon"}, 422, "expires"),
        ({"name": "a", "tenant": "t", "expires": "2001-01-01"}, 422, "expires"),
        ({"name": " ", "tenant": "t"}, 422, "name"),
        ({"name": "a", "tenant": "t", "rps": -1}, 422, "rps"),
        ([], 422, None),
    ],
)
async def test_a_wrong_body_is_told_with_the_field(
    admin: AsyncClient, body: Any, status: int, param: str | None
) -> None:
    refused = await admin.post("/api/v1/keys", json=body)
    assert refused.status_code == status, refused.text
    assert refused.json().get("param") == param


async def test_pages(admin: AsyncClient) -> None:
    made = [
        (await admin.post("/api/v1/keys", json={"name": f"k{n}", "tenant": "p"})).json()["id"]
        for n in range(3)
    ]
    first = (await admin.get("/api/v1/keys", params={"tenant": "p", "limit": 2})).json()
    second = (
        await admin.get("/api/v1/keys", params={"tenant": "p", "limit": 2, "after": first["next"]})
    ).json()
    assert [key["id"] for key in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None
