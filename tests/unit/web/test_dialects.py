"""Every error of the tree in the words of both protocols."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mainspring.base import errors
from mainspring.base.errors import (
    BudgetExceeded,
    MainspringError,
    NotFound,
    Overloaded,
    ProviderRefused,
    RateLimited,
)
from mainspring.web import anthropic, openai


def tree(kind: type[MainspringError] = MainspringError) -> list[type[MainspringError]]:
    below = [
        found
        for child in kind.__subclasses__()
        if child.__module__.startswith(errors.__name__)
        for found in tree(child)
    ]
    return [kind, *below]


def made(kind: type[MainspringError], **more: Any) -> MainspringError:
    if kind is ProviderRefused:
        more = {"upstream_status": 500, **more}
    return kind("It is wrong.", remedy="Mend it.", **more)


def said(dialect: Any, error: MainspringError) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    status, headers, body = dialect.error(error, "id-1")
    return status, dict(headers), json.loads(body)


def refused(status: int, body: bytes = b"", **more: Any) -> ProviderRefused:
    return ProviderRefused(f"up answered {status}: oops", upstream_status=status, upstream_body=body, **more)


OPENAI_TYPES = {429: "rate_limit_error"}
ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dialect", [openai.CHAT, openai.RESPONSES])
def test_openai(kind: type[MainspringError], dialect: Any) -> None:
    error = made(kind)
    status, headers, body = said(dialect, error)
    assert status == error.http_status
    detail = body["error"]
    assert detail["message"] == "It is wrong. Mend it."
    usual = OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    # OpenAI names the type of an account that has nothing left after its code.
    assert detail["type"] == ("insufficient_quota" if kind is BudgetExceeded else usual)
    assert detail["code"] == error.code
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-request-id"] == b"id-1"
    told = b"true" if kind is RateLimited else None if error.retryable else b"false"
    assert headers.get(b"x-should-retry") == told
    assert b"retry-after" not in headers


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_anthropic(kind: type[MainspringError]) -> None:
    error = made(kind)
    status, headers, body = said(anthropic.MESSAGES, error)
    assert status == error.http_status
    assert body["type"] == "error"
    assert body["error"]["type"] == ANTHROPIC_TYPES.get(
        status, "api_error" if status >= 500 else "invalid_request_error"
    )
    assert body["error"]["message"] == "It is wrong. Mend it."
    assert (
        body["request_id"] == headers[b"request-id"].decode() == headers[b"x-request-id"].decode() == "id-1"
    )


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_errors_inside_streams(kind: type[MainspringError]) -> None:
    error = made(kind)
    data = openai.CHAT.stream_error(error, "id-1")
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert json.loads(data[6:])["error"]["message"] == "It is wrong. Mend it."
    name, _, line = openai.RESPONSES.stream_error(error, "id-1").partition(b"\n")
    event = json.loads(line.removeprefix(b"data: "))
    assert (name, event["type"], event["message"], event["code"]) == (
        b"event: error",
        "error",
        "It is wrong. Mend it.",
        error.code,
    )
    name, _, line = anthropic.MESSAGES.stream_error(error, "id-1").partition(b"\n")
    event = json.loads(line.removeprefix(b"data: "))
    assert (name, event["type"], event["error"]["message"]) == (
        b"event: error",
        "error",
        "It is wrong. Mend it.",
    )


def test_a_model_that_is_not_there() -> None:
    error = NotFound("There is no model.", param="model")
    assert said(openai.CHAT, error)[2]["error"] == {
        "message": "There is no model.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert said(anthropic.MESSAGES, error)[2]["error"]["type"] == "not_found_error"


def test_overload_has_a_number_in_each_protocol() -> None:
    assert said(openai.CHAT, refused(529))[0] == 503
    assert said(anthropic.MESSAGES, refused(529))[0] == 529
    assert said(openai.CHAT, refused(503))[0] == 503
    status, _, body = said(anthropic.MESSAGES, refused(503))
    assert (status, body["error"]["type"]) == (529, "overloaded_error")
    assert said(anthropic.MESSAGES, Overloaded("full"))[0] == 503


def test_when_to_come_back() -> None:
    for dialect in (openai.CHAT, anthropic.MESSAGES):
        headers = said(dialect, RateLimited("Too much.", retry_after_ms=1200))[1]
        assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (b"2", b"1200")
        assert headers[b"x-should-retry"] == b"true"
        assert said(dialect, refused(429, retry_after=7))[1][b"retry-after"] == b"7"
        assert said(dialect, refused(429, retry_after=0))[1][b"retry-after"] == b"0"


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (refused(429), True),
        (refused(500), True),
        (refused(529), True),
        (refused(520), True),
        (refused(425), True),
        (refused(501), False),
        (refused(408), True),
        (refused(400), False),
        (refused(401), False),
        (refused(404), False),
        (refused(429, upstream_type="insufficient_quota"), False),
    ],
)
def test_whether_to_come_back_at_all(error: ProviderRefused, may: bool) -> None:
    for dialect in (openai.CHAT, anthropic.MESSAGES):
        headers = said(dialect, error)[1]
        assert headers.get(b"x-should-retry") == (None if may else b"false")


BODY = b'{"error":{"message":"Too many.","type":"tokens","code":"rate_limit_exceeded","param":"messages"}}'


def test_the_words_of_the_provider() -> None:
    status, _, body = said(openai.CHAT, refused(429, BODY))
    assert status == 429
    assert body["error"] == {
        "message": "Too many.",
        "type": "rate_limit_error",
        "param": "messages",
        "code": "rate_limit_exceeded",
    }
    assert said(anthropic.MESSAGES, refused(429, BODY))[2]["error"] == {
        "type": "rate_limit_error",
        "message": "Too many.",
    }
    from_claude = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert said(openai.CHAT, refused(529, from_claude))[2]["error"]["message"] == "Overloaded"
    assert said(openai.CHAT, refused(404, BODY))[2]["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_of_ours_that_fails_is_not_the_callers(status: int) -> None:
    body = b'{"error":{"message":"Incorrect API key: sk-abc","code":"invalid_api_key","type":"invalid_request_error"}}'
    for dialect in (openai.CHAT, anthropic.MESSAGES):
        code, headers, answer = said(dialect, refused(status, body))
        assert code == 502
        assert "sk-abc" not in json.dumps(answer)
        assert headers[b"x-should-retry"] == b"false"
        assert answer["error"]["type"] in {"server_error", "api_error"}
        assert "sk-abc" not in dialect.stream_error(refused(status, body), "id").decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"[[]]",
        b"{}",
        b"\xff",
        b'{"error":null}',
        b'{"error":7}',
        b'{"error":{"message":7,"code":{}}}',
        b"[" * 9999,
    ],
)
def test_words_that_cannot_be_read(body: bytes) -> None:
    for dialect in (openai.CHAT, anthropic.MESSAGES):
        assert said(dialect, refused(500, body))[2]["error"]["message"] == "up answered 500: oops"


@pytest.mark.parametrize(
    "body", [b'{"error":"no"}', b'{"message":"no"}', b'{"detail":"no"}', b'[{"error":{"message":"no"}}]']
)
def test_other_shapes_of_errors(body: bytes) -> None:
    for dialect in (openai.CHAT, anthropic.MESSAGES):
        assert said(dialect, refused(400, body))[2]["error"]["message"] == "no"


def test_keepalives() -> None:
    assert openai.CHAT.keepalive == b": keepalive\n\n"
    assert anthropic.MESSAGES.keepalive == b'event: ping\ndata: {"type":"ping"}\n\n'
