"""To whom an answer is put down: body fields and headers end in the ledger row, as the HTTP surface shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.conversations import user

if TYPE_CHECKING:
    import httpx2
    from tests.support.server import RunningServer

HEADERS = {
    "x-mainspring-user": "ann",
    "x-mainspring-feature": "search",
    "x-mainspring-session": "s-1",
    "x-mainspring-tags": "team=core,stage=beta",
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": user("hi")}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/v1/messages", {"messages": user("hi"), "max_tokens": 5}),
    ],
)
def test_headers(http: httpx2.Client, server: RunningServer, path: str, body: dict[str, Any]) -> None:
    answer = http.post(path, json={"model": "openai/test", **body}, headers=HEADERS)
    row = server.row(answer.headers["x-request-id"])
    assert (row["user"], row["feature"], row["session"]) == ("ann", "search", "s-1")
    assert row["tags"] == {"team": "core", "stage": "beta"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"user": "bob"}),
        ("/v1/chat/completions", {"safety_identifier": "bob"}),
        ("/v1/messages", {"metadata": {"user_id": "bob"}, "max_tokens": 5}),
    ],
)
def test_body_fields(http: httpx2.Client, server: RunningServer, path: str, fields: dict[str, Any]) -> None:
    answer = http.post(path, json={"model": "default", "messages": user("hi"), **fields})
    assert server.row(answer.headers["x-request-id"])["user"] == "bob"


def test_metadata_becomes_tags(http: httpx2.Client, server: RunningServer) -> None:
    body = {"model": "default", "messages": user("hi"), "metadata": {"team": "core"}}
    answer = http.post("/v1/chat/completions", json=body)
    assert server.row(answer.headers["x-request-id"])["tags"] == {"team": "core"}


def test_a_header_wins_over_the_body(http: httpx2.Client, server: RunningServer) -> None:
    body = {"model": "default", "messages": user("hi"), "user": "bob"}
    answer = http.post("/v1/chat/completions", json=body, headers={"x-mainspring-user": "ann"})
    assert server.row(answer.headers["x-request-id"])["user"] == "ann"


def test_trace(http: httpx2.Client, server: RunningServer) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    answer = http.post(
        "/v1/chat/completions", json={"model": "default", "messages": user("hi")}, headers=headers
    )
    row = server.row(answer.headers["x-request-id"])
    assert row["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert row["parent_span_id"] == "b7ad6b7169203331"


def test_errors_are_put_down_too(http: httpx2.Client, server: RunningServer) -> None:
    body = {"model": "openai/t+status=500", "messages": user("hi"), "user": "bob"}
    answer = http.post("/v1/chat/completions", json=body, headers={"x-mainspring-feature": "search"})
    row = server.row(answer.headers["x-request-id"])
    assert (row["user"], row["feature"], row["status"], row["error"]) == (
        "bob",
        "search",
        500,
        "provider_refused",
    )
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["refused", "refused"]


def test_feedback_hangs_on_the_id(http: httpx2.Client, server: RunningServer) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "default", "messages": user("hi")})
    request_id = answer.headers["x-request-id"]
    for value in (0.5, True, "good"):
        given = http.post(
            "/api/v1/feedback", json={"request_id": request_id, "name": "rating", "value": value}
        )
        assert given.status_code == 201, given.text
    missing = {"request_id": "00000000-0000-7000-8000-000000000000", "name": "rating", "value": 1}
    assert http.post("/api/v1/feedback", json=missing).status_code == 404


def test_tenants_do_not_see_each_other(http: httpx2.Client, server: RunningServer) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "default", "messages": user("hi")})
    request_id = answer.headers["x-request-id"]
    other = {"authorization": f"Bearer {server.create_key('other', tenant='rival')}"}
    assert http.get(f"/api/v1/ledger/{request_id}", headers=other).status_code == 404
    assert http.get("/api/v1/ledger", headers=other).json()["items"] == []
    assert http.get(f"/api/v1/ledger/{request_id}").status_code == 200
    given = {"request_id": request_id, "name": "rating", "value": 1}
    assert http.post("/api/v1/feedback", json=given, headers=other).status_code == 404
