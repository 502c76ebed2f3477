"""Tools, tool choice and output format of a chat request in Anthropic's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.providers.translate import claude
from mainspring.providers.translate.documents import a_list, a_text, an_object, refuse, take
from mainspring.providers.translate.schema import constrained
from mainspring.providers.translate.upstream_messages_turns import cache_mark

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_MOVED = frozenset({"type", "function", "prompt_cache_breakpoint", "cache_control"})
_CUSTOM = "is custom: Anthropic has no tools that take free text"
JSON_ONLY = "Answer with one valid JSON object and nothing else: no words around it and no code fence."


def tool_fields(chat: Document, model: str, turns: list[Document]) -> Document:
    """The `tools` and `tool_choice` of a request; their chat forms are taken out of `chat`.

    Raises:
        InvalidRequest: a tool is malformed or of a kind that Anthropic lacks.
    """
    tools = _tools(chat, model)
    choice, only = _choice(chat)
    if only is not None:
        tools = [tool for tool in tools if tool.get("name") in only]
    search = take(chat, "web_search_options")
    if search is not None:
        tools.append(_web_search(an_object(search, "web_search_options")))
    parallel = take(chat, "parallel_tool_calls")
    if not tools:
        # A conversation that used tools must declare them, even when none may be called any more.
        tools = _declared(turns)
        return {"tools": tools, "tool_choice": {"type": "none"}} if tools else {}
    if parallel is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}


def format_fields(chat: Document) -> tuple[Document | None, list[Document]]:
    """The `output_config.format` for the request's `response_format`, and system blocks that it needs besides.

    Raises:
        InvalidRequest: the format is malformed.
    """
    wanted = take(chat, "response_format")
    if wanted is None:
        return None, []
    wanted = an_object(wanted, "response_format")
    match wanted.get("type"):
        case "text":
            return None, []
        case "json_object":
            return None, [{"type": "text", "text": JSON_ONLY}]
        case "json_schema":
            where = "response_format.json_schema"
            schema = an_object(wanted.get("json_schema"), where).get("schema")
            if schema is None:
                return None, [{"type": "text", "text": JSON_ONLY}]
            return {"type": "json_schema", "schema": constrained(schema, f"{where}.schema")}, []
        case _:
            raise refuse("response_format.type", "must be text, json_object or json_schema")


def _tools(chat: Document, model: str) -> list[Document]:
    tools = [
        _tool(an_object(raw, f"tools[{index}]"), f"tools[{index}]", model)
        for index, raw in enumerate(a_list(take(chat, "tools", default=[]), "tools"))
    ]
    for index, raw in enumerate(a_list(take(chat, "functions", default=[]), "functions")):
        tools.append(_function(an_object(raw, f"functions[{index}]"), f"functions[{index}]", model))
    return tools


def _tool(tool: Document, where: str, model: str) -> Document:
    kind = tool.get("type")
    if kind == "function":
        extras = {key: value for key, value in tool.items() if key not in _MOVED}
        function = _function(an_object(tool.get("function"), f"{where}.function"), f"{where}.function", model)
        return {**function, **extras, **cache_mark(tool)}
    if "custom" in tool:
        raise refuse(f"{where}.type", _CUSTOM, "Make it a function with one string parameter.")
    if isinstance(tool.get("name"), str) and (kind is not None or "input_schema" in tool):
        return tool  # already in Anthropic's form, such as a server tool
    raise refuse(f"{where}.type", "must be function")


def _function(function: Document, where: str, model: str) -> Document:
    schema = function.get("parameters")
    schema = (
        {"type": "object", "properties": {}} if schema is None else an_object(schema, f"{where}.parameters")
    )
    tool: Document = {"name": a_text(function.get("name"), f"{where}.name")}
    if function.get("description") is not None:
        tool["description"] = a_text(function["description"], f"{where}.description")
    strict = function.get("strict") is True and claude.takes_strict(model)
    tool["input_schema"] = (
        constrained(schema, f"{where}.parameters") if strict else {"type": "object", **schema}
    )
    if strict:
        tool["strict"] = True
    known = {"name", "description", "parameters", "strict"}
    return tool | cache_mark(function) | {key: value for key, value in function.items() if key not in known}


def _choice(chat: Document) -> tuple[Document | None, set[str] | None]:
    """The tool choice, and the names of the tools that are allowed if only some are."""
    choice = take(chat, "tool_choice")
    old = take(chat, "function_call")
    if choice is None and old is not None:
        choice = old if isinstance(old, str) else {"type": "function", "function": old}
    if choice is None:
        return None, None
    if isinstance(choice, str):
        named = {"none": "none", "auto": "auto", "required": "any", "any": "any"}.get(choice)
        if named is None:
            raise refuse("tool_choice", "must be none, auto, required or an object")
        return {"type": named}, None
    choice = an_object(choice, "tool_choice")
    if choice.get("type") == "function":
        function = an_object(choice.get("function"), "tool_choice.function")
        return {"type": "tool", "name": a_text(function.get("name"), "tool_choice.function.name")}, None
    if choice.get("type") == "allowed_tools":
        allowed = an_object(choice.get("allowed_tools"), "tool_choice.allowed_tools")
        tools = a_list(allowed.get("tools"), "tool_choice.allowed_tools.tools")
        return {"type": "any" if allowed.get("mode") == "required" else "auto"}, {
            _allowed(tool) for tool in tools
        }
    raise refuse("tool_choice.type", "must be function or allowed_tools")


def _allowed(tool: Any) -> str:
    where = "tool_choice.allowed_tools.tools"
    function = an_object(an_object(tool, where).get("function"), f"{where}.function")
    return a_text(function.get("name"), f"{where}.function.name")


def _declared(turns: list[Document]) -> list[Document]:
    """A declaration for each tool that the conversation has used."""
    blocks = [block for turn in turns for block in turn["content"]]
    names = dict.fromkeys(
        block["name"] for block in blocks if block.get("type") == "tool_use" and "name" in block
    )
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def _web_search(options: Document) -> Document:
    tool: Document = {"type": "web_search_20250305", "name": "web_search"}
    location = options.get("user_location")
    if isinstance(location, dict) and isinstance(location.get("approximate"), dict):
        tool["user_location"] = {"type": "approximate", **location["approximate"]}
    return tool
