"""What is read off a request when routing asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.gateway import ScriptedProvider, bench

from mainspring.gateway.plan import RequestNeeds
from mainspring.providers.types import Operation

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


async def needs(operation: Operation = Operation.CHAT, **body: Any) -> RequestNeeds:
    async with bench(ScriptedProvider("one", [])) as made:
        return RequestNeeds(made.exchange("one/m", operation=operation, **body))


def said(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({}, set()),
        ({"tools": [TOOL]}, {"tools"}),
        ({"tools": []}, set()),
        ({"tools": None}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"messages": said([IMAGE])}, {"vision"}),
        ({"messages": said([{"type": "image", "source": {"type": "base64", "data": ""}}])}, {"vision"}),
        ({"input": said([{"type": "input_image", "image_url": "x"}])}, {"vision"}),
        ({"messages": said('{"type":"image_url"} is how an image is sent')}, set()),
        ({"messages": said([{"type": "text", "text": "an image, image_url"}])}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, {"json_schema"}),
        ({"output_config": {"format": {"type": "json_schema"}}}, {"json_schema"}),
        ({"messages": said('"type":"json_schema"')}, set()),
        ({"tools": [TOOL], "messages": said([IMAGE])}, {"tools", "vision"}),
    ],
)
async def test_kinds(body: dict[str, Any], kinds: set[str]) -> None:
    asked = await needs(**body)
    assert asked.kinds == kinds
    assert asked.kinds is asked.kinds, "worked out once"


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_output_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": {"a": 1}}, None),
    ],
)
async def test_the_length_of_the_answer(body: dict[str, Any], tokens: int | None) -> None:
    assert (await needs(**body)).output_tokens == tokens


async def test_embeddings_have_no_answer_in_tokens() -> None:
    assert (await needs(Operation.EMBEDDINGS, input="x", max_tokens=5)).output_tokens == 0


async def test_tokens() -> None:
    text = await needs(messages=said("word " * 1000))
    assert text.most_input_tokens == text.size > text.input_tokens
    assert text.rough_input_tokens == text.size // 4
    assert 0.5 < text.rough_input_tokens / text.input_tokens < 2
    pictures = await needs(messages=said([IMAGE] * 10))
    assert pictures.most_input_tokens > pictures.size
    assert pictures.rough_input_tokens == pictures.input_tokens > 10_000


async def test_whose_it_is() -> None:
    asked = await needs(metadata={"plan": "pro"})
    assert (asked.tenant, asked.user, asked.feature) == ("", "ann", None), "it is not authenticated yet"
    assert asked.metadata == {"plan": "pro"}
    assert asked.tags == {}
