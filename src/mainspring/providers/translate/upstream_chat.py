"""A provider that serves chat: the hub's own form, with what must be adapted to the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mainspring.providers.translate.documents import take
from mainspring.providers.translate.hub import Answer, Chunk, read_answer, read_chunk

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document, UpstreamStream

#: OpenAI's own models: their newer ones refuse `max_tokens`, and other servers know nothing else.
_OPENAI = re.compile(r"(?:^|/)(?:gpt-(?!oss)|o\d|chatgpt|codex|computer-use)", re.IGNORECASE)
#: Google's models sign the calls of tools. From the third generation on they refuse calls that come back unsigned, but for
#: this word, which Google has for conversations that another model began.
_GEMINI = re.compile(r"(?:^|/)gemini-", re.IGNORECASE)
_SIGNING = re.compile(r"^(?:models/)?gemini-(?!1\.|2\.)", re.IGNORECASE)
_UNSIGNED = {"extra_content": {"google": {"thought_signature": "skip_thought_signature_validator"}}}
#: OpenAI's models that do not reason, and answer 400 to an effort.
_UNREASONING = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt-4)", re.IGNORECASE)


def takes_completion_limit(model: str) -> bool:
    """Whether a model of chat is told the limit of its answer as `max_completion_tokens`."""
    return _OPENAI.search(model) is not None


class ChatUpstream:
    """A provider that serves chat; see `types.Upstream`."""

    def request(self, chat: Document, model: str) -> Document:
        """The request with the provider's model and its name for the output limit.

        Usage of streams is asked for by the gateway, which knows the providers that cannot be asked.
        """
        limit = take(chat, "max_completion_tokens")
        if limit is not None:
            chat["max_completion_tokens" if takes_completion_limit(model) else "max_tokens"] = limit
        chat.pop("reasoning_summary", None)
        if _UNREASONING.search(model):
            chat.pop("reasoning_effort", None)
        chat["messages"] = [
            _signed(_without_foreign_thinking(message), model) for message in chat["messages"]
        ]
        return {"model": model, **{name: value for name, value in chat.items() if name != "model"}}

    def answer(self, body: bytes) -> Answer:
        """A whole answer."""
        return read_answer(body)

    def stream(self) -> UpstreamStream:
        """A fresh reader of a stream."""
        return ChatReader()


def _without_foreign_thinking(message: Document) -> Document:
    """A message without what Anthropic signed: it means nothing here, and strict servers refuse unknown fields."""
    foreign = {"provider_specific_fields", "thinking_blocks"} & message.keys()
    if "thinking_blocks" in foreign:
        foreign |= {"reasoning_content"}
    return {name: value for name, value in message.items() if name not in foreign} if foreign else message


def _signed(message: Document, model: str) -> Document:
    """A message whose calls carry signatures where the model wants them, and nowhere else."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        return message
    if not _GEMINI.search(model):
        calls = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
    elif _SIGNING.match(model) and "extra_content" not in calls[0]:
        calls = [{**calls[0], **_UNSIGNED}, *calls[1:]]
    return {**message, "tool_calls": calls}


class ChatReader:
    """Reads one stream of chat; see `types.UpstreamStream`."""

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunk of one event; none for the terminal marker."""
        chunk = read_chunk(data)
        return [] if chunk is None else [chunk]
