from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mainspring.web.console.assembly import assemble
from mainspring.web.console.blocks import decode, pretty
from mainspring.web.console.conversation import fit, images, read_answer, read_request

PNG = "data:image/png;base64,aGVsbG8="
WORDS = [
    "messages",
    "role",
    "content",
    "type",
    "text",
    "choices",
    "delta",
    "message",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "index",
    "output",
    "input",
    "data",
    "error",
    "code",
    "response",
    "item",
    "content_block",
    "thinking",
    "partial_json",
    "source",
    "image_url",
    "url",
    "system",
    "tools",
    "usage",
    "embedding",
]
TYPES = [
    "text",
    "image",
    "tool_use",
    "tool_result",
    "function_call",
    "reasoning",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "response.created",
    "response.output_item.done",
    "response.output_text.delta",
    "thinking",
    "image_url",
    "document",
    "refusal",
]
#: Documents that are made of the words of the dialects, put together in every wrong way.
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(TYPES)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)


def request(**document: Any) -> Any:
    return read_request(json.dumps(document).encode())


def said(conversation: Any) -> list[tuple[str, str, str]]:
    return [(turn.role, part.kind, part.text) for turn in conversation.turns for part in turn.parts]


def sse(*events: Any) -> bytes:
    return (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )


def test_a_chat_request() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}
    found = request(
        model="m",
        temperature=0.5,
        tools=[{"type": "function", "function": {"name": "find", "description": "Finds."}}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": PNG}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
    )
    assert said(found) == [
        ("system", "text", "Be brief."),
        ("user", "text", "Hi"),
        ("user", "image", PNG),
        ("assistant", "tool_call", '{\n  "a": 1\n}'),
        ("tool", "tool_result", "42"),
    ]
    assert found.settings == [("temperature", "0.5")]
    assert found.tools == [("find", "Finds.")]


def test_an_anthropic_request() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "is_error": True,
        "content": [{"type": "text", "text": "no"}],
    }
    found = request(
        system=[{"type": "text", "text": "Be brief."}],
        messages=[
            {"role": "user", "content": [image]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "find", "input": {}}]},
            {"role": "user", "content": [result]},
        ],
        tools=[{"name": "find", "description": "Finds."}],
    )
    assert said(found) == [
        ("system", "text", "Be brief."),
        ("user", "image", PNG),
        ("assistant", "tool_call", "{}"),
        ("user", "tool_result", "no"),
    ]
    assert images(json.dumps({"messages": [{"role": "user", "content": [image]}]}).encode()) == {
        "1": ("image/png", "aGVsbG8=")
    }


def test_requests_of_responses_completions_and_embeddings() -> None:
    items = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_file", "filename": "a.pdf"}],
        },
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c", "name": "find", "arguments": "{"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
    ]
    assert said(request(instructions="Be brief.", input=items)) == [
        ("system", "text", "Be brief."),
        ("user", "text", "Hi"),
        ("user", "note", "a.pdf"),
        ("assistant", "thinking", "Hm."),
        ("assistant", "tool_call", "{"),
        ("tool", "tool_result", "42"),
    ]
    assert said(request(prompt="Once")) == [("user", "text", "Once")]
    assert said(request(input=["a", "b"])) == [("user", "text", "a"), ("user", "text", "b")]


def test_a_chat_stream_is_put_together() -> None:
    def chunk(delta: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta}]}

    first = {"index": 0, "id": "c1", "function": {"name": "find", "arguments": '{"a"'}}
    second = {"index": 1, "id": "c2", "function": {"name": "look", "arguments": ""}}
    whole = assemble(
        sse(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({"tool_calls": [first]}),
            chunk({"tool_calls": [second]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
            {"choices": [], "usage": {}},
        )
    )
    assert said(read_answer(whole)) == [
        ("assistant", "thinking", "Hm"),
        ("assistant", "text", "Hello"),
        ("assistant", "tool_call", '{\n  "a": 1\n}'),
        ("assistant", "tool_call", ""),
    ]


def test_an_anthropic_stream_is_put_together_and_an_error_after_it_kept() -> None:
    whole = assemble(
        sse(
            {"type": "message_start", "message": {}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "thinking", "thinking": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "Hm"},
            },
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "tool_use", "id": "t", "name": "find"},
            },
            {
                "type": "content_block_delta",
                "index": 2,
                "delta": {"type": "input_json_delta", "partial_json": '{"a":'},
            },
            {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy"}},
        )
    )
    assert said(read_answer(whole)) == [
        ("assistant", "thinking", "Hm"),
        ("assistant", "text", "Hello"),
        ("assistant", "tool_call", '{"a":'),
    ]
    assert whole["broken"]["message"] == "Too busy"


def test_a_responses_stream_is_read_from_its_end_or_from_its_pieces() -> None:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "Hel"}
    done = {"type": "response.completed", "response": {"output": [message]}}
    assert said(read_answer(assemble(sse({"type": "response.created"}, delta, done)))) == [
        ("assistant", "text", "Hello")
    ]
    assert said(read_answer(assemble(sse({"type": "response.created"}, delta)))) == [
        ("assistant", "text", "Hel")
    ]


def test_whole_answers_and_errors() -> None:
    assert said(read_answer({"choices": [{"text": "Once"}]})) == [("assistant", "text", "Once")]
    assert said(read_answer({"data": [{"embedding": [1, 2, 3]}]})) == [
        ("embedding", "note", "1 vector of 3 dimensions")
    ]
    assert said(read_answer({"error": {"message": "No", "code": "x"}})) == [("error", "note", "No")]
    assert said(read_answer({"content": [{"type": "text", "text": "Hi"}], "role": "assistant"})) == [
        ("assistant", "text", "Hi")
    ]
    assert said(read_answer({"odd": 1})) == [("assistant", "json", '{"odd":1}')]


def test_what_a_page_cannot_bear_is_cut_and_counted() -> None:
    messages = [
        {"role": "system", "content": "S"},
        *({"role": "user", "content": "x" * 500} for _ in range(40)),
    ]
    cut = fit(request(messages=messages), 3000, 100)
    assert cut.turns[0].role == "system"
    assert cut.skipped == 41 - len(cut.turns) > 0
    assert all(part.hidden == 400 for turn in cut.turns[1:] for part in turn.parts)
    assert fit(request(messages=messages[:3]), 3000).skipped == 0


@given(DOCUMENTS)
def test_nothing_that_a_payload_holds_breaks_a_page(document: Any) -> None:
    body = json.dumps(document).encode()
    fit(read_request(body), 100, 10)
    read_answer(decode(body))
    images(body)
    pretty(body)


@given(st.lists(DOCUMENTS, max_size=6), st.integers(0, 40))
def test_nothing_that_a_stream_holds_breaks_a_page(events: list[Any], lost: int) -> None:
    read_answer(assemble(sse(*events)[: -lost or None]))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_json_are_shown_as_they_are(body: bytes) -> None:
    read_request(body)
    pretty(body)
    assemble(b"data: " + body)


def test_a_document_nested_beyond_reason_is_no_conversation() -> None:
    deep = b"[" * 100_000
    assert decode(deep) is None
    assert read_request(deep).turns
