from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest

from mainspring.base.clock import now_us
from mainspring.base.ids import id_at
from mainspring.base.settings import Settings
from mainspring.web.console import records
from mainspring.web.console.sessions import COOKIE, open_session
from mainspring.web.management import create_api, ledger
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from httpx2 import AsyncClient

    from mainspring.ledger import Inference
    from mainspring.web.asgi import Message

    Answered = Callable[..., Awaitable[Inference]]

#: The members that scripts rely on.
CONTRACT = {
    "id", "time", "tenant", "user", "feature", "route", "provider", "model", "status", "stream", "cut", "input_tokens",
    "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "latency_ms",
    "first_token_ms", "attempts", "cache",
}  # fmt: skip


async def test_a_row_has_what_scripts_rely_on(admin: AsyncClient, answered: Answered) -> None:
    row = await answered(user="ann")
    body = (await admin.get("/api/v1/ledger")).json()
    (item,) = body["items"]
    assert set(item) >= CONTRACT
    assert body["next"] is None
    assert (item["id"], item["user"], item["latency_ms"], item["first_token_ms"]) == (row.id, "ann", 150, 20)
    assert item["cost_usd"] == 0.000123456
    assert item["attempts"] == [
        {
            "provider": "openai",
            "model": "gpt",
            "key": None,
            "hedge": False,
            "cost_usd": None,
            "outcome": "ok",
            "status": None,
            "error": None,
            "started_ms": 1,
            "first_byte_ms": 19,
            "ended_ms": 149,
        }
    ]


async def test_an_unknown_price_is_null(admin: AsyncClient, answered: Answered) -> None:
    row = await answered(cost_nusd=None)
    assert (await admin.get(f"/api/v1/ledger/{row.id}")).json()["cost_usd"] is None


