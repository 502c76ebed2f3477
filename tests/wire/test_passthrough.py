"""Where client and provider speak one dialect, bytes pass as they are: wire detail 7, and what goes upstream beside the body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.provider.behaviour import Behaviour
from tests.support.provider.http import answer_bytes, stream_bytes

from mainspring.providers.translate.carry import seal

if TYPE_CHECKING:
    import httpx2
    from tests.support.provider_server import ProviderServer

#: Bodies as people send them: odd spaces, escapes, numbers and fields that nobody knows.
ODD = {
    "/v1/chat/completions": rb"""{ "messages":[{"content":"MARK caf\u00e9 \/ \ud83d\ude00 \"model\": \"x\"","role":"user"}],
  "x_new" : {"model":"inner", "deep":[1.0, 1e5,-0, 12345678901234567890123, {"b":null}]},	"model" :  "openai/odd"  , "temperature":0.70,"n":1}""",
    "/v1/completions": rb'{"prompt":"MARK {\"model\":1}", "model":"openai/odd","x":[ ]}',
    "/v1/responses": rb'{"input":[{"role":"user","content":"MARK"}],"model": "openai/odd","store":false, "x":1.10}',
    "/v1/embeddings": rb'{"input":["MARK","b\u0000c"],"model":"openai/odd","x":{"model":"y"}}',
    "/v1/messages": rb'{"max_tokens":9,"messages":[{"role":"user","content":"MARK"}],"model":"anthropic/odd","top_k":4.0, "x":{}}',
    "/v1/messages/count_tokens": rb'{"messages":[{"role":"user","content":"MARK"}],"model":"anthropic/odd", "x" : [1 ,2]}',
}


@pytest.mark.parametrize("path", list(ODD))
def test_wire_07_request_is_byte_exact_but_for_the_model(
    http: httpx2.Client, provider: ProviderServer, path: str
) -> None:
    mark = f"exact request {path}"
    body = ODD[path].replace(b"MARK", mark.encode())
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    sent = provider.requests(mark)[0].body
    assert sent == body.replace(b'"openai/odd"', b'"odd"').replace(b'"anthropic/odd"', b'"odd"')


@pytest.mark.parametrize("model_first", [True, False])
def test_wire_07_a_name_that_only_looks_like_the_model_is_left_alone(
    http: httpx2.Client, provider: ProviderServer, *, model_first: bool
) -> None:
    mark = f"lookalike {model_first}"
    messages = (
        b'"messages":[{"role":"user","content":"%b","model":"openai/odd"}],"\\u006dodel2":"openai/odd"'
        % mark.encode()
    )
    model = b'"model":"openai/odd"'
    body = b"{" + (model + b"," + messages if model_first else messages + b"," + model) + b"}"
    assert http.post("/v1/chat/completions", content=body).status_code == 200
    expected = json.loads(body) | {"model": "odd"}
    assert provider.requests(mark)[0].document() == expected


@pytest.mark.parametrize("path", list(ODD))
def test_wire_07_answer_is_byte_exact(http: httpx2.Client, path: str) -> None:
    provider_name = "anthropic" if "messages" in path else "openai"
    traits = "odd+unknown+reasoning=3"
    document = json.loads(ODD[path]) | {"model": traits}
    answer = http.post(path, json=document | {"model": f"{provider_name}/{traits}"})
    assert answer.content == answer_bytes(path, document, Behaviour.parse(traits))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_wire_07_stream_is_byte_exact(http: httpx2.Client, path: str) -> None:
    provider_name = "anthropic" if "messages" in path else "openai"
    traits = "odd+unknown"
    document = json.loads(ODD[path]) | {"model": traits, "stream": True}
    if path == "/v1/chat/completions":
        document["stream_options"] = {"include_usage": True}
    answer = http.post(path, json=document | {"model": f"{provider_name}/{traits}"})
    assert answer.content == stream_bytes(path, document, Behaviour.parse(traits))


def test_what_another_provider_had_sealed_in_a_conversation_is_left_out(
    http: httpx2.Client, provider: ProviderServer
) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": seal({"field": "reasoning_content"})}
    text = {"type": "text", "text": "Yes."}
    question, again = {"role": "user", "content": "sealed?"}, {"role": "user", "content": "unsealed?"}
    turns = [question, {"role": "assistant", "content": [thought, text]}, again]
    answer = http.post("/v1/messages", json={"model": "anthropic/odd", "max_tokens": 99, "messages": turns})
    assert answer.status_code == 200
    sent = provider.requests("unsealed?")[0].document()["messages"]
    assert sent == [question, {"role": "assistant", "content": [text]}, again]


def test_wire_07_options_of_a_stream_keep_what_else_is_in_them(
    http: httpx2.Client, provider: ProviderServer
) -> None:
    body = b'{"model":"openai/odd","stream":true,"stream_options":{"x":1.50},"messages":[{"role":"user","content":"options"}]}'
    assert http.post("/v1/chat/completions", content=body).status_code == 200
    assert provider.requests('"options"')[0].document()["stream_options"] == {"x": 1.5, "include_usage": True}


def test_headers_that_go_upstream(http: httpx2.Client, provider: ProviderServer, member_key: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {
        "anthropic-beta": "beta-1,beta-2",
        "anthropic-version": "2023-06-01",
        "idempotency-key": "once",
        "traceparent": trace,
        "cookie": "private=1",
        "x-mainspring-user": "ann",
    }
    body = {
        "model": "anthropic/test",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "headers up"}],
    }
    assert http.post("/v1/messages", json=body, headers=headers).status_code == 200
    received = provider.requests("headers up")[0]
    assert received.header("anthropic-beta") == "beta-1,beta-2"
    assert received.header("idempotency-key") == "once"
    assert (received.header("traceparent") or "").split("-")[1] == trace.split("-")[1]
    assert received.header("x-api-key") == "sk-upstream-anthropic"
    everything = repr(received.headers)
    assert member_key not in everything
    assert "private=1" not in everything
    assert "x-mainspring" not in everything


def test_a_header_in_several_lines_goes_upstream_whole(http: httpx2.Client, provider: ProviderServer) -> None:
    body = {
        "model": "anthropic/test",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "two lines"}],
    }
    headers = [("anthropic-beta", "beta-1"), ("x-other", "x"), ("anthropic-beta", "beta-2,beta-3")]
    assert http.post("/v1/messages", json=body, headers=headers).status_code == 200
    assert provider.requests("two lines")[0].header("anthropic-beta") == "beta-1, beta-2,beta-3"
