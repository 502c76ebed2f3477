"""Nonsense on the protocol surfaces: never a 500, never silence, always an error in the caller's own dialect."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import RunningServer

#: More examples when there is time: FUZZ_EXAMPLES=5000 pytest tests/property
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
OPENAI = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
ANTHROPIC = ["/v1/messages", "/v1/messages/count_tokens"]
PATHS = OPENAI + ANTHROPIC
TARGETS = ["openai/test", "anthropic/test", "chatonly/test", "default"]

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The server is one for all examples, which is the point.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)

texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
#: Names that the surfaces know, so that the fuzz gets past the door.
known = st.sampled_from(
    [
        "model",
        "messages",
        "input",
        "prompt",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "max_tokens",
        "temperature",
        "stop",
        "n",
        "system",
        "metadata",
        "user",
        "thinking",
        "instructions",
        "text",
        "reasoning",
        "encoding_format",
        "dimensions",
        "previous_response_id",
        "store",
        "parallel_tool_calls",
        "max_output_tokens",
        "stop_sequences",
        "top_k",
        "output_config",
        "logprobs",
        "modalities",
        "audio",
    ]
)
parts = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [
                "text",
                "input_text",
                "output_text",
                "image_url",
                "image",
                "input_image",
                "tool_use",
                "tool_result",
                "thinking",
                "function_call",
                "function_call_output",
                "reasoning",
                "document",
                "refusal",
                "message",
            ]
        )
        | anything,
        "text": anything,
        "image_url": anything,
        "source": anything,
        "id": anything,
        "name": anything,
        "input": anything,
        "content": anything,
        "tool_use_id": anything,
        "call_id": anything,
        "arguments": anything,
        "output": anything,
    },
)
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "function"])
            | anything,
            "content": st.lists(parts, max_size=3) | anything,
            "tool_calls": anything,
            "tool_call_id": anything,
        },
    )
    | parts
    | anything,
    max_size=4,
)
tools = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["function", "web_search", "custom"]) | anything,
            "function": st.fixed_dictionaries({}, optional={"name": anything, "parameters": anything})
            | anything,
            "name": anything,
            "input_schema": anything,
            "parameters": anything,
        },
    )
    | anything,
    max_size=3,
)
bodies = st.dictionaries(known | texts, anything, max_size=6)
near_misses = st.fixed_dictionaries(
    {"model": st.sampled_from(TARGETS), "max_tokens": st.integers(1, 9) | anything},
    optional={
        "messages": messages,
        "input": messages | anything,
        "prompt": anything,
        "tools": tools,
        "tool_choice": anything,
        "response_format": anything,
        "stream": st.booleans() | anything,
        "stream_options": anything,
        "system": anything,
        "metadata": anything,
        "thinking": anything,
        "user": anything,
        "text": anything,
        "output_config": anything,
        "stop": anything,
        "instructions": anything,
    },
)


@pytest.fixture(scope="module")
def http(server: RunningServer, member_key: str) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {member_key}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def check(path: str, answer: httpx2.Response) -> None:
    """Never a failure of ours, and every error in the caller's dialect."""
    assert answer.status_code != 500, answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert "internal_error" not in answer.text
        assert "wrong inside Mainspring" not in answer.text
        return
    document = json.loads(answer.content)
    if answer.status_code >= 400:
        error = document["error"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        if path in ANTHROPIC:
            assert document["type"] == "error"
        else:
            assert set(error) == {"message", "type", "param", "code"}


@fuzz
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=200))
@example("/v1/messages", b"\xff\xfe{}")
@example("/v1/chat/completions", b'{"model":"default","messages":[{"role":"user","content":"\\ud800"}]}')
@example(
    "/v1/messages", b'{"model":"openai/test","max_tokens":5,"messages":[{"role":"user","content":"\\ud800"}]}'
)
@example("/v1/chat/completions", b'{"model":"default","model":"anthropic/test","messages":[]}')
def test_bytes(http: httpx2.Client, path: str, body: bytes) -> None:
    check(path, http.post(path, content=body, headers={"content-type": "application/json"}))


@fuzz
@given(path=st.sampled_from(PATHS), body=bodies | anything)
def test_documents(http: httpx2.Client, path: str, body: Any) -> None:
    check(path, http.post(path, content=_json(body), headers={"content-type": "application/json"}))


