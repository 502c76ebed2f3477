"""What the edge reads off a request before the gateway sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.base.errors import ClientGone, InvalidRequest
from mainspring.gateway import Envelope
from mainspring.web.asgi import AsgiSink, attribution, passed_on, secret_of
from mainspring.web.surfaces import SURFACES, meant_by, read_envelope

CHAT = SURFACES["/v1/chat/completions"]


def chat(**members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [], **members}).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"null", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b'{"model":"m","messages":[]} trailing', None),
        (b'{"model":"m","messages":' + b"[" * 100_000, None),
        (b'{"model":"m","messages":[],"x":"\xff"}', None),
        (b'\xef\xbb\xbf{"model":"m","messages":[]}', None),
        (b"{}", "model"),
        (chat(model=7), "model"),
        (chat(model=None), "model"),
        (chat(model="x" * 257), "model"),
        (chat(stream="yes"), "stream"),
        (chat(user=7), "user"),
        (chat(metadata=[]), "metadata"),
        (chat(stream_options=7), "stream_options"),
        (chat(stream_options={"include_usage": "yes"}), "stream_options"),
        (b'{"model":"m"}', "messages"),
        (chat(messages=None), "messages"),
    ],
)
def test_garbage_is_the_callers_fault(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_envelope(body, CHAT)
    assert (error.value.http_status, error.value.param) == (400, param)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("path", SURFACES)
def test_each_surface_needs_something(path: str) -> None:
    surface = SURFACES[path]
    assert read_envelope(json.dumps({"model": "m", surface.needs: "x"}).encode(), surface).model == "m"
    with pytest.raises(InvalidRequest) as error:
        read_envelope(b'{"model":"m"}', surface)
    assert error.value.param == surface.needs


@pytest.mark.parametrize("said", ["previous_response_id", "conversation", "prompt"])
def test_responses_without_an_input_may_go_on_from_what_the_provider_keeps(said: str) -> None:
    body = json.dumps({"model": "m", said: "kept-1"}).encode()
    assert read_envelope(body, SURFACES["/v1/responses"]).model == "m"
    with pytest.raises(InvalidRequest):
        read_envelope(body, CHAT)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:modelstra ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(read_envelope(body, CHAT), Envelope)


def envelope(**members: Any) -> Envelope:
    return read_envelope(chat(**members), CHAT)


def test_to_whom_an_answer_is_put_down() -> None:
    assert attribution({}, envelope()).user is None
    assert attribution({}, envelope(user="u")).user == "u"
    assert attribution({}, envelope(user="u", safety_identifier="s")).user == "s"
    assert attribution({b"x-mainspring-user": b"h"}, envelope(user="u", safety_identifier="s")).user == "h"
    body = envelope(metadata={"user_id": "m", "feature": "f", "session_id": "s", "team": "red", "n": 7})
    found = attribution({}, body)
    assert (found.user, found.feature, found.session, found.tags) == ("m", "f", "s", {"team": "red"})
    headers = {
        b"x-mainspring-feature": "fü".encode(),
        b"x-mainspring-session": b"",
        b"x-mainspring-tags": b"team=blue, a=b=c ,=x,y, z = 1",
    }
    found = attribution(headers, body)
    assert (found.feature, found.session) == ("fü", "s")
    assert found.tags == {"team": "blue", "a": "b=c", "z": "1"}


def test_names_have_limits() -> None:
    long = "x" * 9999
    found = attribution(
        {}, envelope(user=long, metadata={"feature": long, long: long, **{f"t{i}": "v" for i in range(99)}})
    )
    assert found.tags is not None
    assert (len(found.user or ""), len(found.feature or ""), len(found.tags)) == (256, 256, 32)
    assert all(len(key) <= 256 and len(value) <= 256 for key, value in found.tags.items())
    assert len(attribution({b"x-mainspring-user": long.encode()}, envelope()).user or "") == 256
    assert attribution({b"x-mainspring-user": b"\xff"}, envelope()).user == "\ufffd"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra", None),
        (b"garbage", None),
    ],
)
def test_traces(header: bytes, trace: str | None) -> None:
    assert attribution({b"traceparent": header}, envelope()).trace_id == trace


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, None),
        ({b"authorization": b"Bearer ms-1"}, "ms-1"),
        ({b"authorization": b"bearer  ms-1 "}, "ms-1"),
        ({b"x-api-key": b"ms-2"}, "ms-2"),
        ({b"authorization": b"Basic xyz", b"x-api-key": b"ms-2"}, "ms-2"),
        ({b"authorization": b"Bearer \xff"}, "ÿ"),
    ],
)
def test_keys(headers: dict[bytes, bytes], secret: str | None) -> None:
    assert secret_of(headers) == secret


def test_what_a_provider_gets_to_see() -> None:
    headers = dict.fromkeys(
        [b"anthropic-beta", b"traceparent", b"cookie", b"authorization", b"anthropic-version", b"host"], b"x"
    )
    assert passed_on(headers) == {"anthropic-beta": "x", "traceparent": "x"}


def receiving(*messages: Any) -> Any:
    waiting = list(messages)

    async def receive() -> Any:
        return waiting.pop(0)

    return receive


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_caller_who_left_is_gone_at_the_head_and_in_the_body() -> None:
    async def broken(_: Any) -> None:
        raise ConnectionResetError

    sink = AsgiSink(receiving(piece(b""), {"type": "http.disconnect"}), broken)
    with pytest.raises(ClientGone):
        await sink.start(200, [])
    with pytest.raises(ClientGone):
        await sink.write(b"x")
    left = asyncio.Event()
    sink.when_gone(left.set)
    async with sink:
        await asyncio.wait_for(left.wait(), 5)
    again = asyncio.Event()
    sink.when_gone(again.set)
    assert again.is_set()


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/v1/v1/messages", "Anthropic's one that does not"),
        ("/chat/completions", "a base_url that ends in /v1"),
        ("/messages/", "Anthropic's one that does not"),
        ("/v1/chat/completion", "Did you mean /v1/chat/completions?"),
        ("/v1/responses/", "Did you mean /v1/responses?"),
        ("/v1/images/generations", "The paths are /v1/chat/completions, "),
    ],
)
def test_a_wrong_path_is_told_what_it_probably_was_to_be(path: str, remedy: str) -> None:
    assert remedy in meant_by(path)
