"""Our own count of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mainspring.gateway.count import count_answer
from mainspring.providers.estimate import estimate_text

TEXT = "The quick brown fox jumps over the lazy dog."


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "ignored words here", "choices": [{"message": {"role": "assistant", "content": TEXT}}]},
        {"choices": [{"text": TEXT}]},
        {"type": "message", "content": [{"type": "text", "text": TEXT}]},
        {"content": [{"type": "thinking", "thinking": TEXT, "signature": "long signature of many letters"}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}]},
        {"choices": [{"message": {"tool_calls": [{"id": "call", "function": {"arguments": TEXT}}]}}]},
    ],
)
def test_whole_answers(body: Any) -> None:
    assert count_answer(json.dumps(body).encode(), stream=False) == estimate_text(TEXT)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda piece: {"choices": [{"delta": {"content": piece}}]},
        lambda piece: {"choices": [{"text": piece}]},
        lambda piece: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}},
        lambda piece: {"type": "content_block_delta", "delta": {"partial_json": piece}},
        lambda piece: {"type": "response.output_text.delta", "delta": piece},
    ],
)
def test_streams(wrap: Any) -> None:
    pieces = [TEXT[i : i + 5] for i in range(0, len(TEXT), 5)]
    stream = (
        sse({"choices": [{"delta": {"role": "assistant"}}]}, *map(wrap, pieces))
        + b": keepalive\n\ndata: [DONE]\n\n"
    )
    assert count_answer(stream, stream=True) == estimate_text(TEXT)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 9999, b'{"choices":7,"content":{"a":"b"}}']
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_cannot_be_read_counts_as_nothing(body: bytes, stream: bool) -> None:
    assert count_answer(b"data: " + body + b"\n\n" if stream and body else body, stream=stream) == 0
