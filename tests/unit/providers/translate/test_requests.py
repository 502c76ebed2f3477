"""What becomes of each field of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mainspring.base.errors import InvalidRequest
from mainspring.providers.translate import translation
from mainspring.providers.types import Operation

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHAT, MESSAGES, RESPONSES = Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES
COMPLETIONS = Operation.COMPLETIONS


def _made(
    client: Operation, provider: Operation, body: dict[str, Any], model: str = "claude-sonnet-4-6"
) -> dict[str, Any]:
    pair = translation(client, provider)
    assert pair is not None
    made = json.loads(pair.request(json.dumps(body).encode(), model))
    assert isinstance(made, dict)
    return made


def _over_messages(model: str = "claude-sonnet-4-6", **fields: Any) -> dict[str, Any]:
    return _made(CHAT, MESSAGES, {"model": "x", "messages": [USER], **fields}, model)


def _over_chat(model: str = "gpt-5", **fields: Any) -> dict[str, Any]:
    return _made(MESSAGES, CHAT, {"model": "x", "max_tokens": 9, "messages": [USER], **fields}, model)


def _responses(model: str = "llama", **fields: Any) -> dict[str, Any]:
    return _made(RESPONSES, CHAT, {"model": "x", "input": "hi", **fields}, model)


def test_only_pairs_that_differ_are_translated() -> None:
    assert translation(CHAT, CHAT) is None
    assert translation(MESSAGES, MESSAGES) is None
    assert translation(Operation.EMBEDDINGS, CHAT) is None
    assert translation(Operation.COUNT_TOKENS, CHAT) is None


class TestChatToMessages:
    def test_the_smallest_request(self) -> None:
        assert _over_messages() == {
            "model": "claude-sonnet-4-6",
            "max_tokens": 32_000,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        }

    def test_system_messages_are_hoisted(self) -> None:
        messages = [{"role": "system", "content": "a"}, USER, {"role": "developer", "content": "b"}]
        made = _over_messages(messages=messages)
        assert made["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        assert len(made["messages"]) == 1

    def test_a_lone_system_message_becomes_the_question(self) -> None:
        made = _over_messages(messages=[{"role": "system", "content": "Write a poem."}])
        assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Write a poem."}]}]
        assert "system" not in made

    def test_all_tool_results_stand_in_one_turn_before_the_text(self) -> None:
        calls = [
            {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            for name in ("a", "b")
        ]
        results = [{"role": "tool", "tool_call_id": name, "content": name} for name in ("a", "b")]
        made = _over_messages(
            messages=[USER, {"role": "assistant", "tool_calls": calls}, *results, USER], tools=[TOOL]
        )
        kinds = [block["type"] for block in made["messages"][2]["content"]]
        assert kinds == ["tool_result", "tool_result", "text"]

    def test_ids_and_arguments_that_anthropic_refuses_are_made_fit(self) -> None:
        call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
        result = {"role": "tool", "tool_call_id": "functions.f:0", "content": "ok"}
        turns = _over_messages(messages=[USER, {"role": "assistant", "tool_calls": [call]}, result])[
            "messages"
        ]
        use, done = turns[1]["content"][0], turns[2]["content"][0]
        assert use["id"] == done["tool_use_id"]
        assert use["id"].startswith("functions_f_0_")
        assert use["input"] == {"arguments": "{broken"}

    def test_tools_that_were_used_are_declared_even_if_none_is_offered(self) -> None:
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        made = _over_messages(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
        assert made["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
        assert made["tool_choice"] == {"type": "none"}

    def test_old_functions(self) -> None:
        asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}
        told = {"role": "function", "name": "f", "content": "ok"}
        made = _over_messages(
            messages=[USER, asked, told, asked, told],
            functions=[TOOL["function"]],
            function_call={"name": "f"},
        )
        ids = [
            turn["content"][0].get("id") or turn["content"][0]["tool_use_id"] for turn in made["messages"][1:]
        ]
        assert ids == ["call_f_1", "call_f_1", "call_f_2", "call_f_2"]
        assert made["tool_choice"] == {"type": "tool", "name": "f"}
        assert made["tools"][0]["name"] == "f"

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("auto", {"type": "auto"}),
            ("none", {"type": "none"}),
            ("required", {"type": "any"}),
            ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ],
    )
    def test_tool_choice(self, choice: Any, expected: dict[str, Any]) -> None:
        assert _over_messages(tools=[TOOL], tool_choice=choice)["tool_choice"] == expected

    def test_allowed_tools_leave_the_others_out(self) -> None:
        other = {"type": "function", "function": {"name": "g"}}
        allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
        made = _over_messages(
            tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}
        )
        assert [tool["name"] for tool in made["tools"]] == ["g"]
        assert made["tool_choice"] == {"type": "any"}

    def test_serial_calls(self) -> None:
        made = _over_messages(tools=[TOOL], parallel_tool_calls=False)
        assert made["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}

    def test_anthropic_tools_and_cache_marks_pass(self) -> None:
        native = {"type": "bash_20250124", "name": "bash"}
        marked = {**TOOL, "cache_control": {"type": "ephemeral"}}
        part = {"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
        made = _over_messages(tools=[native, marked], messages=[{"role": "user", "content": [part]}])
        assert made["tools"][0] == native
        assert made["tools"][1]["cache_control"] == {"type": "ephemeral"}
        assert made["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}

    def test_images_and_files(self) -> None:
        parts = [
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
            {"type": "file", "file": {"filename": "a.txt", "file_data": "QUJD"}},
            {"type": "file", "file": {"file_id": "file_1"}},
        ]
        blocks = _over_messages(messages=[{"role": "user", "content": parts}])["messages"][0]["content"]
        assert [block["source"] for block in blocks] == [
            {"type": "base64", "media_type": "image/jpeg", "data": "QUJD"},
            {"type": "url", "url": "https://x.test/a.png"},
            {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
            {"type": "text", "media_type": "text/plain", "data": "ABC"},
            {"type": "file", "file_id": "file_1"},
        ]
        assert blocks[2]["title"] == "a.pdf"

    @pytest.mark.parametrize(
        ("model", "thinking", "effort"),
        [
            ("claude-opus-4-8", {"type": "adaptive"}, "high"),
            ("claude-mythos-preview", {"type": "adaptive"}, "high"),
            ("claude-haiku-4-5-20251001", {"type": "enabled", "budget_tokens": 16_000}, None),
            ("claude-opus-4-20250514", {"type": "enabled", "budget_tokens": 16_000}, None),
            ("deepseek-v4", {"type": "enabled", "budget_tokens": 4096}, None),
            ("claude-3-5-sonnet-20241022", None, None),
        ],
    )
    def test_effort_by_model(self, model: str, thinking: Any, effort: str | None) -> None:
        made = _over_messages(model, reasoning_effort="high", temperature=0.5)
        assert made.get("thinking") == thinking
        assert made.get("output_config", {}).get("effort") == effort
        assert ("temperature" in made) == (thinking is None)

    def test_a_budget_is_not_asked_for_where_anthropic_would_refuse_it(self) -> None:
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        history = [
            USER,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ]
        assert "thinking" not in _over_messages(
            "claude-sonnet-4-5", messages=history, tools=[TOOL], reasoning_effort="low"
        )
        assert "thinking" not in _over_messages(
            "claude-sonnet-4-5", tools=[TOOL], tool_choice="required", reasoning_effort="low"
        )
        assert "thinking" not in _over_messages("claude-sonnet-4-5", reasoning_effort="low", max_tokens=500)

    def test_sampling(self) -> None:
        made = _over_messages(
            "claude-haiku-4-5", temperature=1.7, top_p=0.9, stop=["x", " "], seed=1, store=True
        )
        assert (made["temperature"], made["top_p"], made["stop_sequences"]) == (1, 0.9, ["x"])
        assert not {"seed", "store", "stop"} & made.keys()
        assert "temperature" not in _over_messages("claude-opus-5", temperature=0.5)

    def test_schema_is_made_enforceable(self) -> None:
        schema = {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 1, "description": "A."}},
        }
        made = _over_messages(
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        )
        assert made["output_config"]["format"] == {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "A.\n\n{minimum: 1}"}},
                "additionalProperties": False,
            },
        }

    def test_json_object_becomes_an_instruction(self) -> None:
        assert "JSON" in _over_messages(response_format={"type": "json_object"})["system"]

    def test_account(self) -> None:
        made = _over_messages(user="u", metadata={"a": "b"}, service_tier="flex")
        assert (made["metadata"], made["service_tier"]) == ({"user_id": "u"}, "standard_only")
        assert _over_messages(service_tier="fast")["speed"] == "fast"

    def test_unknown_fields_pass(self) -> None:
        assert _over_messages(mcp_servers=[{"a": 1}])["mcp_servers"] == [{"a": 1}]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 2}, "n"),
            ({"logprobs": True}, "logprobs"),
            ({"logit_bias": {"1": 5}}, "logit_bias"),
            ({"modalities": ["text", "audio"]}, "modalities"),
            ({"messages": []}, "messages"),
            (
                {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
                "messages[0].content[0].type",
            ),
            ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
            ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
            (
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}
                    ]
                },
                "messages[0].content[0].image_url.url",
            ),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            _over_messages(**fields)
        assert caught.value.param == param


class TestMessagesToChat:
    def test_limit_by_model(self) -> None:
        assert _over_chat("gpt-5")["max_completion_tokens"] == 9
        assert _over_chat("openai/o3-mini")["max_completion_tokens"] == 9
        assert _over_chat("llama-3.3-70b")["max_tokens"] == 9
        assert _over_chat("gpt-oss-20b")["max_tokens"] == 9

    def test_asking_for_usage_is_left_to_the_gateway(self) -> None:
        assert _over_chat(stream=True)["stream"] is True
        assert "stream_options" not in _over_chat(stream=True)

    def test_tool_results_with_images_and_errors(self) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
        blocks = [
            {"type": "tool_result", "tool_use_id": "a", "content": "no such file", "is_error": True},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "see"}, image]},
            {"type": "text", "text": "go on"},
        ]
        messages = _over_chat(messages=[{"role": "user", "content": blocks}])["messages"]
        assert messages[0] == {"role": "tool", "tool_call_id": "a", "content": "Error: no such file"}
        assert messages[1] == {"role": "tool", "tool_call_id": "b", "content": "see"}
        assert [part["type"] for part in messages[2]["content"]] == ["text", "image_url", "text"]

    def test_long_tool_names_are_cut_and_come_back(self) -> None:
        name = "mcp__" + "very_long_name_" * 6
        body = {
            "max_tokens": 9,
            "messages": [USER],
            "tools": [{"name": name, "input_schema": {"type": "object"}}],
        }
        made = _made(MESSAGES, CHAT, body)
        short = made["tools"][0]["function"]["name"]
        assert len(short) == 64
        call = {"id": "a", "type": "function", "function": {"name": short, "arguments": "{}"}}
        answer = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "stop"}]}
        pair = translation(MESSAGES, CHAT)
        assert pair is not None
        said = json.loads(pair.response(json.dumps(answer).encode(), requested=json.dumps(body).encode()))
        assert said["content"][0]["name"] == name
        assert said["stop_reason"] == "tool_use"

    def test_thinking_and_effort(self) -> None:
        assert _over_chat(thinking={"type": "enabled", "budget_tokens": 10_000})["reasoning_effort"] == "high"
        assert _over_chat(output_config={"effort": "max"})["reasoning_effort"] == "max"
        assert "reasoning_effort" not in _over_chat(thinking={"type": "adaptive"})
        assert "reasoning_effort" not in _over_chat("gpt-4o", output_config={"effort": "max"})

    def test_foreign_thinking_is_not_shown_to_another_model(self) -> None:
        blocks = [{"type": "thinking", "thinking": "t", "signature": "c2ln"}, {"type": "text", "text": "x"}]
        messages = _over_chat(messages=[USER, {"role": "assistant", "content": blocks}, USER])["messages"]
        assert messages[1] == {"role": "assistant", "content": "x"}

    def test_schema(self) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
        loose = _over_chat(output_config={"format": {"type": "json_schema", "schema": schema}})
        assert loose["response_format"]["json_schema"]["strict"] is False
        strict = {**schema, "required": ["a"]}
        made = _over_chat(output_format={"type": "json_schema", "schema": strict})
        assert made["response_format"]["json_schema"] == {"name": "answer", "schema": strict, "strict": True}

    def test_users_longer_than_openai_takes_become_a_digest(self) -> None:
        assert _over_chat(metadata={"user_id": "u"})["user"] == "u"
        assert len(_over_chat(metadata={"user_id": "u" * 200})["user"]) == 64

    def test_documents(self) -> None:
        pdf = {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
        }
        text = {
            "type": "document",
            "title": "T",
            "source": {"type": "text", "media_type": "text/plain", "data": "body"},
        }
        parts = _over_chat(messages=[{"role": "user", "content": [pdf, text]}])["messages"][0]["content"]
        assert parts[0] == {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        }
        assert parts[1] == {"type": "text", "text": "T\n\nbody"}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
            ({"mcp_servers": [{}]}, "mcp_servers"),
            ({"container": "c"}, "container"),
            (
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                        }
                    ]
                },
                "messages[0].content[0].source.type",
            ),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            _over_chat(**fields)
        assert caught.value.param == param


class TestResponses:
    def test_input_and_instructions(self) -> None:
        assert _responses(instructions="i", max_output_tokens=5) == {
            "model": "llama",
            "messages": [{"role": "system", "content": "i"}, USER],
            "max_tokens": 5,
        }

    def test_calls_join_the_message_before_them(self) -> None:
        items = [
            {"role": "developer", "content": "d"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
            {
                "type": "function_call_output",
                "call_id": "2",
                "output": [{"type": "input_image", "image_url": "https://x.test/a"}],
            },
        ]
        messages = _responses(input=items)["messages"]
        assert [one["role"] for one in messages] == ["system", "assistant", "tool", "tool", "user"]
        assert messages[1]["content"] == "a"
        assert [call["id"] for call in messages[1]["tool_calls"]] == ["1", "2"]

    def test_tools_format_and_reasoning(self) -> None:
        made = _responses(
            tools=[{"type": "function", "name": "f", "parameters": {}, "strict": True}],
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
            text={
                "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
            },
            reasoning={"effort": "low", "summary": "auto"},
            store=True,
            include=["reasoning.encrypted_content"],
            stream=True,
        )
        assert made["tools"] == [
            {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
        ]
        assert made["tool_choice"] == {"type": "function", "function": {"name": "f"}}
        assert made["response_format"]["json_schema"] == {
            "name": "n",
            "schema": {"type": "object"},
            "strict": True,
        }
        assert made["reasoning_effort"] == "low"
        assert not {"store", "include", "reasoning", "text", "reasoning_summary"} & made.keys()

    def test_a_summary_makes_anthropic_show_its_thinking(self) -> None:
        body = {"input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}
        made = _made(RESPONSES, MESSAGES, body)
        assert made["thinking"] == {"type": "adaptive", "display": "summarized"}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"background": True}, "background"),
            ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"input": 5}, "input"),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            _responses(**fields)
        assert caught.value.param == param


class TestCompletions:
    def test_probabilities(self) -> None:
        body = {"prompt": "a", "logprobs": 1}
        assert _made(COMPLETIONS, CHAT, body)["top_logprobs"] == 1
        tops = [{"token": "b", "logprob": -0.5}]
        probabilities = {"content": [{"token": "b", "logprob": -0.5, "top_logprobs": tops}]}
        answer = {
            "choices": [{"message": {"content": "b"}, "finish_reason": "stop", "logprobs": probabilities}]
        }
        pair = translation(COMPLETIONS, CHAT)
        assert pair is not None
        said = json.loads(pair.response(json.dumps(answer).encode(), requested=json.dumps(body).encode()))
        assert said["choices"][0]["logprobs"] == {
            "tokens": ["b"],
            "token_logprobs": [-0.5],
            "top_logprobs": [{"b": -0.5}],
            "text_offset": [0],
        }

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"prompt": ["a", "b"]}, "prompt"),
            ({"prompt": [1, 2]}, "prompt"),
            ({"suffix": "x"}, "suffix"),
            ({"n": 2}, "n"),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            _made(COMPLETIONS, CHAT, {"prompt": "a", **fields})
        assert caught.value.param == param
