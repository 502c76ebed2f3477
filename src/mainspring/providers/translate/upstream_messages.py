"""Chat requests to a provider that serves Anthropic's messages.

What becomes of each field of a chat request:

| field | at Anthropic |
|-|-|
| `messages` system, developer | `system`, hoisted to the front |
| `messages` user, assistant, tool | turns; neighbours of one role are joined; `name` is left out |
| `max_completion_tokens`, `max_tokens` | `max_tokens`; a default by model, since it is required there |
| `temperature`, `top_p`, `top_k` | the same, temperature at most 1; left out where the model refuses them or thinks |
| `stop` | `stop_sequences`, blank ones left out |
| `tools`, `functions`, `tool_choice`, `function_call` | `tools`, `tool_choice`; custom tools are refused |
| `parallel_tool_calls` false | `tool_choice.disable_parallel_tool_use` |
| `response_format` | `output_config.format`; `json_object` becomes an instruction |
| `reasoning_effort` | `thinking` and `output_config.effort`, by model |
| `verbosity` | `output_config.effort` where the model has it and no `reasoning_effort` is given |
| `safety_identifier`, `user` | `metadata.user_id` |
| `service_tier` | `auto`, `standard_only` (default, flex), `speed: fast` (fast) |
| `web_search_options` | the web search tool |
| `n` above 1, `logprobs`, `logit_bias`, audio output, `moderation` | refused: the answer would lack what was asked for |
| `seed`, `frequency_penalty`, `presence_penalty`, `prediction`, `prompt_cache_*` | left out: hints without a place |
| `metadata`, `store`, `stream_options` | left out: the gateway and the ledger see to them |
| any other | passed on as it is (`thinking`, `mcp_servers`, `context_management`, ...) |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.providers.translate import claude
from mainspring.providers.translate.documents import a_list, a_number, a_text, an_object, given, refuse, take
from mainspring.providers.translate.upstream_messages_answers import MessagesReader, read_message
from mainspring.providers.translate.upstream_messages_tools import format_fields, tool_fields
from mainspring.providers.translate.upstream_messages_turns import has_thinking, turns

if TYPE_CHECKING:
    from mainspring.providers.translate.hub import Answer
    from mainspring.providers.translate.types import Document, UpstreamStream

_LEFT_OUT = (
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "stream_options",
    "top_logprobs",
)
_TIERS = {
    "auto": "auto",
    "default": "standard_only",
    "flex": "standard_only",
    "priority": "auto",
    "scale": "auto",
}


class MessagesUpstream:
    """A provider that serves Anthropic's messages; see `types.Upstream`."""

    def request(self, chat: Document, model: str) -> Document:
        """A chat request as a messages request.

        Raises:
            InvalidRequest: naming the field that Anthropic has no place for.
        """
        _refuse_what_has_no_place(chat)
        system, conversation = turns(a_list(take(chat, "messages", default=[]), "messages"))
        if not conversation:
            raise refuse("messages", "must hold at least one message with content")
        output_format, needed = format_fields(chat)
        body: Document = {"model": model, "max_tokens": 0, "messages": conversation}
        system += needed
        if system:
            plain = len(system) == 1 and system[0].keys() == {"type", "text"}
            body["system"] = system[0]["text"] if plain else system
        body |= tool_fields(chat, model, conversation)
        body["max_tokens"] = _max_tokens(chat, model)
        _output(chat, body, output_format, model)
        _sampling(chat, body, model)
        _account(chat, body)
        for name in _LEFT_OUT:
            chat.pop(name, None)
        chat.pop("model", None)
        return body | {name: value for name, value in chat.items() if value is not None}

    def answer(self, body: bytes) -> Answer:
        """A message as a chat answer."""
        return read_message(body)

    def stream(self) -> UpstreamStream:
        """A fresh reader of a stream of messages."""
        return MessagesReader()


