"""What becomes of answers in ways that the clients' tests do not see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.translation import chunk, events, message, message_stream, stream, tool_delta

from mainspring.base.errors import ProviderProtocolError
from mainspring.ledger.types import Usage
from mainspring.providers.sse import ServerSentEvent, parse_events
from mainspring.providers.translate import translation
from mainspring.providers.types import Operation

ASKED = b'{"messages":[{"role":"user","content":"?"}]}'
TO_MESSAGES: Any = translation(Operation.CHAT, Operation.MESSAGES)
TO_CHAT: Any = translation(Operation.MESSAGES, Operation.CHAT)


def _documents(sse: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in parse_events(sse) if event.data != b"[DONE]"]


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons_of_anthropic(stop: str, finish: str) -> None:
    text = [{"type": "text", "text": "x"}]
    said = json.loads(TO_MESSAGES.response(json.dumps(message(text, stop)).encode(), requested=ASKED))
    assert said["choices"][0]["finish_reason"] == finish
    last = _documents(stream(TO_MESSAGES, ASKED, events(message_stream(text, stop))))[-1]
    assert last["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("finish", "calls", "stop"),
    [
        ("stop", False, "end_turn"),
        ("stop", True, "tool_use"),
        ("length", True, "max_tokens"),
        ("tool_calls", True, "tool_use"),
        ("content_filter", False, "refusal"),
        (None, False, "end_turn"),
        ("STOP", False, "end_turn"),
        ("SAFETY", False, "refusal"),
        ("content_filter: PROHIBITED_CONTENT", False, "refusal"),
        ("model_length", False, "max_tokens"),
        ("insufficient_system_resource", False, "max_tokens"),
        ("error", False, "max_tokens"),
        ("something_new", False, "end_turn"),
    ],
)
def test_finish_reasons_of_chat(finish: str | None, calls: bool, stop: str) -> None:
    delta = tool_delta(0, "{}", "a", "f") if calls else {"content": "x"}
    sse = stream(TO_CHAT, ASKED, events([chunk(delta), chunk({}, finish)]))
    assert [one["delta"]["stop_reason"] for one in _documents(sse) if one["type"] == "message_delta"] == [
        stop
    ]
    choice = {"index": 0, "message": {"role": "assistant", **delta}, "finish_reason": finish}
    whole = json.loads(TO_CHAT.response(json.dumps({"choices": [choice]}).encode(), requested=ASKED))
    assert whole["stop_reason"] == stop


def test_thinking_outside_of_the_completion_is_told_as_written() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    said = json.loads(TO_CHAT.response(body, requested=ASKED))["usage"]
    assert (said["input_tokens"], said["output_tokens"]) == (20, 603)
    assert said["output_tokens_details"] == {"thinking_tokens": 405}
    responses: Any = translation(Operation.RESPONSES, Operation.CHAT)
    said = json.loads(responses.response(body, requested=b'{"input":"?"}'))["usage"]
    assert (said["input_tokens"], said["output_tokens"], said["total_tokens"]) == (20, 603, 623)
    assert said["output_tokens_details"] == {"reasoning_tokens": 405}


@pytest.mark.parametrize("odd", [{"prompt_tokens": "7"}, [7]])
def test_an_odd_usage_costs_no_answer(odd: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    whole = TO_CHAT.response(json.dumps({"choices": [choice], "usage": odd}).encode(), requested=ASKED)
    assert json.loads(whole)["content"] == [{"type": "text", "text": "x"}]
    sse = stream(TO_CHAT, ASKED, events([chunk({"content": "x"}), chunk({}, "stop", usage=odd)]))
    assert [one["delta"].get("text") for one in _documents(sse) if one["type"] == "content_block_delta"] == [
        "x"
    ]


def test_a_compacted_conversation_comes_back_whole() -> None:
    start = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "compaction", "content": None},
    }
    delta = {"type": "compaction_delta", "content": "Summary.", "encrypted_content": "sealed"}
    provider = [
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": {"input_tokens": 1}}},
        start,
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        *message_stream([{"type": "text", "text": "x"}], "end_turn")[1:],
    ]
    told = _documents(stream(TO_MESSAGES, ASKED, events(provider)))
    carried = [one["choices"][0]["delta"].get("provider_specific_fields") for one in told]
    (fields,) = [one for one in carried if one]
    assert fields["anthropic_content"][0] == {
        "type": "compaction",
        "content": "Summary.",
        "encrypted_content": "sealed",
    }


def test_the_stop_sequence_is_kept_both_ways() -> None:
    body = message([{"type": "text", "text": "x"}], "stop_sequence", stop_sequence="END")
    said = TO_MESSAGES.response(json.dumps(body).encode(), requested=ASKED)
    assert json.loads(said)["choices"][0]["stop_reason"] == "END"
    back = json.loads(TO_CHAT.response(said, requested=ASKED))
    assert (back["stop_reason"], back["stop_sequence"]) == ("stop_sequence", "END")


def test_usage_is_told_only_to_those_who_asked() -> None:
    provider = events(message_stream([{"type": "text", "text": "x"}], "end_turn"))
    silent = _documents(stream(TO_MESSAGES, ASKED, provider))
    assert not any("usage" in one for one in silent)
    asked = b'{"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"?"}]}'
    told = _documents(stream(TO_MESSAGES, asked, provider))
    assert [one["usage"] for one in told[:-1]] == [None] * (len(told) - 1)
    assert (told[-1]["choices"], told[-1]["usage"]["total_tokens"]) == ([], 80)


def test_settled_usage_stands_in_for_what_the_provider_did_not_say() -> None:
    translated = TO_CHAT.stream(requested=ASKED)
    translated.feed(ServerSentEvent("message", json.dumps(chunk({"content": "x"}, "stop")).encode(), b""))
    documents = _documents(translated.end(Usage(input=5, cache_read=2, cache_write=1, output=3, reasoning=4)))
    assert documents[-2]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 2,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert documents[-1] == {"type": "message_stop"}


def test_nothing_terminal_before_the_end() -> None:
    translated = TO_MESSAGES.stream(requested=ASKED)
    fed = b"".join(
        translated.feed(one) for one in parse_events(events(message_stream([{"type": "text", "text": "x"}])))
    )
    assert b"[DONE]" not in fed
    assert translated.end(None) == b"data: [DONE]\n\n"
    translated = TO_CHAT.stream(requested=ASKED)
    fed = b"".join(
        translated.feed(one) for one in parse_events(events([chunk({"content": "x"}), chunk({}, "stop")]))
    )
    assert b"message_stop" not in fed
    assert b"message_delta" not in fed


def test_calls_of_servers_that_number_or_name_badly() -> None:
    same_index = [
        chunk(tool_delta(0, '{"a":1}', "x", "f")),
        chunk(tool_delta(0, '{"b":2}', "y", "g")),
        chunk({}, "stop"),
    ]
    started = [
        one["content_block"]
        for one in _documents(stream(TO_CHAT, ASKED, events(same_index)))
        if "content_block" in one
    ]
    assert [(block["id"], block["name"]) for block in started] == [("x", "f"), ("y", "g")]
    nameless = [
        chunk({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}),
        chunk({}, "tool_calls"),
    ]
    documents = _documents(stream(TO_CHAT, ASKED, events(nameless)))
    assert documents[1]["content_block"]["id"].startswith("call_")
    assert documents[2]["delta"]["partial_json"] == '{"a":1}'


def test_a_tool_call_without_arguments() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    documents = _documents(stream(TO_MESSAGES, ASKED, events(message_stream([block]))))
    pieces = [
        call["function"]["arguments"]
        for one in documents
        for call in one["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert "".join(pieces) == "{}"


def test_old_functions_are_answered_in_their_form() -> None:
    asked = b'{"messages":[{"role":"user","content":"?"}],"functions":[{"name":"f"}]}'
    body = message([{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}])
    choice = json.loads(TO_MESSAGES.response(json.dumps(body).encode(), requested=asked))["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert choice["finish_reason"] == "function_call"


def test_an_edited_answer_counts_as_edited() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    said = json.loads(TO_MESSAGES.response(json.dumps(message(blocks, "end_turn")).encode(), requested=ASKED))
    edited = {**said["choices"][0]["message"], "content": "edited"}
    request = {"messages": [{"role": "user", "content": "?"}, edited, {"role": "user", "content": "?"}]}
    turns = json.loads(TO_MESSAGES.request(json.dumps(request).encode(), "claude-opus-5"))["messages"]
    assert turns[1]["content"] == [{"type": "text", "text": "edited"}]


def test_pings_and_errors_say_nothing() -> None:
    translated = TO_MESSAGES.stream(requested=ASKED)
    for data in (
        b'{"type":"ping"}',
        b'{"type":"error","error":{"type":"overloaded_error"}}',
        b'{"type":"brand_new"}',
    ):
        assert translated.feed(ServerSentEvent("x", data, b"")) == b""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"choices":[]}', b'{"choices":5}', b"\xff", b'{"error":{"message":"x"}}']
)
def test_what_is_no_answer_is_a_protocol_error(body: bytes) -> None:
    for pair in (TO_CHAT, TO_MESSAGES):
        with pytest.raises(ProviderProtocolError):
            pair.response(body, requested=ASKED)
