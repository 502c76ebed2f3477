"""The hub of all translation: answers and chunks of a chat, as typed structures.

They are what OpenAI-wire providers send, read leniently (many of them leave out or null what the protocol requires),
plus the extensions by which thinking travels: `reasoning_content`, `thinking_blocks` and `provider_specific_fields`.
Whoever reads another protocol builds these; whoever writes one reads them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.base.errors import ProviderProtocolError
from mainspring.providers.lenient import lenient

#: Where a message carries blocks of Anthropic's that chat has no place or another order for.
CARRIED = "anthropic_content"


class FunctionCall(msgspec.Struct):
    """A called function. `arguments` is JSON text, or in a stream a fragment of it."""

    name: str | None = None
    arguments: Any = None

    def text(self) -> str:
        """The arguments as text; some servers send the object itself."""
        if self.arguments is None:
            return ""
        return (
            self.arguments
            if isinstance(self.arguments, str)
            else msgspec.json.encode(self.arguments).decode()
        )


class ToolCall(msgspec.Struct):
    """A tool call, or in a stream a piece of the one at `index`. Gemini signs its calls in `extra_content`."""

    index: int | None = None
    id: str | None = None
    function: FunctionCall | None = None
    extra_content: Any = None


class Message(msgspec.Struct):
    """A message of the assistant, or in a stream what is new of it."""

    role: str | None = None
    content: Any = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking_blocks: list[dict[str, Any]] | None = None
    annotations: list[Any] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    provider_specific_fields: dict[str, Any] | None = None

    def text(self) -> str:
        """The content as text; some servers send parts."""
        if isinstance(self.content, str):
            return self.content
        if isinstance(self.content, list):
            return "".join(str(part.get("text") or "") for part in self.content if isinstance(part, dict))
        return ""

    def thoughts(self) -> str:
        """The readable reasoning, under whichever of its two names."""
        if self.reasoning_content:
            return self.reasoning_content
        return self.reasoning if isinstance(self.reasoning, str) else ""

    def calls(self) -> list[ToolCall]:
        """The tool calls, the one of the old `function_call` form included."""
        if self.tool_calls:
            return self.tool_calls
        return [ToolCall(index=0, function=self.function_call)] if self.function_call is not None else []


class Choice(msgspec.Struct):
    """One choice. `stop_reason` is the stop sequence that ended it, where the server tells (vLLM's extension)."""

    index: int | None = None
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    stop_reason: Any = None
    text: str | None = None


class PromptDetails(msgspec.Struct, omit_defaults=True):
    """Parts of the prompt's tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class CompletionDetails(msgspec.Struct, omit_defaults=True):
    """Parts of the answer's tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class ChatUsage(msgspec.Struct, omit_defaults=True):
    """Token counts as OpenAI counts: totals that include their details."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Answer(msgspec.Struct):
    """A whole chat answer."""

    choices: list[Choice] | None = None
    id: str | None = None
    created: float | None = None
    model: str | None = None
    usage: ChatUsage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None

    def first(self) -> Choice:
        """The only choice.

        Raises:
            ProviderProtocolError: there is none.
        """
        if not self.choices or self.choices[0].message is None:
            raise ProviderProtocolError("The provider's answer holds no message.")
        return self.choices[0]

    def message(self) -> Message:
        """The message of the only choice."""
        return self.first().message or Message()


class Chunk(msgspec.Struct):
    """What is new in a streamed chat answer."""

    choices: list[Choice] | None = None
    id: str | None = None
    created: float | None = None
    model: str | None = None
    usage: ChatUsage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


#: The reasons that the protocol has for an end, and what others mean: Gemini gives its own, Mistral and DeepSeek have more.
#: What broke off on the way is unfinished, which only `length` says.
_FINISHES = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
_MEANT = {
    "abort": "length",
    "content_filter": "content_filter",
    "eos": "stop",
    "error": "length",
    "insufficient_system_resource": "length",
    "max_tokens": "length",
    "model_length": "length",
} | dict.fromkeys(
    (
        "blocklist",
        "image_prohibited_content",
        "image_recitation",
        "image_safety",
        "prohibited_content",
        "recitation",
        "safety",
        "spii",
    ),
    "content_filter",
)
_answer = msgspec.json.Decoder(Answer)
_chunk = msgspec.json.Decoder(Chunk)


def read_answer(body: bytes) -> Answer:
    """A whole answer of an OpenAI-wire provider.

    Raises:
        ProviderProtocolError: it is none.
    """
    try:
        answer = lenient(_answer.decode, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderProtocolError("The provider's answer is no chat completion.") from error
    _name_finishes(answer.first(), *(answer.choices or ())[1:])
    return answer


def read_chunk(data: bytes) -> Chunk | None:
    """A chunk of an OpenAI-wire provider; None for the terminal marker.

    Raises:
        ProviderProtocolError: it is none.
    """
    if data.strip() == b"[DONE]":
        return None
    try:
        chunk = lenient(_chunk.decode, data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderProtocolError(
            "An event of the provider's stream is no chat completion chunk."
        ) from error
    _name_finishes(*(chunk.choices or ()))
    return chunk


def _name_finishes(*choices: Choice) -> None:
    for choice in choices:
        reason = choice.finish_reason
        if reason and reason not in _FINISHES:
            word = reason.lower()
            choice.finish_reason = word if word in _FINISHES else _MEANT.get(word.partition(":")[0], reason)