async def test_pages_and_filters(admin: AsyncClient, answered: Answered) -> None:
    rows = [await answered(model="ab"[n % 2], tenant=f"t{n % 3}", status=200 if n else 500) for n in range(6)]
    ids = [row.id for row in rows][::-1]
    first = (await admin.get("/api/v1/ledger", params={"limit": 4})).json()
    second = (await admin.get("/api/v1/ledger", params={"limit": 4, "after": first["next"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ids
    for query, expected in (
        ({"model": "a"}, ids[1::2]),
        ({"tenant": "t0"}, [ids[2], ids[5]]),
        ({"status": "error"}, ids[5:]),
        ({"since": "1h"}, ids),
        ({"until": "1h"}, []),
        ({"since": "2099-01-01"}, []),
    ):
        found = (await admin.get("/api/v1/ledger", params=query)).json()
        assert [item["id"] for item in found["items"]] == expected, query


async def test_a_member_sees_only_its_tenant(member: AsyncClient, answered: Answered) -> None:
    mine, other = await answered(tenant="acme"), await answered(tenant="other")
    assert [item["id"] for item in (await member.get("/api/v1/ledger")).json()["items"]] == [mine.id]
    assert (await member.get(f"/api/v1/ledger/{mine.id}")).status_code == 200
    assert (await member.get(f"/api/v1/ledger/{other.id}")).status_code == 404
    refused = await member.get("/api/v1/ledger", params={"tenant": "other"})
    assert (refused.status_code, refused.json()["param"]) == (403, "tenant")


async def test_the_payload_is_given_when_asked_for(admin: AsyncClient, answered: Answered) -> None:
    row = await answered(payload=(b'{"model":"m"}', b'data: {"a":1}\n\n'))
    assert (await admin.get(f"/api/v1/ledger/{row.id}")).json()["payload"] is None
    full = (await admin.get(f"/api/v1/ledger/{row.id}", params={"payload": True})).json()
    assert full["payload"] == {"request": {"model": "m"}, "response": 'data: {"a":1}\n\n'}


@pytest.mark.parametrize("request_id", ["nonsense", "%20", "01a1fdab-6499-7956-a558-b9483902ec3e"])
async def test_an_unknown_id_is_not_found(admin: AsyncClient, request_id: str) -> None:
    assert (await admin.get(f"/api/v1/ledger/{request_id}")).status_code == 404


class _Tail:
    """A request to the tail whose body is read while it is written, and which may hang up."""

    def __init__(self, runtime: Runtime, key: str, query: bytes = b"") -> None:
        self.gone = asyncio.Event()
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.head: Message = {}
        scope = {
            "type": "http", "method": "GET", "path": "/api/v1/ledger/tail", "raw_path": b"", "root_path": "",
            "scheme": "http", "query_string": query, "headers": [(b"x-api-key", key.encode())],
            "client": None, "server": None, "http_version": "1.1", "asgi": {"version": "3.0"},
        }  # fmt: skip
        self.task = asyncio.create_task(create_api(runtime)(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = message
        elif message["body"]:
            self.events.put_nowait(message["body"])

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.events.get(), 30)


async def test_the_tail_shows_new_answers_as_they_come(runtime: Runtime, answered: Answered) -> None:
    await answered()
    _, key = await runtime.keys.create(name="watcher", role="admin")
    tail = _Tail(runtime, key, b"tenant=acme")
    assert await tail.next() == b": from now on\n\n"
    assert dict(tail.head["headers"])[b"content-type"].startswith(b"text/event-stream")
    await asyncio.sleep(0.1)
    await answered(tenant="other")
    row = await answered(user="ann")
    head, _, data = (await tail.next()).partition(b"\ndata: ")
    assert head == f"id: {row.id}".encode()
    assert json.loads(data)["user"] == "ann"
    tail.gone.set()
    await asyncio.wait_for(tail.task, 30)


async def test_the_tail_is_kept_alive_and_ends_with_the_server(runtime: Runtime) -> None:
    section = runtime.settings.server.model_copy(update={"keepalive_seconds": 0.5})
    runtime.settings = runtime.settings.model_copy(update={"server": section})
    _, key = await runtime.keys.create(name="watcher")
    tail = _Tail(runtime, key)
    await tail.next()
    assert await tail.next() == b": keepalive\n\n"
    runtime.draining = True
    await asyncio.wait_for(tail.task, 30)


async def test_the_tail_ends_with_its_key(runtime: Runtime, answered: Answered) -> None:
    key, secret = await runtime.keys.create(name="watcher", tenant="acme")
    tail = _Tail(runtime, secret)
    await tail.next()
    await answered()
    await tail.next()
    await runtime.keys.revoke(key.id)
    await answered(user="ann")
    await asyncio.wait_for(tail.task, 30)
    assert await tail.next() == b": the key works no more\n\n"
    assert tail.events.empty()


async def test_usage_since_the_beginning_of_time(admin: AsyncClient, answered: Answered) -> None:
    await answered(id=id_at(now_us() - 400 * 86_400_000_000))
    await answered()
    for since, requests in (("1970-01-01", 2), ("0001-01-01", 2), ("7d", 1)):
        (sums,) = (await admin.get("/api/v1/usage", params={"since": since})).json()["items"]
        assert sums["requests"] == requests, since
    nothing = (await admin.get("/api/v1/usage", params={"until": "1970-01-01"})).json()
    assert nothing["items"] == []


async def test_usage_sums_up(admin: AsyncClient, member: AsyncClient, answered: Answered) -> None:
    await answered(model="a", cost_nusd=1_000_000_000)
    await answered(model="a", cost_nusd=500_000_000, status=500, error="provider_error")
    await answered(model="b", cost_nusd=None, tenant="other")
    by_model = (await admin.get("/api/v1/usage", params={"by": "model"})).json()["items"]
    assert [(row["group"], row["requests"], row["errors"]) for row in by_model] == [("a", 2, 1), ("b", 1, 0)]
    assert by_model[0]["cost_usd"] == 1.5
    assert by_model[1]["unpriced"] == 1
    (everything,) = (await admin.get("/api/v1/usage")).json()["items"]
    assert (everything["requests"], everything["input_tokens"]) == (3, 300)
    (mine,) = (await member.get("/api/v1/usage")).json()["items"]
    assert mine["requests"] == 2
    series = (await admin.get("/api/v1/usage", params={"step": "1h", "since": "1d"})).json()["items"]
    assert sum(row["requests"] for row in series) == 3
    assert all(row["time"] for row in series)
    grouped = (await admin.get("/api/v1/usage", params={"step": "1d", "by": "model"})).json()["items"]
    assert [(row["group"], row["requests"]) for row in grouped] == [("a", 2), ("b", 1)]
    assert all(row["time"] for row in grouped)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"by": "colour"}, "by"),
        ({"since": "soon"}, "since"),
        ({"step": "30s"}, "step"),
        ({"step": "soon"}, "step"),
        ({"step": "1m", "since": "52w"}, "step"),
        ({"step": "1h", "by": "user"}, "step"),
        ({"step": "1h", "by": "model", "since": "52w"}, "step"),
    ],
)
async def test_a_wrong_question_is_told(admin: AsyncClient, query: dict[str, str], param: str) -> None:
    refused = await admin.get("/api/v1/usage", params=query)
    assert (refused.status_code, refused.json()["param"]) == (422, param)


@pytest.mark.parametrize("value", [1, 0.5, True, "good", None])
async def test_feedback_hangs_on_the_answer(admin: AsyncClient, answered: Answered, value: Any) -> None:
    row = await answered()
    given = {"request_id": row.id, "name": "rating", "value": value, "comment": "so it is"}
    made = await admin.post("/api/v1/feedback", json=given)
    assert made.status_code == 201
    assert made.json()["tenant"] == "acme"
    listed = (await admin.get("/api/v1/feedback", params={"request_id": row.id})).json()
    assert [(each["value"], each["comment"]) for each in listed["items"]] == [(value, "so it is")]
    full = (await admin.get(f"/api/v1/ledger/{row.id}")).json()
    assert type(full["feedback"][0]["value"]) is (float if type(value) is int else type(value)) or value == 1


async def test_feedback_on_what_is_not_yours(member: AsyncClient, answered: Answered) -> None:
    other = await answered(tenant="other")
    for request_id in (other.id, "nonsense"):
        given = {"request_id": request_id, "name": "rating", "value": 1}
        assert (await member.post("/api/v1/feedback", json=given)).status_code == 404
        assert (await member.get("/api/v1/feedback", params={"request_id": request_id})).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"value": "x" * 201},
        {"comment": "x" * 10_001},
        {"value": [1]},
        {"more": 1},
    ],
)
async def test_feedback_that_cannot_be(admin: AsyncClient, answered: Answered, wrong: dict[str, Any]) -> None:
    row = await answered()
    refused = await admin.post(
        "/api/v1/feedback", json={"request_id": row.id, "name": "a", "value": 1, **wrong}
    )
    assert refused.status_code == 422, refused.text


