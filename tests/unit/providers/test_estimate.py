"""Estimates of tokens. The expected numbers are what the o200k vocabulary gives for the same texts."""

from __future__ import annotations

import json

import pytest

from mainspring.providers.estimate import estimate_request, estimate_stream_text, estimate_text
from mainspring.providers.types import Operation

STORY = (
    "The old lighthouse keeper climbed the spiral staircase every evening, counting each of the one hundred and twelve "
    "steps under his breath. He didn't need to count them; he'd known the number for forty years. But the counting kept "
    "his mind from wandering to the sea, and to the boat that hadn't come home."
)
RUSSIAN = "Правительство объявило о новых мерах поддержки малого бизнеса, которые вступят в силу с начала следующего года."  # noqa: RUF001 - Cyrillic is meant
CHINESE = "政府周三宣布了一系列新的措施，旨在支持小型企业的发展。专家认为，这些措施将有助于保持就业稳定，但也警告说资金分配可能会出现延误。"  # noqa: RUF001 - full width is meant


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (STORY, 60),
        (RUSSIAN, 23),
        (CHINESE, 43),
        (json.dumps([{"id": f"call_{i}", "city": "Paris", "temp": 12.5} for i in range(20)]), 441),
        ("def f(x: int) -> int:\n    return x * 2 + len(some_value)\n" * 10, 210),
    ],
)
def test_close_to_a_real_tokenizer(text: str, tokens: int) -> None:
    assert estimate_text(text) == pytest.approx(tokens, rel=0.15)


def test_edges() -> None:
    assert estimate_text("") == 0
    assert estimate_text(" ") == 1
    assert estimate_stream_text(["hel", "lo wor", "ld"]) == estimate_text("hello world")


def test_requests_count_everything_that_the_model_reads() -> None:
    plain = {"messages": [{"role": "user", "content": STORY}]}
    base = estimate_request(Operation.CHAT, json.dumps(plain).encode())
    assert base == pytest.approx(estimate_text(STORY) + 7, abs=1)
    tools = [{"name": "f", "description": STORY, "input_schema": {"type": "object"}}]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}}
    for more in (
        {**plain, "tools": tools},
        {**plain, "system": STORY},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": STORY}, image]}]},
    ):
        assert base + 40 < estimate_request(Operation.MESSAGES, json.dumps(more).encode()) < base + 2000
    assert estimate_request(Operation.COUNT_TOKENS, json.dumps(plain).encode()) == base
    asked = {"input": STORY, "instructions": STORY}
    assert estimate_request(Operation.RESPONSES, json.dumps(asked).encode()) > 2 * estimate_text(STORY)
    assert estimate_request(Operation.EMBEDDINGS, json.dumps({"input": [STORY, STORY]}).encode()) > 100


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"messages":5}', b'{"messages":[5,null,{"content":{"a":[]}}]}', b"\xff"]
)
def test_nonsense_counts_as_next_to_nothing(body: bytes) -> None:
    assert estimate_request(Operation.MESSAGES, body) < 30
