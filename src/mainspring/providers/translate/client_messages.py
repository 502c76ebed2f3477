"""A caller that speaks Anthropic's messages.

What becomes of each field of a messages request:

| field | in chat |
|-|-|
| `system`, `messages` | messages; a turn with tool results becomes several; `cache_control` and `citations` are left out |
| `max_tokens` | `max_completion_tokens` or `max_tokens`, as the model takes it |
| `temperature`, `top_p`, `stream` | the same; `top_k` is left out: OpenAI's protocol does not know it |
| `stop_sequences` | `stop` |
| `tools`, `tool_choice` | the same; tools that Anthropic's servers run are refused |
| `tool_choice.disable_parallel_tool_use` | `parallel_tool_calls` false |
| `output_config.format`, `output_format` | `response_format`; strict where OpenAI can be strict about the schema |
| `output_config.effort`, `thinking` | `reasoning_effort`; thinking without budget or effort leaves it to the provider |
| `metadata.user_id` | `user`; a digest of it where it is longer than OpenAI takes |
| `service_tier`, `speed` | `service_tier` default (standard_only), fast (fast) |
| `mcp_servers`, `container`, `inference_geo` | refused: another provider would not do what was asked |
| `cache_control`, `context_management`, `diagnostics`, `user_profile_id`, `workspace_id` | left out: Anthropic's own housekeeping |
| any other | passed on as it is |
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mainspring.providers.translate import claude
from mainspring.providers.translate.client_messages_answers import MessagesWriter, message
from mainspring.providers.translate.client_messages_turns import chat_messages, short_name, system_message
from mainspring.providers.translate.documents import a_list, a_number, a_text, an_object, given, refuse, take
from mainspring.providers.translate.schema import is_strict

if TYPE_CHECKING:
    from mainspring.providers.translate.hub import Answer
    from mainspring.providers.translate.types import ClientStream, Document

_REFUSED = ("mcp_servers", "container", "inference_geo")
_LEFT_OUT = (
    "top_k",
    "cache_control",
    "context_management",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
    "betas",
)
_LONGEST_USER = 64


class MessagesClient:
    """A caller that speaks Anthropic's messages; see `types.Client`."""

    def request(self, body: Document) -> Document:
        """A messages request as a chat request.

        Raises:
            InvalidRequest: naming the field that chat has no place for.
        """
        for name in _REFUSED:
            if take(body, name) is not None:
                raise refuse(
                    name, "is a service of Anthropic's that this provider lacks", "Use an Anthropic model."
                )
        for name in _LEFT_OUT:
            body.pop(name, None)
        chat: Document = {"messages": system_message(take(body, "system"))}
        chat["messages"] += chat_messages(a_list(take(body, "messages", default=[]), "messages"))
        limit = take(body, "max_tokens")
        if limit is not None:
            chat["max_completion_tokens"] = a_number(limit, "max_tokens")
        stops = take(body, "stop_sequences")
        if stops:
            chat["stop"] = a_list(stops, "stop_sequences")
        _tools(body, chat)
        _output(body, chat)
        _account(body, chat)
        return chat | {name: value for name, value in body.items() if value is not None}

    def answer(self, answer: Answer, requested: Document) -> Document:
        """A message."""
        return message(answer, _names(requested))

    def stream(self, requested: Document) -> ClientStream:
        """A fresh writer."""
        return MessagesWriter(_names(requested))


def _names(requested: Document) -> dict[str, str]:
    """The caller's names of the tools whose names had to be cut."""
    tools = requested.get("tools")
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return {short: name for name in names if isinstance(name, str) and (short := short_name(name)) != name}


def _tools(body: Document, chat: Document) -> None:
    tools = a_list(take(body, "tools", default=[]), "tools")
    if tools:
        chat["tools"] = [_tool(an_object(tool, f"tools[{i}]"), f"tools[{i}]") for i, tool in enumerate(tools)]
    choice = take(body, "tool_choice")
    if choice is None or not tools:
        return
    choice = an_object(choice, "tool_choice")
    match choice.get("type"):
        case "auto" | "none" as same:
            chat["tool_choice"] = same
        case "any":
            chat["tool_choice"] = "required"
        case "tool":
            name = short_name(a_text(choice.get("name"), "tool_choice.name"))
            chat["tool_choice"] = {"type": "function", "function": {"name": name}}
        case _:
            raise refuse("tool_choice.type", "must be auto, any, tool or none")
    if choice.get("disable_parallel_tool_use") is True:
        chat["parallel_tool_calls"] = False


def _tool(tool: Document, where: str) -> Document:
    if tool.get("type") not in (None, "custom"):
        raise refuse(
            f"{where}.type",
            "is a tool of Anthropic's own, which this provider lacks",
            "Declare it as a custom tool with an input_schema, or use an Anthropic model.",
        )
    function: Document = {"name": short_name(a_text(tool.get("name"), f"{where}.name"))}
    if tool.get("description") is not None:
        function["description"] = a_text(tool["description"], f"{where}.description")
    function["parameters"] = an_object(tool.get("input_schema"), f"{where}.input_schema")
    if tool.get("strict") is True and is_strict(function["parameters"]):
        function["strict"] = True
    return {"type": "function", "function": function}


def _output(body: Document, chat: Document) -> None:
    config = an_object(take(body, "output_config", default={}), "output_config")
    old = take(body, "output_format")
    wanted = old if config.get("format") is None else config["format"]
    if wanted is not None:
        wanted = an_object(wanted, "output_config.format")
        if wanted.get("type") != "json_schema":
            raise refuse("output_config.format.type", "must be json_schema")
        schema = an_object(wanted.get("schema"), "output_config.format.schema")
        chat["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": is_strict(schema)},
        }
    thinking = an_object(take(body, "thinking", default={}), "thinking")
    if given(config, "effort"):
        chat["reasoning_effort"] = a_text(config["effort"], "output_config.effort")
    elif thinking.get("type") == "enabled":
        chat["reasoning_effort"] = claude.effort_of(
            a_number(thinking.get("budget_tokens"), "thinking.budget_tokens")
        )


def _account(body: Document, chat: Document) -> None:
    metadata = an_object(take(body, "metadata", default={}), "metadata")
    if given(metadata, "user_id"):
        user = a_text(metadata["user_id"], "metadata.user_id")
        digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
        chat["user"] = user if len(user) <= _LONGEST_USER else digest
    if take(body, "service_tier") == "standard_only":
        chat["service_tier"] = "default"
    if take(body, "speed") == "fast":
        chat["service_tier"] = "fast"