def _refuse_what_has_no_place(chat: Document) -> None:
    count = take(chat, "n", default=1)
    if count != 1:
        raise refuse("n", "must be 1: Anthropic gives one answer to a request", "Send several requests.")
    if take(chat, "logprobs") not in (None, False):
        raise refuse("logprobs", "cannot be had: Anthropic reports no probabilities")
    if take(chat, "logit_bias"):
        raise refuse("logit_bias", "cannot be kept: its token numbers mean nothing to another tokenizer")
    if (
        "audio" in a_list(take(chat, "modalities", default=[]), "modalities")
        or take(chat, "audio") is not None
    ):
        raise refuse("modalities", "may not hold audio: Anthropic's models answer in text")
    if take(chat, "moderation") is not None:
        raise refuse("moderation", "is done by OpenAI only")


def _max_tokens(chat: Document, model: str) -> int:
    old, new = take(chat, "max_tokens"), take(chat, "max_completion_tokens")
    name, wanted = ("max_tokens", old) if new is None else ("max_completion_tokens", new)
    if wanted is None:
        thinking = chat.get("thinking")
        budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
        return claude.default_max_tokens(model) + (budget if isinstance(budget, int) else 0)
    tokens = a_number(wanted, name)
    if tokens != int(tokens):
        raise refuse(name, "must be a whole number")
    return int(tokens)


def _output(chat: Document, body: Document, output_format: Document | None, model: str) -> None:
    """Set thinking, effort and format."""
    config = dict(an_object(take(chat, "output_config", default={}), "output_config"))
    effort, verbosity = take(chat, "reasoning_effort"), take(chat, "verbosity")
    summary = take(chat, "reasoning_summary")
    if effort is not None and not given(chat, "thinking"):
        thinking, named = claude.thinking(a_text(effort, "reasoning_effort"), model, body["max_tokens"])
        forced = body.get("tool_choice", {}).get("type") in {"any", "tool"}
        budget_breaks = (
            thinking is not None and "budget_tokens" in thinking and not has_thinking(body["messages"])
        )
        if thinking is not None and not forced and not budget_breaks:
            if summary is not None and thinking["type"] == "adaptive":
                thinking["display"] = "summarized"
            body["thinking"] = thinking
        if named is not None:
            config.setdefault("effort", named)
    elif effort is None and verbosity in ("low", "medium", "high") and claude.takes_effort(model):
        config.setdefault("effort", verbosity)
    if output_format is not None:
        config["format"] = output_format
    if config:
        body["output_config"] = config


def _sampling(chat: Document, body: Document, model: str) -> None:
    """Set sampling parameters and stop sequences."""
    thinking: Any = chat.get("thinking") or body.get("thinking") or {}
    thinks = isinstance(thinking, dict) and thinking.get("type", "disabled") != "disabled"
    values = {name: take(chat, name) for name in ("temperature", "top_p", "top_k")}
    for name, value in values.items():
        if value is not None and claude.takes_sampling(model) and not thinks:
            number = a_number(value, name)
            body[name] = min(number, 1) if name == "temperature" else number
    stop = take(chat, "stop", default=[])
    stops = [stop] if isinstance(stop, str) else a_list(stop, "stop")
    sequences = [text for text in stops if a_text(text, "stop").strip()]
    if sequences:
        body["stop_sequences"] = sequences


def _account(chat: Document, body: Document) -> None:
    """Set who asks, and at which tier. The caller's metadata is for the ledger; Anthropic knows only `user_id`."""
    user, identifier, metadata = take(chat, "user"), take(chat, "safety_identifier"), take(chat, "metadata")
    named = identifier or user or (metadata.get("user_id") if isinstance(metadata, dict) else None)
    if named:
        body["metadata"] = {"user_id": a_text(named, "user")}
    tier = take(chat, "service_tier")
    if tier == "fast":
        body["speed"] = "fast"
    elif tier is not None:
        body["service_tier"] = _TIERS.get(a_text(tier, "service_tier"), tier)
