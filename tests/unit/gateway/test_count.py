"""Our own count of an answer."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from mainspring.gateway.count import count_answer, count_cut
from mainspring.providers.estimate import estimate_text

TEXT = "The quick brown fox jumps over the lazy dog."
ODD = f'{TEXT} "Żółw" said\n\\é \U0001f600.'


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


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"role": "assistant", "content": TEXT}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"arguments": TEXT}}]}}]},
        {"type": "message", "content": [{"type": "text", "text": TEXT}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}]},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_beginning_of_a_whole_answer(body: Any, ascii_only: bool) -> None:
    data = (
        json.dumps(body, ensure_ascii=ascii_only)
        .replace(TEXT, json.dumps(ODD, ensure_ascii=ascii_only)[1:-1])
        .encode()
    )
    counts = [count_cut(data[:end]) for end in range(len(data) + 1)]
    assert counts[0] == 0
    assert counts[-1] == estimate_text(ODD)
    # Wherever it breaks, in the middle of a character or of an escape too, it is about as much as came.
    assert all(after >= before - 1 for before, after in itertools.pairwise(counts))


def test_what_is_no_beginning_of_an_answer_counts_as_nothing() -> None:
    for body in (b"", b"<html>", b"\xff", b'{"data":[{"embedding":[0.1,', b'{"id":"content\\":\\"abc'):
        assert count_cut(body) == 0
