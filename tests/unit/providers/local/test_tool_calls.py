from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.providers.local.toolcalls import ToolCall, ToolCallReader, as_text, forced_schema

NAMES = {"weather", "add"}
CASES = {
    '{"name": "add", "arguments": {"a": 1}}': [("add", '{"a": 1}')],
    '```json\n{"name": "add", "arguments": {"a": "}"}}\n```': [("add", '{"a": "}"}')],
    '<tool_call>\n{"name":"add","arguments":{}}\n</tool_call>\n<tool_call>{"name":"weather"}</tool_call>': [
        ("add", "{}"),
        ("weather", "{}"),
    ],
    'Sure.\n```json\n{"name": "add", "arguments": {}}\n```\nDone, I think.': [
        "Sure.\n",
        ("add", "{}"),
        "Done, I think.",
    ],
    '[{"name":"add","parameters":{}},{"name":"weather","arguments":{"city":"Zürich"}}]': [
        ("add", "{}"),
        ("weather", '{"city": "Zürich"}'),
    ],
    'x\n  {"name":"add"}\n{"name":"weather"}': ["x\n", ("add", "{}"), ("weather", "{}")],
    'text <tool_call>{"name":"add","arguments":"{\\"q\\":1}"}': ["text ", ("add", '{"q": 1}')],
    '{"type":"function","function":{"name":"add","arguments":{"z":1}}} \n\n': [("add", '{"z": 1}')],
    '{"name":"unknown","arguments":{}}': ['{"name":"unknown","arguments":{}}'],
    '{"name":"add","arguments":[1]}': ['{"name":"add","arguments":[1]}'],
    '[{"name":"add"},{"name":"unknown"}]': ['[{"name":"add"},{"name":"unknown"}]'],
    '{"x":1}': ['{"x":1}'],
    '```python\nprint({"name": "add"})\n```\nok': ['```python\nprint({"name": "add"})\n```\nok'],
    "[link](x)\n- {a}\n{}\n": ["[link](x)\n- {a}\n{}\n"],
    "a < b and <tool": ["a < b and <tool"],
    '{"name": "add", "arguments": {"a"': ['{"name": "add", "arguments": {"a"'],
    "": [],
}


def read(pieces: list[str], *, single: bool = False) -> list[str | tuple[str, str]]:
    reader = ToolCallReader(NAMES, single=single)
    found: list[str | ToolCall] = []
    for piece in pieces:
        found += reader.feed(piece)
    found += reader.end()
    merged: list[str | tuple[str, str]] = []
    for part in found:
        last = merged[-1] if merged else None
        if isinstance(part, ToolCall):
            assert part.id.startswith("call_")
            merged.append((part.name, part.arguments))
        elif isinstance(last, str):
            merged[-1] = last + part
        else:
            merged.append(part)
    return merged


@pytest.mark.parametrize("text", CASES)
def test_calls_of_offered_tools_are_found_and_all_else_stays_text(text: str) -> None:
    assert read([text]) == CASES[text]


@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 80)))
def test_how_the_text_is_cut_into_pieces_does_not_matter(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert read(pieces) == CASES[text]


@given(st.lists(st.text(alphabet='ab \n{}[]<>`"tool_call:,jsn', max_size=12)))
def test_text_without_a_call_comes_through_whole(pieces: list[str]) -> None:
    assert "".join(str(part) for part in read(pieces)) == "".join(pieces)


def test_plain_text_is_not_held_back() -> None:
    reader = ToolCallReader(NAMES)
    assert reader.feed("The answer") == ["The answer"]
    assert reader.feed(" is 5.") == [" is 5."]


def test_only_the_first_call_counts_when_one_is_wanted() -> None:
    assert read(['{"name":"add"}\n{"name":"weather"}'], single=True) == [("add", "{}")]


def test_a_forced_schema_carries_definitions_to_its_root() -> None:
    parameters = {
        "type": "object",
        "properties": {"point": {"$ref": "#/$defs/Point"}},
        "$defs": {"Point": {"properties": {"next": {"$ref": "#/$defs/Point"}}}},
    }
    tools = [
        {"type": "function", "function": {"name": "add", "parameters": parameters}},
        {"type": "function", "function": {"name": "weather"}},
    ]
    schema = forced_schema(tools)
    assert [one["properties"]["name"] for one in schema["anyOf"]] == [{"const": "add"}, {"const": "weather"}]
    arguments = schema["anyOf"][0]["properties"]["arguments"]
    assert arguments["properties"] == {"point": {"$ref": "#/$defs/tool0_Point"}}
    assert schema["$defs"]["tool0_Point"]["properties"] == {"next": {"$ref": "#/$defs/tool0_Point"}}
    assert parameters["$defs"]["Point"]["properties"] == {"next": {"$ref": "#/$defs/Point"}}


def test_a_conversation_with_tools_becomes_text_for_a_template_that_knows_none() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    told = as_text(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "7"},
        ],
        tools,
    )
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert told[0]["content"].startswith("Be brief.\n\n# Tools")
    assert told[2]["content"] == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert told[3]["content"] == "<tool_response>\n7\n</tool_response>"
