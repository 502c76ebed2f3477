"""Requests in OpenAI's protocol, checked and turned into what llama.cpp takes.

What an engine here cannot do is refused with the name of the field; what it does not know is ignored, as OpenAI does.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.base.errors import InvalidRequest
from mainspring.providers.local.toolcalls import DEFINITIONS, as_text, forced_schema

#: Most choices of one request; they are generated one after another.
MOST_CHOICES = 16
_MOST_TOKENS = 2**31 - 1
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_COPIED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
)
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_k": (0, _MOST_TOKENS),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repeat_penalty": (0, 10),
}

Json = dict[str, Any]


class Asked(msgspec.Struct, kw_only=True):
    """A checked request.

    Attributes:
        kind: the worker's word for it: `C` chat, `T` text completion.
        stream: whether the caller wants events.
        include_usage: whether the stream ends with usage.
        choices: how many for each prompt.
        prompts: text completions: each a text or a list of token ids.
        echo: text completions: whether an answer begins with its prompt.
        messages: chat: as llama.cpp takes them.
        tools: that may be called; empty when none may.
        single_call: whether at most one call is wanted.
        forced: whether the answer must be a call.
        sampling: every other field for the engine.
    """

    kind: bytes
    stream: bool
    include_usage: bool
    choices: int
    prompts: list[Any] = []
    echo: bool = False
    messages: list[Json] = []
    tools: list[Json] = []
    single_call: bool = False
    forced: bool = False
    sampling: Json = {}

    def bodies(self, *, template_has_tools: bool) -> list[Json]:
        """What the engine is asked, one request for each choice of the answer, in their order."""
        base = {
            **self.sampling,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        if self.kind == b"T":
            asked = [{**base, "prompt": prompt} for prompt in self.prompts for _ in range(self.choices)]
        else:
            base["messages"] = self.messages
            if template_has_tools and self.tools:
                base["tools"] = self.tools
            elif not template_has_tools:
                base["messages"] = as_text(self.messages, self.tools)
            if self.forced:
                schema = {"name": "call", "schema": forced_schema(self.tools)}
                base["response_format"] = {"type": "json_schema", "json_schema": schema}
            asked = [dict(base) for _ in range(self.choices)]
        if "seed" in base:
            for number, body in enumerate(asked):
                # The same seed for every choice would make them all alike.
                body["seed"] = (base["seed"] + number) % _MOST_TOKENS
        return asked


def read_chat(body: bytes) -> Asked:
    """Check a chat request.

    Raises:
        InvalidRequest: a field is wrong, or asks for what a local model cannot do.
    """
    request = _document(body)
    messages = _messages(request)
    _refuse(request, "functions", "Use `tools`.")
    _refuse(request, "audio", "Local models read and write text.")
    if (request.get("modalities") or ["text"]) != ["text"]:
        raise InvalidRequest("Local models read and write text only.", param="modalities")
    sampling = _sampling(request)
    sampling |= _limit(request.get("max_completion_tokens"), "max_completion_tokens") or _limit(
        request.get("max_tokens"), "max_tokens"
    )
    sampling |= _response_format(request)
    if request.get("logprobs"):
        sampling["logprobs"] = True
        sampling["top_logprobs"] = _integer(request, "top_logprobs", 0, 20, 0)
    tools, forced = _tools(request)
    return Asked(
        kind=b"C",
        stream=bool(request.get("stream")),
        include_usage=_include_usage(request),
        choices=_integer(request, "n", 1, MOST_CHOICES, 1),
        messages=messages,
        tools=tools,
        single_call=request.get("parallel_tool_calls") is False or forced,
        forced=forced,
        sampling=sampling,
    )


def read_completion(body: bytes) -> Asked:
    """Check a request for a text completion.

    Raises:
        InvalidRequest: a field is wrong, or asks for what a local model cannot do.
    """
    request = _document(body)
    prompt = request.get("prompt", "")
    prompts = prompt if isinstance(prompt, list) and not _is_tokens(prompt) else [prompt]
    if not prompts or not all(isinstance(one, str) or _is_tokens(one) for one in prompts):
        raise InvalidRequest(
            "`prompt` is not a text, a list of texts, a list of token ids or a list of those.", param="prompt"
        )
    _refuse(request, "suffix", "Local models only continue a text.")
    choices = _integer(request, "n", 1, MOST_CHOICES, 1)
    if len(prompts) * choices > MOST_CHOICES:
        raise InvalidRequest(f"Prompts times `n` is more than {MOST_CHOICES}.", param="prompt")
    if (request.get("best_of") or choices) != choices:
        raise InvalidRequest("Local models do not support `best_of`.", param="best_of")
    sampling = _sampling(request)
    sampling |= _limit(request.get("max_tokens", 16), "max_tokens")
    echo = bool(request.get("echo"))
    if request.get("logprobs") is not None:
        sampling["logprobs"] = _integer(request, "logprobs", 0, 5, 0)
        if echo:
            raise InvalidRequest("Local models give no `logprobs` of an echoed prompt.", param="echo")
    if echo and not all(isinstance(one, str) for one in prompts):
        raise InvalidRequest("Only a prompt that is a text can be echoed.", param="echo")
    return Asked(
        kind=b"T",
        stream=bool(request.get("stream")),
        include_usage=_include_usage(request),
        choices=choices,
        prompts=prompts,
        echo=echo,
        sampling=sampling,
    )


def _document(body: bytes) -> Json:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", remedy="Send one JSON object.") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body is not a JSON object.", remedy="Send one JSON object.")
    return document


def _messages(request: Json) -> list[Json]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` is not a list with at least one message.", param="messages")
    return [_message(message, f"messages[{number}]") for number, message in enumerate(messages)]


def _message(message: Any, place: str) -> Json:
    if not isinstance(message, dict):
        raise InvalidRequest(f"`{place}` is not an object.", param=place)
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise InvalidRequest(f"`{place}.role` is not one of {', '.join(_ROLES)}.", param=f"{place}.role")
    content = message.get("content")
    if isinstance(content, list):
        content = _text_of_parts(content, f"{place}.content")
    elif content is not None and not isinstance(content, str):
        raise InvalidRequest(f"`{place}.content` is not a text or a list of parts.", param=f"{place}.content")
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise InvalidRequest(f"`{place}.tool_calls` is not a list.", param=f"{place}.tool_calls")
    if content is None and not calls and role != "assistant":
        raise InvalidRequest(f"`{place}.content` is missing.", param=f"{place}.content")
    told: Json = {"role": role, "content": content if content is not None or calls else ""}
    if calls:
        told["tool_calls"] = [_made_call(call, f"{place}.tool_calls[{i}]") for i, call in enumerate(calls)]
    for field in ("name", "tool_call_id"):
        if isinstance(message.get(field), str):
            told[field] = message[field]
    return told


def _text_of_parts(parts: list[Any], place: str) -> str:
    texts = []
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
        if kind not in ("text", "refusal"):
            raise InvalidRequest(
                f"`{place}[{number}]` is not text; local models read text only.",
                remedy="Leave images, audio and files out, or choose another model.",
                param=f"{place}[{number}].type",
            )
        if not isinstance(text, str):
            raise InvalidRequest(f"`{place}[{number}]` has no text.", param=f"{place}[{number}]")
        texts.append(text)
    return "\n".join(texts)


def _made_call(call: Any, place: str) -> Json:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"`{place}` has no function with a name.", param=place)
    arguments = function.get("arguments") or "{}"
    if not isinstance(arguments, str):
        raise InvalidRequest(f"`{place}.function.arguments` is not a text of JSON.", param=place)
    made = {"name": function["name"], "arguments": arguments}
    return {"id": str(call.get("id", "")), "type": "function", "function": made}


def _tools(request: Json) -> tuple[list[Json], bool]:
    """The tools that may be called, and whether one must be."""
    offered = [] if request.get("tools") is None else request["tools"]
    if not isinstance(offered, list):
        raise InvalidRequest("`tools` is not a list.", param="tools")
    tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(offered)]
    choice = request.get("tool_choice", "auto")
    if choice is None or choice == "auto":
        return tools, False
    if choice == "none":
        return [], False
    if choice == "required":
        if not tools:
            raise InvalidRequest(
                "`tool_choice` asks for a call, but there are no `tools`.", param="tool_choice"
            )
        return tools, True
    named = choice.get("function") if isinstance(choice, dict) else None
    name = named.get("name") if isinstance(named, dict) else None
    chosen = [tool for tool in tools if tool["function"]["name"] == name]
    if not chosen:
        raise InvalidRequest(
            "`tool_choice` is not auto, none, required or one of the `tools`.", param="tool_choice"
        )
    return chosen, True


def _tool(tool: Any, place: str) -> Json:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"`{place}` is not a function with a name.", param=place)
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict) or not all(
        isinstance(parameters.get(name) or {}, dict) for name in DEFINITIONS
    ):
        raise InvalidRequest(f"`{place}.function.parameters` is not a JSON schema.", param=place)
    # Everything else (such as `strict`) would only be read by the model as text.
    told = {"name": function["name"], "description": str(function.get("description") or "")}
    return {
        "type": "function",
        "function": {**told, "parameters": function.get("parameters") or {"type": "object"}},
    }


def _response_format(request: Json) -> Json:
    wanted = request.get("response_format")
    if wanted is None:
        return {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind != "json_schema":
        raise InvalidRequest(
            "`response_format.type` is not text, json_object or json_schema.", param="response_format"
        )
    schema = wanted.get("json_schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise InvalidRequest("`response_format.json_schema.schema` is not a schema.", param="response_format")
    named = {"name": "answer", "schema": schema["schema"]}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _sampling(request: Json) -> Json:
    sampling: Json = {}
    for field in _COPIED:
        value = request.get(field)
        if value is None:
            continue
        low, high = _RANGES[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidRequest(f"`{field}` is not a number from {low} to {high}.", param=field)
        sampling[field] = int(value) if field == "top_k" else value
    seed = request.get("seed")
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidRequest("`seed` is not a whole number.", param="seed")
        # The engine takes 32 bits, and its largest number means "any".
        sampling["seed"] = seed % _MOST_TOKENS
    stop = request.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
            raise InvalidRequest("`stop` is not a text or a list of texts.", param="stop")
        sampling["stop"] = [one for one in stops if one]
    bias = request.get("logit_bias")
    if bias:
        if not isinstance(bias, dict) or not all(_is_number(value) for value in bias.values()):
            raise InvalidRequest("`logit_bias` does not map token ids to numbers.", param="logit_bias")
        sampling["logit_bias"] = bias
    return sampling


def _limit(value: Any, field: str) -> Json:
    if value is None:
        return {}
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequest(f"`{field}` is not a whole number above 0.", param=field)
    return {"max_tokens": min(value, _MOST_TOKENS)}


def _integer(request: Json, field: str, low: int, high: int, default: int) -> int:
    value = request.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"`{field}` is not a whole number from {low} to {high}.", param=field)
    return value


def _include_usage(request: Json) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _refuse(request: Json, field: str, why: str) -> None:
    if request.get(field):
        raise InvalidRequest(f"Local models do not support `{field}`.", remedy=why, param=field)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and one >= 0 for one in value)