@settings(fuzz, max_examples=EXAMPLES * 2)
@given(path=st.sampled_from(PATHS), body=near_misses)
def test_near_misses(http: httpx2.Client, path: str, body: Any) -> None:
    check(path, http.post(path, content=_json(body), headers={"content-type": "application/json"}))


@fuzz
@given(path=st.sampled_from(PATHS), depth=st.integers(1, 30_000), opening=st.sampled_from(["[", '{"a":']))
def test_depth(http: httpx2.Client, path: str, depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    body = f'{{"model":"anthropic/test","max_tokens":5,"messages":{deep},"input":{deep},"tools":{deep}}}'
    check(path, http.post(path, content=body.encode(), headers={"content-type": "application/json"}))


@fuzz
@given(
    path=st.sampled_from(PATHS),
    model=st.text(max_size=60) | st.from_regex(r"[a-z]{1,8}/[^\n]{0,20}", fullmatch=True),
)
def test_models(http: httpx2.Client, path: str, model: str) -> None:
    body = {
        "model": model,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
        "input": "hi",
        "prompt": "hi",
    }
    answer = http.post(path, content=_json(body), headers={"content-type": "application/json"})
    check(path, answer)


@fuzz
@given(
    path=st.sampled_from(PATHS),
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    scheme=st.sampled_from(["Bearer ", "bearer ", "Basic ", "", "Bearer  "]),
    header=st.sampled_from(["authorization", "x-api-key"]),
)
def test_keys(server: RunningServer, path: str, key: str, scheme: str, header: str) -> None:
    value = ((scheme + key) if header == "authorization" else key).strip()
    answer = httpx2.post(
        server.url + path, json={"model": "default"}, headers={header: value}, trust_env=False
    )
    check(path, answer)
    assert answer.status_code == 401


@fuzz
@given(
    path=st.sampled_from(PATHS),
    name=st.sampled_from(
        [
            "x-mainspring-user",
            "x-mainspring-feature",
            "x-mainspring-session",
            "x-mainspring-tags",
            "traceparent",
            "anthropic-beta",
            "idempotency-key",
            "content-type",
            "accept",
            "anthropic-version",
            "x-stainless-retry-count",
        ]
    ),
    value=st.binary(max_size=60).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127).strip()),
)
def test_headers(http: httpx2.Client, path: str, name: str, value: bytes) -> None:
    body = {
        "model": "openai/test",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
        "input": "hi",
        "prompt": "hi",
    }
    check(path, http.post(path, content=_json(body), headers=[(name.encode(), value)]))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/models"])
def test_methods(http: httpx2.Client, path: str, method: str) -> None:
    answer = http.request(method, path)
    if path == "/v1/models" and method in {"GET", "HEAD"}:
        return
    assert answer.status_code in {204, 404, 405}, answer.text
    if method != "HEAD" and answer.status_code >= 400:
        check(path, answer)


@fuzz
@given(rest=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=30))
@example("../../etc/passwd")
@example("chat/completions/")
@example("%00")
@example("%ff%fe")
@example("messages/batches")
def test_paths(http: httpx2.Client, rest: str) -> None:
    answer = http.post(f"/v1/{rest}", json={})
    assert answer.status_code in {400, 401, 404, 405}, f"{answer.status_code} {answer.text}"


@fuzz
@given(data=st.binary(max_size=300))
@example(b"POST /v1/messages HTTP/1.1\r\ncontent-length: -1\r\n\r\n")
@example(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n")
@example(b"POST /v1/messages HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
@example(b"POST /v1/messages HTTP/9.9\r\n\r\n")
@example(b"BREW /v1/messages HTTP/1.1\r\n\r\n")
def test_raw_bytes_do_not_hurt(server: RunningServer, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert server.running


def test_afterwards_all_is_well(http: httpx2.Client, server: RunningServer) -> None:
    answer = http.post(
        "/v1/chat/completions", json={"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert answer.status_code == 200
    assert "Traceback" not in server.log()
    assert "unexpected_error" not in server.log()


def _json(document: Any) -> bytes:
    # Lone surrogates stay escapes: that is how they arrive in real life.
    return json.dumps(document).encode()
