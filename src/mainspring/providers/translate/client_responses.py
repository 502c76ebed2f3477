"""A caller that speaks Responses.

What becomes of each field of a Responses request:

| field | in chat |
|-|-|
| `instructions`, `input` | messages; developer becomes system, which every provider knows |
| `input` function_call, function_call_output, reasoning | tool calls, tool messages, reasoning of the assistant |
| `input` item_reference, items of built-in tools | refused |
| `max_output_tokens` | `max_completion_tokens` or `max_tokens`, as the model takes it |
| `tools` function, `tool_choice` | the same in chat's form; tools that OpenAI's servers run, and custom tools, are refused |
| `text.format`, `text.verbosity` | `response_format`, `verbosity` |
| `reasoning.effort` | `reasoning_effort`; `reasoning.summary` asks Anthropic for readable thinking |
| `top_logprobs`, `include` message.output_text.logprobs | `top_logprobs`, `logprobs` |
| `previous_response_id`, `conversation`, `prompt`, `background`, `context_management`, `moderation` | refused: only OpenAI keeps what they refer to |
| `safety_identifier`, `user` | `user` |
| `store`, `truncation`, `max_tool_calls`, `metadata`, `prompt_cache_*`, other `include` | left out: without effect where nothing is stored and no built-in tool runs |
| any other | passed on as it is |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.providers.translate.client_responses_answers import response
from mainspring.providers.translate.client_responses_items import chat_messages
from mainspring.providers.translate.client_responses_stream import ResponsesWriter
from mainspring.providers.translate.documents import a_list, a_number, a_text, an_object, given, refuse, take

if TYPE_CHECKING:
    from mainspring.providers.translate.hub import Answer
    from mainspring.providers.translate.types import ClientStream, Document

_STATEFUL = {
    "previous_response_id": "names a response that this provider does not keep",
    "conversation": "names a conversation that this provider does not keep",
    "prompt": "names a prompt that this provider does not keep",
    "background": "cannot be kept: this provider answers in the request itself",
    "context_management": "is a service of OpenAI's that this provider lacks",
    "moderation": "is a service of OpenAI's that this provider lacks",
}
_REMEDY = "Send the whole conversation in `input`, or use a provider that serves Responses itself."
_LEFT_OUT = (
    "access_programs",
    "image",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "stream_options",
    "truncation",
)
_LOGPROBS = "message.output_text.logprobs"


class ResponsesClient:
    """A caller that speaks Responses; see `types.Client`."""

    def request(self, body: Document) -> Document:
        """A Responses request as a chat request.

        Raises:
            InvalidRequest: naming the field that chat has no place for.
        """
        for name, why in _STATEFUL.items():
            if take(body, name):
                raise refuse(name, why, _REMEDY)
        for name in _LEFT_OUT:
            body.pop(name, None)
        instructions = take(body, "instructions")
        messages: list[Document] = []
        if instructions is not None:
            messages.append({"role": "system", "content": a_text(instructions, "instructions")})
        messages += chat_messages(take(body, "input"))
        chat: Document = {"messages": messages}
        limit = take(body, "max_output_tokens")
        if limit is not None:
            chat["max_completion_tokens"] = a_number(limit, "max_output_tokens")
        user, identifier = take(body, "user"), take(body, "safety_identifier")
        if identifier or user:
            chat["user"] = a_text(identifier or user, "safety_identifier")
        _tools(body, chat)
        _output(body, chat)
        return chat | {name: value for name, value in body.items() if value is not None}

    def answer(self, answer: Answer, requested: Document) -> Document:
        """A `response`."""
        return response(answer, requested)

    def stream(self, requested: Document) -> ClientStream:
        """A fresh writer."""
        return ResponsesWriter(requested)


def _tools(body: Document, chat: Document) -> None:
    tools = a_list(take(body, "tools", default=[]), "tools")
    if tools:
        chat["tools"] = [_tool(an_object(tool, f"tools[{i}]"), f"tools[{i}]") for i, tool in enumerate(tools)]
    choice = take(body, "tool_choice")
    parallel = take(body, "parallel_tool_calls")
    if not tools:
        return  # without tools there is no choice, and many providers refuse to be told one
    if parallel is not None:
        chat["parallel_tool_calls"] = parallel
    if isinstance(choice, str):
        chat["tool_choice"] = choice
    elif choice is not None:
        chat["tool_choice"] = _choice(an_object(choice, "tool_choice"))


def _tool(tool: Document, where: str) -> Document:
    if tool.get("type") != "function":
        raise refuse(f"{where}.type", "must be function: this provider runs no tools of OpenAI's")
    function: Document = {"name": a_text(tool.get("name"), f"{where}.name")}
    for name in ("description", "parameters", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function}


def _choice(choice: Document) -> Document:
    match choice.get("type"):
        case "function":
            return {"type": "function", "function": {"name": a_text(choice.get("name"), "tool_choice.name")}}
        case "allowed_tools":
            tools = [_named(tool) for tool in a_list(choice.get("tools"), "tool_choice.tools")]
            return {
                "type": "allowed_tools",
                "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": tools},
            }
        case _:
            raise refuse(
                "tool_choice.type", "must be function or allowed_tools: this provider has no other tools"
            )


def _named(tool: Any) -> Document:
    name = a_text(an_object(tool, "tool_choice.tools").get("name"), "tool_choice.tools.name")
    return {"type": "function", "function": {"name": name}}


def _output(body: Document, chat: Document) -> None:
    text = an_object(take(body, "text", default={}), "text")
    wanted = an_object(text.get("format") or {"type": "text"}, "text.format")
    if wanted.get("type") == "json_schema":
        schema = {name: value for name, value in wanted.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif wanted.get("type") != "text":
        chat["response_format"] = wanted
    if given(text, "verbosity"):
        chat["verbosity"] = text["verbosity"]
    reasoning = an_object(take(body, "reasoning", default={}), "reasoning")
    if given(reasoning, "effort"):
        chat["reasoning_effort"] = reasoning["effort"]
    summary = reasoning.get("summary") or reasoning.get("generate_summary")
    if summary is not None:
        chat["reasoning_summary"] = summary
    include = a_list(take(body, "include", default=[]), "include")
    if _LOGPROBS in include or body.get("top_logprobs"):
        chat["logprobs"] = True
