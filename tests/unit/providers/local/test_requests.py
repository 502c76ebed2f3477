from __future__ import annotations

import json
from typing import Any

import pytest

from mainspring.base.errors import InvalidRequest
from mainspring.providers.local.requests import read_chat, read_completion

ASK = [{"role": "user", "content": "Hi"}]
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": True}},
    {"type": "function", "function": {"name": "weather"}},
]


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "small", "messages": ASK, **fields}).encode()


def completion(**fields: Any) -> bytes:
    return json.dumps({"model": "small", "prompt": "Once", **fields}).encode()


def test_known_fields_reach_the_engine_and_unknown_ones_do_not() -> None:
    asked = read_chat(
        chat(
            max_completion_tokens=5,
            max_tokens=9,
            temperature=0.5,
            stop="x",
            store=True,
            metadata={"a": "b"},
            wat=1,
        )
    )
    body = asked.bodies(template_has_tools=True)[0]
    assert body["max_tokens"] == 5
    assert (body["temperature"], body["stop"]) == (0.5, ["x"])
    assert body["stream"] is True
    assert not {"store", "metadata", "wat", "model"} & set(body)


def test_roles_and_parts_become_what_templates_know() -> None:
    asked = read_chat(
        chat(
            messages=[
                {
                    "role": "developer",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
                {"role": "assistant", "content": None},
                {"role": "user", "content": "c"},
            ]
        )
    )
    assert asked.messages == [
        {"role": "system", "content": "a\nb"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "c"},
    ]


def test_choices_are_asked_one_by_one_with_seeds_of_their_own() -> None:
    bodies = read_chat(chat(n=3, seed=-1)).bodies(template_has_tools=True)
    assert len({body["seed"] for body in bodies}) == 3
    assert all(0 <= body["seed"] < 2**31 for body in bodies)
    prompts = read_completion(completion(prompt=["a", [1, 2]], n=2)).bodies(template_has_tools=True)
    assert [body["prompt"] for body in prompts] == ["a", "a", [1, 2], [1, 2]]


def test_tool_choice() -> None:
    assert len(read_chat(chat(tools=TOOLS)).tools) == 2
    assert read_chat(chat(tools=TOOLS, tool_choice="none")).tools == []
    required = read_chat(chat(tools=TOOLS, tool_choice="required"))
    body = required.bodies(template_has_tools=True)[0]
    assert required.forced
    assert len(body["response_format"]["json_schema"]["schema"]["anyOf"]) == 2
    named = read_chat(chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}}))
    assert [tool["function"]["name"] for tool in named.tools] == ["weather"]
    body = named.bodies(template_has_tools=False)[0]
    assert "tools" not in body
    assert "# Tools" in body["messages"][0]["content"]
    assert body["response_format"]["json_schema"]["schema"]["properties"]["name"] == {"const": "weather"}


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": IMAGE}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": 3}, "stop"),
        ({"n": 17}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": "x"}}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "nobody"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_name_of_the_field(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_chat(chat(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"prompt": [1, 2], "echo": True}, "echo"),
    ],
)
def test_completions_refuse_alike(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_completion(completion(**fields))
    assert caught.value.param == param


def test_a_completion_has_sixteen_tokens_unless_told_otherwise() -> None:
    assert read_completion(completion()).sampling["max_tokens"] == 16


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b'{"messages": "\xff"}', b"[" * 100_000, b'{"a":"\\ud800"}']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_chat(body)
