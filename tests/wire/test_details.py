"""The twelve wire details that every gateway gets wrong somewhere, one named test (or a few) for each."""

from __future__ import annotations

import gzip
import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.conversations import sse, user

if TYPE_CHECKING:
    import httpx2
    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
dialects = pytest.mark.parametrize("path", [CHAT, MESSAGES])


def ask(model: str, text: str = "hi", **fields: Any) -> dict[str, Any]:
    """A body that is good in both dialects."""
    return {"model": model, "max_tokens": 500, "messages": user(text), **fields}


@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
@dialects
def test_wire_01_events_arrive_at_once_and_uncompressed(
    http: httpx2.Client, provider: ProviderServer, path: str, provider_name: str
) -> None:
    mark = f"at once {path} {provider_name}"
    body = ask(f"{provider_name}/t+words=6+gap=0.1", mark, stream=True)
    text = b""
    with http.stream("POST", path, json=body, headers={"accept-encoding": "gzip, br"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
        assert "no-cache" in answer.headers["cache-control"]
        upstream = provider.requests(mark)[0]
        for data in answer.iter_raw():
            if b"w1" in data:
                assert upstream.finished_at is None, "held back until the upstream was done"
            text += data
    events = sse(text)
    if path == CHAT:
        assert text.endswith(b"data: [DONE]\n\n")
        assert all(name is None for name, _ in events)
    else:
        assert text.endswith(b"\n\n")
        assert all(name == data["type"] for name, data in events)
        assert events[-1][0] == "message_stop"


@dialects
@pytest.mark.parametrize(
    "traits", ["split=1", "split=7", "burst", "crlf", "crlf+split=5", "framing=close", "blank=no"]
)
@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
def test_wire_01_framing_of_the_upstream_does_not_matter(
    http: httpx2.Client, path: str, provider_name: str, traits: str
) -> None:
    plain = http.post(path, json=ask(f"{provider_name}/t", "caf\u00e9 \U0001f600", stream=True))
    other = http.post(path, json=ask(f"{provider_name}/t+{traits}", "caf\u00e9 \U0001f600", stream=True))
    assert _text(path, other.content) == _text(path, plain.content) == "You said: caf\u00e9 \U0001f600"


@dialects
@pytest.mark.parametrize("place", ["pause", "silence"])
def test_wire_02_keepalive_while_the_upstream_is_silent(http: httpx2.Client, path: str, place: str) -> None:
    answer = http.post(path, json=ask(f"openai/t+{place}=0.9", stream=True))
    sign = ": keepalive\n\n" if path == CHAT else "event: ping\n"
    before_content = answer.text.partition("said")[0]
    assert before_content.count(sign) >= 2
    assert _text(path, answer.content) == "You said: hi"


@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "traits", ["cut=content", "eof=content", "eof=content+blank=no", "error=content", "hang=content"]
)
@dialects
def test_wire_03_errors_after_the_head_go_in_band(
    http: httpx2.Client, server: RunningServer, path: str, traits: str, provider_name: str
) -> None:
    answer = http.post(path, json=ask(f"{provider_name}/t+words=9+gap=0.01+{traits}", stream=True))
    assert answer.status_code == 200
    events = sse(answer.content)
    if path == CHAT:
        problem = [data["error"] for _, data in events if data != "[DONE]" and "error" in data]
        assert set(problem[0]) >= {"message", "type", "param", "code"}
        assert ("[DONE]" in [data for _, data in events]) is False
        assert not any(c.get("finish_reason") for _, data in events for c in data.get("choices", []))
    else:
        assert events[-1][0] == "error"
        assert events[-1][1]["type"] == "error"
        assert set(events[-1][1]["error"]) >= {"type", "message"}
        assert "message_stop" not in [name for name, _ in events]
    row = server.row(answer.headers["x-request-id"])
    assert row["status"] == 200
    assert row["cut"] is True
    assert row["error"]


def _be_well(http: httpx2.Client) -> None:
    """Let the first target of the pair, which has failed on purpose in other tests, be asked first again."""
    # It must not seem broken, nor may the route have used up its extra calls.
    for model in ["openai/pair-first"] * 3 + ["pair"] * 6:
        assert http.post(CHAT, json=ask(model)).status_code == 200


@dialects
@pytest.mark.parametrize("traits", ["error=start", "cut=start", "eof=start", "cut=headers", "status=503"])
def test_wire_04_failover_until_the_first_content(
    http: httpx2.Client, provider: ProviderServer, server: RunningServer, path: str, traits: str
) -> None:
    _be_well(http)
    # Twice: a connection that breaks before any answer may be tried again at the same target, once.
    provider.script("pair-first", *[traits] * (2 if traits == "cut=headers" else 1))
    answer = http.post(path, json=ask("pair", stream=True))
    assert _text(path, answer.content) == "You said: hi"
    assert "error" not in answer.text
    row = server.row(answer.headers["x-request-id"])
    *failed, last = row["attempts"]
    assert {(a["provider"], a["outcome"] == "ok") for a in failed} == {("openai", False)}
    assert (last["provider"], last["outcome"], row["provider"]) == ("anthropic", "ok", "anthropic")


@dialects
def test_wire_04_no_splice_after_content(http: httpx2.Client, provider: ProviderServer, path: str) -> None:
    _be_well(http)
    mark = f"no splice {path}"
    provider.script("pair-first", "words=9+cut=content")
    answer = http.post(path, json=ask("pair", mark, stream=True))
    assert "error" in answer.text
    assert len(provider.requests(mark)) == 1


def test_wire_05_usage_is_always_asked_for_and_taken_out(
    http: httpx2.Client, provider: ProviderServer, server: RunningServer
) -> None:
    answer = http.post(CHAT, json=ask("openai/test", "usage asked", stream=True))
    asked = provider.requests("usage asked")[0].document()
    assert asked["stream_options"]["include_usage"] is True
    chunks = [data for _, data in sse(answer.content) if data != "[DONE]"]
    assert all(chunk.get("usage") is None and chunk["choices"] for chunk in chunks)
    row = server.row(answer.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (20, 4, "provider")


@dialects
@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
def test_wire_05_a_cut_stream_is_counted_by_us(
    http: httpx2.Client, server: RunningServer, path: str, provider_name: str
) -> None:
    answer = http.post(path, json=ask(f"{provider_name}/t+words=40+cut=content", stream=True))
    row = server.row(answer.headers["x-request-id"])
    assert row["usage_source"] == "estimated"
    assert row["input_tokens"] > 0
    assert 0 < row["output_tokens"] < 40


@pytest.mark.parametrize("stream", [False, True])
@dialects
@pytest.mark.parametrize("provider_name", ["openai", "anthropic"])
def test_wire_05_missing_usage_is_estimated(
    http: httpx2.Client, server: RunningServer, path: str, provider_name: str, *, stream: bool
) -> None:
    answer = http.post(path, json=ask(f"{provider_name}/t+words=40+usage=none", stream=stream))
    assert answer.status_code == 200
    row = server.row(answer.headers["x-request-id"])
    assert (row["usage_source"], row["cut"]) == ("estimated", False)
    assert 10 <= row["output_tokens"] <= 120


@pytest.mark.parametrize("stream", [False, True])
@dialects
@pytest.mark.parametrize(("provider_name", "written"), [("openai", 0), ("anthropic", 5)])
def test_wire_06_exclusive_buckets_and_exact_money(
    http: httpx2.Client,
    server: RunningServer,
    provider: ProviderServer,
    path: str,
    provider_name: str,
    *,
    written: int,
    stream: bool,
) -> None:
    provider.script("priced", f"words=10+cached=8+reasoning=6+written={written}")
    answer = http.post(path, json=ask(f"{provider_name}/priced", stream=stream))
    row = server.row(answer.headers["x-request-id"])
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    assert [row[name] for name in names] == [20, 8, written, 10, 6]
    # 1 USD a million in, a tenth of that cached, 1.25 written, 2 out (thinking too).
    nano = 20 * 1000 + 8 * 100 + written * 1250 + 16 * 2000
    assert Decimal(str(row["cost_usd"])) == Decimal(nano) / 1_000_000_000
    if not stream:
        assert Decimal(answer.headers["x-mainspring-cost-usd"]) == Decimal(nano) / 1_000_000_000
        usage = answer.json()["usage"]
        if path == CHAT:
            assert usage["prompt_tokens"] == 28 + written
            assert usage["prompt_tokens_details"]["cached_tokens"] == 8
            assert usage["completion_tokens"] == 16
        else:
            assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (
                20,
                8,
                16,
            )


def test_wire_06_an_unknown_price_is_null(http: httpx2.Client, server: RunningServer) -> None:
    answer = http.post(CHAT, json=ask("openai/no-such-price"))
    assert server.row(answer.headers["x-request-id"])["cost_usd"] is None
    assert not answer.headers.get("x-mainspring-cost-usd")


@pytest.mark.parametrize(
    ("path", "status", "traits"),
    [
        (CHAT, 429, "status=429+retry_after=3"),
        (MESSAGES, 429, "status=429+retry_after=3"),
        # Overload has a status of its own in each dialect.
        (CHAT, 503, "status=529"),
        (CHAT, 503, "status=503+retry_after=3"),
        (MESSAGES, 529, "status=529"),
        (MESSAGES, 529, "status=503+retry_after=3"),
    ],
)
def test_wire_08_refusals_keep_status_and_retry_after(
    http: httpx2.Client, path: str, status: int, traits: str
) -> None:
    answer = http.post(path, json=ask(f"openai/{path[4]}+{traits}"))
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("3" if "retry_after" in traits else None)
    assert answer.headers.get("x-should-retry") != "false"


@dialects
def test_wire_08_denials_say_not_to_retry(http: httpx2.Client, server: RunningServer, path: str) -> None:
    narrow = server.create_key("narrow", models=["default"])
    for key, model, status in [
        ("ms-wrong", "default", 401),
        (narrow, "openai/test", 403),
        (None, "nowhere", 404),
    ]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = http.post(path, json=ask(model), headers=headers)
        assert answer.status_code == status
        assert answer.headers["x-should-retry"] == "false"
        _assert_error_shape(path, answer)


@dialects
@pytest.mark.parametrize("stream", [False, True])
def test_wire_08_too_long_a_context_is_not_tried_again(
    http: httpx2.Client, provider: ProviderServer, path: str, *, stream: bool
) -> None:
    _be_well(http)
    mark = f"too long {path} {stream}"
    provider.script("pair-first", "status=400+code=context")
    answer = http.post(path, json=ask("pair", mark, stream=stream))
    assert answer.status_code == 400
    assert len(provider.requests(mark)) == 1
    error = answer.json()["error"]
    assert "context" in error["message"]
    if path == CHAT:
        assert error["code"] == "context_length_exceeded"


@dialects
def test_wire_10_timeouts_are_apart(http: httpx2.Client, provider: ProviderServer, path: str) -> None:
    # Refused connections, a silent head, a silent middle, and an answer that takes too long in all.
    refused = http.post(path, json=ask("away/test"))
    assert refused.status_code == 502
    provider.script("quick-first", "hang=headers")
    provider.script("quick-second", "")
    second = http.post(path, json=ask("quick", stream=True))
    assert _text(path, second.content) == "You said: hi", "the second target answers in time"
    provider.script("quick-first", "hang=content+words=9")
    idle = http.post(path, json=ask("quick", stream=True))
    assert "error" in idle.text
    provider.script("quick-first", "words=600+gap=0.1")
    started = time.monotonic()
    total = http.post(path, json=ask("quick", stream=True))
    assert "error" in total.text
    assert time.monotonic() - started < 20, "600 words take a minute, the route allows three seconds"


@dialects
@pytest.mark.parametrize("stream", [False, True])
def test_wire_10_one_budget_for_all_attempts(
    http: httpx2.Client, provider: ProviderServer, path: str, *, stream: bool
) -> None:
    provider.script("quick-first", "hang=headers")
    provider.script("quick-second", "hang=headers")
    started = time.monotonic()
    answer = http.post(path, json=ask("quick", stream=stream))
    assert time.monotonic() - started < 15
    if answer.status_code == 200:
        # A keepalive had to go out, so the error follows in-band.
        assert stream
        assert "error" in answer.text
    else:
        assert answer.status_code == 504
        _assert_error_shape(path, answer)


@dialects
def test_wire_11_large_bodies(http: httpx2.Client, provider: ProviderServer, path: str) -> None:
    large = http.post(path, json=ask("openai/test", "x" * (31 * 2**20)), timeout=60)
    assert large.status_code == 200
    assert len(provider.received[-1].body) > 31 * 2**20
    provider.received.clear()
    refused = http.post(path, json=ask("openai/test", "x" * (33 * 2**20)), timeout=60)
    assert refused.status_code == 413
    _assert_error_shape(path, refused)


@dialects
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b'{"model": 7, "messages": []}',
        b'{"messages": []}',
        b'{"model": "openai/test", "messages": [' + b"[" * 200_000 + b"]" * 200_000 + b"]}",
        b'{"model": "openai/test", "messages": "\xff\xfe"}',
        b'{"model": "openai/test\xc3", "messages": []}',
        b'{"model": "openai/test", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    ],
    ids=[
        "empty",
        "open",
        "word",
        "list",
        "text",
        "null",
        "number",
        "no model",
        "deep",
        "utf8",
        "utf8 model",
        "surrogate",
    ],
)
def test_wire_11_broken_bodies_are_400(http: httpx2.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    _assert_error_shape(path, answer)


@dialects
def test_wire_11_a_compressed_body_is_called_by_its_name(http: httpx2.Client, path: str) -> None:
    body = gzip.compress(json.dumps(ask("openai/test")).encode())
    answer = http.post(path, content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert "compressed with 'gzip'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("OPTIONS", MESSAGES, "POST"),
        ("HEAD", CHAT, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
    ],
)
def test_wire_11_another_method_is_told_which_one_it_is(
    http: httpx2.Client, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "dialect", "rest"),
    [
        (CHAT, "openai.chat", {"messages": user("hi")}),
        ("/v1/completions", "openai.completions", {"prompt": "hi"}),
        ("/v1/responses", "openai.responses", {"input": "hi"}),
        ("/v1/embeddings", "openai.embeddings", {"input": "hi"}),
        (MESSAGES, "anthropic.messages", {"messages": user("hi"), "max_tokens": 9}),
        ("/v1/messages/count_tokens", "anthropic.count_tokens", {"messages": user("hi")}),
    ],
)
def test_wire_12_every_route_is_limited_and_metered(
    http: httpx2.Client, server: RunningServer, path: str, dialect: str, rest: dict[str, Any]
) -> None:
    narrow = server.create_key("narrow", models=["openai/test"])
    refused = http.post(
        path, json={"model": "openai/other", **rest}, headers={"authorization": f"Bearer {narrow}"}
    )
    assert refused.status_code == 403
    assert (
        http.post(path, json={"model": "openai/test", **rest}, headers={"authorization": ""}).status_code
        == 401
    )
    model = "anthropic/test" if dialect == "anthropic.count_tokens" else "openai/test"
    answer = http.post(path, json={"model": model, **rest}, headers={"x-mainspring-feature": "metered"})
    assert answer.status_code == 200, answer.text
    row = server.row(answer.headers["x-request-id"])
    assert (row["dialect"], row["tenant"], row["feature"], row["status"]) == (dialect, "acme", "metered", 200)
    assert row["input_tokens"] == (0 if dialect == "anthropic.count_tokens" else 20)
    assert row["first_token_ms"] is None or row["first_token_ms"] <= row["latency_ms"]


def _text(path: str, stream: bytes) -> str:
    """The text of a raw stream of either dialect."""
    text = ""
    for _, data in sse(stream):
        if path == CHAT:
            text += (
                "".join(c["delta"].get("content") or "" for c in data["choices"]) if data != "[DONE]" else ""
            )
        elif data["type"] == "content_block_delta":
            text += data["delta"].get("text", "")
    return text


def _assert_error_shape(path: str, answer: Any) -> None:
    document = json.loads(answer.content)
    assert answer.headers["content-type"].startswith("application/json")
    if path == CHAT:
        assert set(document["error"]) == {"message", "type", "param", "code"}
    else:
        assert document["type"] == "error"
        assert set(document["error"]) >= {"type", "message"}
        assert document["request_id"] == answer.headers["x-request-id"]
