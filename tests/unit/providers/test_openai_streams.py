"""What is read off streams of the OpenAI wire, and what of them reaches the caller, however they arrive."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.base.errors import ProviderProtocolError, ProviderRefused
from mainspring.ledger.types import Usage
from mainspring.providers.openai_answers import read_answer
from mainspring.providers.openai_streams import ChatScanner, ResponsesScanner
from mainspring.providers.sse import EventSplitter
from mainspring.providers.types import Operation, Seen

TRAPS = [
    "usage",
    '"usage":null',
    "error",
    '{"error":{}}',
    "finish_reason",
    "[DONE]",
    "data: [DONE]",
    "message_",
    "\r\n\r\n",
    "é\U0001f600",
    "",
]
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
BUCKETS = Usage(input=70, cache_read=30, output=30, reasoning=20)


def chunk(
    *, delta: Any = None, finish: str | None = None, usage: Any = ..., choices: bool = True
) -> dict[str, Any]:
    made: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "model": "m-1"}
    made["choices"] = [{"index": 0, "delta": delta or {}, "finish_reason": finish}] if choices else []
    if usage is not ...:
        made["usage"] = usage
    return made


deltas = st.sampled_from(TRAPS).map(lambda text: {"content": text}) | st.sampled_from(TRAPS).map(
    lambda text: {
        "tool_calls": [{"index": 0, "function": {"arguments": json.dumps({"usage": text, "error": text})}}]
    }
)


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[dict[str, Any] | str], Any]:
    """The events of a chat (a text is a comment), and the usage that it ends with."""
    nulls = draw(st.booleans())
    interim = {"usage": None} if nulls else {}
    events: list[dict[str, Any] | str] = [
        {**chunk(delta={"role": "assistant", "content": "", "refusal": None}), **interim}
    ]
    events += [{**chunk(delta=delta), **interim} for delta in draw(st.lists(deltas, min_size=1, max_size=6))]
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), ": keepalive")
    events.append({**chunk(finish="stop"), **interim})
    usage = draw(st.sampled_from([None, USAGE]))
    if usage is not None and draw(st.booleans()):
        events[-1]["usage"] = usage  # type: ignore[index] # the last one is a chunk
    elif usage is not None:
        events.append(chunk(usage=usage, choices=False))
    return events, usage


def encode(events: list[dict[str, Any] | str], *, spaced: bool, crlf: bool) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    lines = [e if isinstance(e, str) else f"data: {json.dumps(e, separators=separators)}" for e in events]
    end = "\r\n" if crlf else "\n"
    return "".join(f"{line}{end}{end}" for line in [*lines, "data: [DONE]"]).encode()


def scan(scanner: Any, data: bytes, places: list[int]) -> bytes:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    splitter, out = EventSplitter(), b""
    for start, end in itertools.pairwise(ends):
        if events := splitter.feed(data[start:end]):
            out += scanner.feed(events)
    assert splitter.rest() == b""
    return out


def documents(stream: bytes) -> list[Any]:
    events = stream.replace(b"\r\n", b"\n").split(b"\n\n")
    return [json.loads(event.removeprefix(b"data: ")) for event in events if event.startswith(b"data: ")]


@settings(deadline=None)
@given(chats(), st.lists(st.integers(0, 5000), max_size=12), st.booleans(), st.booleans(), st.booleans())
def test_any_chunking_gives_what_a_naive_reader_finds(
    chat: tuple[list[dict[str, Any] | str], Any], places: list[int], strip: bool, spaced: bool, crlf: bool
) -> None:
    events, usage = chat
    data = encode(events, spaced=spaced, crlf=crlf)
    scanner = ChatScanner("up", strip_usage=strip)
    out = scan(scanner, data, places)

    assert scanner.seen.usage == (BUCKETS if usage else None)
    assert scanner.seen.finish_reason == "stop"
    assert scanner.seen.model == "m-1"
    assert scanner.seen.finished
    assert scanner.seen.error is None
    texts = [e["choices"][0]["delta"] for e in events if isinstance(e, dict) and e["choices"]]
    assert scanner.seen.content == any(d.get("content") or d.get("tool_calls") for d in texts)
    assert scanner.terminal() == b"data: [DONE]\n\n"
    if not strip:
        assert out == data[: data.index(b"data: [DONE]" + (b"\r\n" if crlf else b"\n"))]
        return
    wanted = [
        {k: v for k, v in e.items() if k != "usage"}
        for e in events
        if isinstance(e, dict) and (e["choices"] or not e.get("usage"))
    ]
    got = documents(out)
    assert [{k: v for k, v in e.items() if k != "usage"} for e in got] == wanted
    assert not any(e.get("usage") for e in got)
    assert spaced or not any("usage" in e for e in got)
    assert out.count(b": keepalive") == events.count(": keepalive")


def one(event: dict[str, Any], *before: dict[str, Any], strip: bool = False) -> Seen:
    scanner = ChatScanner("up", strip_usage=strip)
    for item in (*before, event):
        scanner.feed(f"data: {json.dumps(item, separators=(',', ':'))}\n\n".encode())
    return scanner.seen


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": "", "refusal": None}, False),
        ({"role": "assistant", "content": None, "tool_calls": [], "audio": {}}, False),
        ({"content": "x"}, True),
        ({"content": [{"type": "text", "text": "x"}]}, True),
        ({"reasoning_content": "x"}, True),
        ({"reasoning": "x"}, True),
        ({"refusal": "x"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"function_call": {"name": "f"}}, True),
        (None, False),
    ],
)
def test_what_counts_as_content(delta: Any, content: bool) -> None:
    assert one(chunk(delta=delta)).content is content


def test_an_empty_finish_reason_is_none() -> None:
    seen = one(chunk(delta={"content": "x"}, finish=""))
    assert (seen.finished, seen.finish_reason) == (False, None)


def test_several_choices_are_complete_when_all_of_them_are() -> None:
    def event(index: int, text: str = "", finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
        return f"data: {json.dumps({'choices': [choice]}, separators=(',', ':'))}\n\n".encode()

    scanner = ChatScanner("up", strip_usage=True)
    finished = []
    for one_event in (
        event(0, "a") + event(1, "b"),
        event(2, "c"),
        event(0, finish="stop"),
        event(1, finish="length"),
        event(2, "d"),
        event(2, finish="stop"),
        event(2, ""),
    ):
        scanner.feed(one_event)
        finished.append(scanner.seen.finished)
    assert finished == [False, False, False, False, False, True, True]


def test_legacy_completions() -> None:
    text = {"model": "m", "choices": [{"index": 0, "text": "hello", "finish_reason": None}]}
    assert one(text).content
    assert not one(text).finished


@pytest.mark.parametrize(
    ("event", "status", "kind"),
    [
        ({"error": {"message": "slow", "type": "rate_limit_error", "code": None}}, 429, "rate_limit_error"),
        ({"error": {"message": "slow", "code": 503, "type": "api_error"}}, 503, "api_error"),
        ({"error": {"message": "long", "code": "context_length_exceeded"}}, 400, "context_length_exceeded"),
        ({"error": "slow"}, 502, None),
        (
            {"object": "error", "message": "slow", "type": "BadRequestError", "code": 400},
            400,
            "BadRequestError",
        ),
        ({"error": {"message": {"odd": 1}, "code": [], "type": {}}}, 502, None),
        ({"error": True}, 502, None),
    ],
)
@pytest.mark.parametrize("before", [(), (chunk(delta={"content": "x"}),)])
def test_errors_inside(event: Any, status: int, kind: str | None, before: tuple[Any, ...]) -> None:
    seen = one(event, *before)
    assert seen.error is not None
    assert (seen.error.upstream_status, seen.error.upstream_type) == (status, kind)


def test_nothing_counts_after_an_error() -> None:
    scanner = ChatScanner("up", strip_usage=False)
    first = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    out = scanner.feed(first + b'data: {"error":{"message":"no"}}\n\n' + first + b"data: [DONE]\n\n")
    assert out == first
    assert not scanner.seen.finished


@pytest.mark.parametrize(
    "garbage", [b"data: {\n\n", b"data: \xff\n\n", b"data: [1]\n\n", b"data: " + b"[" * 9999 + b"\n\n"]
)
def test_garbage(garbage: bytes) -> None:
    for scanner in (ChatScanner("up", strip_usage=True), ResponsesScanner("up")):
        with pytest.raises(ProviderProtocolError, match="up sent"):
            scanner.feed(garbage)


def test_odd_framing() -> None:
    scanner = ChatScanner("up", strip_usage=True)
    event = b'event: x\nid: 4\ndata:{"choices":[{"delta":\ndata:{"content":"x"}}],"usage":{"prompt_tokens":1}}\n\n'
    out = scanner.feed(b": hi\n\nevent: ping\n\n" + event + b"data:[DONE]\n\n")
    assert scanner.seen.usage == Usage(input=1)
    assert scanner.seen.content
    assert b"usage" not in out
    assert out.startswith(b": hi\n\nevent: ping\n\n")


def test_usage_shapes() -> None:
    def usage(**fields: Any) -> Usage | None:
        return one(chunk(usage=fields, choices=False)).usage

    assert usage(prompt_tokens=5, completion_tokens=2) == Usage(input=5, output=2)
    assert usage(prompt_tokens=5, completion_tokens=2, prompt_cache_hit_tokens=4) == Usage(
        input=1, cache_read=4, output=2
    )
    impossible = usage(prompt_tokens=5, completion_tokens=2, prompt_tokens_details={"cached_tokens": 9})
    assert impossible == Usage(input=0, cache_read=5, output=2)
    assert usage(prompt_tokens=5, completion_tokens=2, completion_tokens_details=None) == Usage(
        input=5, output=2
    )


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        # xAI: 10120 prompt + 1499 completion + 2809 reasoning = 14428 total, all of it billed
        (
            {
                "prompt_tokens": 10120,
                "completion_tokens": 1499,
                "total_tokens": 14428,
                "prompt_tokens_details": {"cached_tokens": 128},
                "completion_tokens_details": {"reasoning_tokens": 2809},
            },
            Usage(input=9992, cache_read=128, output=1499, reasoning=2809),
        ),
        # Gemini: what was thought stands in the total alone
        (
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            Usage(input=20, output=198, reasoning=405),
        ),
        (
            {
                "prompt_tokens": 21,
                "completion_tokens": 0,
                "total_tokens": 81,
                "completion_tokens_details": {"reasoning_tokens": 60},
            },
            Usage(input=21, reasoning=60),
        ),
        # a total that is too small says nothing
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 3}, Usage(input=5, output=2)),
    ],
)
def test_thinking_that_is_no_part_of_the_completion(said: dict[str, Any], usage: Usage) -> None:
    assert one(chunk(usage=said, choices=False)).usage == usage
    body = json.dumps({"choices": [{"finish_reason": "stop"}], "usage": said}).encode()
    assert read_answer("up", Operation.CHAT, body).usage == usage


@pytest.mark.parametrize("odd", [{"prompt_tokens": 7.5}, {"prompt_tokens": "7"}, [7], "7"])
def test_an_odd_usage_costs_no_answer(odd: Any) -> None:
    body = json.dumps({"model": "m", "choices": [{"finish_reason": "stop"}], "usage": odd}).encode()
    read = read_answer("up", Operation.CHAT, body)
    assert (read.usage, read.finish_reason, read.model) == (None, "stop", "m")
    seen = one({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": odd})
    assert (seen.usage, seen.finish_reason, seen.content) == (None, "stop", True)
    with pytest.raises(ProviderProtocolError):
        read_answer("up", Operation.CHAT, b'{"choices":7,"usage":[7]}')


def response_event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


ANSWER = {"id": "r", "status": "completed", "model": "m-1", "error": None}
WIRE_USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens_details": {"reasoning_tokens": 20},
}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*TRAPS, "response.completed"]), max_size=5),
    st.lists(st.integers(0, 5000), max_size=12),
    st.sampled_from(["completed", "incomplete"]),
)
def test_responses_whatever_the_chunking(texts: list[str], places: list[int], end: str) -> None:
    created = response_event("response.created", response={**ANSWER, "status": "in_progress"})
    body = b"".join(response_event("response.output_text.delta", delta=text) for text in texts)
    reason = {"incomplete_details": {"reason": "max_output_tokens"}} if end == "incomplete" else {}
    last = response_event(
        f"response.{end}", response={**ANSWER, "status": end, "usage": WIRE_USAGE, **reason}
    )
    scanner = ResponsesScanner("up")
    assert scan(scanner, created + body + last, places) == created + body
    assert scanner.terminal() == last
    assert scanner.seen.usage == BUCKETS
    assert scanner.seen.finish_reason == ("max_output_tokens" if reason else "completed")
    assert scanner.seen.finished
    assert scanner.seen.content == bool(texts)
    assert scanner.seen.model == "m-1"


@pytest.mark.parametrize(
    "last",
    [
        response_event(
            "response.failed",
            response={"status": "failed", "error": {"code": "server_error", "message": "x"}},
        ),
        response_event("error", code="server_error", message="x"),
        b'data: {"type": "error", "error": {"type": "server_error", "message": "x"}}\n\n',
    ],
)
def test_responses_errors_inside(last: bytes) -> None:
    delta = response_event("response.output_text.delta", delta="x")
    for before in (b"", delta, delta + delta):
        scanner = ResponsesScanner("up")
        scanner.feed(delta)
        assert scanner.feed(before + last + delta) == before
        assert scanner.seen.error is not None
        assert scanner.seen.error.upstream_status == 500


@pytest.mark.parametrize(
    ("operation", "body", "seen"),
    [
        (
            Operation.CHAT,
            {"model": "m", "choices": [{"finish_reason": "length"}], "usage": USAGE},
            ("length", BUCKETS),
        ),
        (Operation.COMPLETIONS, {"choices": [{"text": "x"}]}, (None, None)),
        (Operation.EMBEDDINGS, {"data": [], "usage": {"prompt_tokens": 3}}, (None, Usage(input=3))),
        (Operation.EMBEDDINGS, {"data": [], "usage": {"total_tokens": 3}}, (None, Usage(input=3))),
        (Operation.RESPONSES, {**ANSWER, "usage": WIRE_USAGE}, ("completed", BUCKETS)),
    ],
)
def test_whole_answers(operation: Operation, body: Any, seen: tuple[Any, Any]) -> None:
    read = read_answer("up", operation, json.dumps(body).encode())
    assert (read.finish_reason, read.usage) == seen
    assert read.finished


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.EMBEDDINGS, Operation.RESPONSES])
def test_whole_answers_that_are_none(operation: Operation) -> None:
    for body in (b"", b"[]", b"{}", b"null", b"<html>", b"\xff", b'{"x":' + b"[" * 9999, b'{"choices":3}'):
        with pytest.raises(ProviderProtocolError):
            read_answer("up", operation, body)
    with pytest.raises(ProviderRefused) as error:
        read_answer("up", operation, b'{"error":{"message":"x","code":"rate_limit_exceeded"}}')
    assert error.value.upstream_status == 429


@pytest.mark.parametrize(
    ("code", "status"),
    [("server_error", 500), ("rate_limit_exceeded", 429), ("invalid_prompt", 400), ("odd", 502)],
)
def test_a_response_that_has_failed(code: str, status: int) -> None:
    failed = {"status": "failed", "error": {"code": code, "message": "x"}, "output": []}
    with pytest.raises(ProviderRefused) as error:
        read_answer("up", Operation.RESPONSES, json.dumps(failed).encode())
    scanner = ResponsesScanner("up")
    scanner.feed(response_event("response.failed", response=failed))
    assert scanner.seen.error is not None
    assert error.value.upstream_status == scanner.seen.error.upstream_status == status