async def test_views_of_the_command_line_are_the_same(admin: AsyncClient, answered: Answered) -> None:
    from mainspring.web.management.views import answer_view  # noqa: PLC0415 - stands beside what it is compared with

    row = await answered(tags={"a": "b"}, cost_nusd=1)
    (item,) = (await admin.get("/api/v1/ledger")).json()["items"]
    assert item == msgspec.to_builtins(answer_view(row))


async def test_a_search_that_takes_long_says_how_far_it_looked(
    runtime: Runtime, admin: AsyncClient, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await asyncio.gather(*(answered(status=500, error="provider_error") for _ in range(1100)))
    for module in (ledger, records):
        monkeypatch.setattr(module, "_SEARCH_SECONDS", 0)
    key, _ = await runtime.keys.create(name="operator", tenant="acme", role="admin")
    asked = {"status": "ok"}
    looked = []
    for _ in range(2):
        page = await admin.get(
            "/console/ledger", params=asked, headers={"cookie": f"{COOKIE}={open_session(key)}"}
        )
        body = (await admin.get("/api/v1/ledger", params=asked)).json()
        assert body["items"] == []
        assert "Searched back to" in page.text
        assert f"status=ok&amp;after={body['next']}" in page.text.replace("&after", "&amp;after")
        looked.append(body["searched_back_to"])
        asked["after"] = body["next"]
    assert looked[0] > looked[1]
    assert (await admin.get("/api/v1/ledger", params=asked)).json() == {"items": [], "next": None}
    assert min(row.id for row in rows) < asked["after"]


async def test_an_answer_has_its_page_also_while_the_store_of_its_contents_is_away(
    runtime: Runtime, answered: Answered, tmp_path: Path
) -> None:
    row = await answered(payload=(os.urandom(2_000_000), b""))
    (tmp_path / "file").touch()
    storage = {"database": runtime.settings.storage.database, "blobs": f"file://{tmp_path}/file"}
    elsewhere = await Runtime.open(Settings.model_validate({"storage": storage}), serve=False)
    await elsewhere.keys.start()
    key, secret = await elsewhere.keys.create(name="operator", role="admin")
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=create_api(elsewhere)),
        base_url="http://test",
        headers={"x-api-key": secret, "cookie": f"{COOKIE}={open_session(key)}"},
    )
    page = await client.get(f"/console/ledger/{row.id}")
    assert (page.status_code, "cannot be read now" in page.text) == (200, True)
    asked_for = await client.get(f"/api/v1/ledger/{row.id}", params={"payload": True})
    assert (asked_for.status_code, asked_for.json()["code"]) == (503, "store_unavailable")
    await client.aclose()
    await elsewhere.close()
