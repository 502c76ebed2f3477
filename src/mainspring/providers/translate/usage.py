"""Token counts in three forms: OpenAI's inclusive ones, Anthropic's, and our exclusive buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.ledger.types import Usage
from mainspring.providers.translate.hub import ChatUsage, CompletionDetails, PromptDetails

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document


class OutputDetails(msgspec.Struct):
    """Parts of Anthropic's output tokens."""

    thinking_tokens: int | None = None


class CacheCreation(msgspec.Struct):
    """Parts of Anthropic's cache writes."""

    ephemeral_1h_input_tokens: int | None = None


class Iteration(msgspec.Struct):
    """One of the inferences that Anthropic made for a request."""

    type: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None

    def exclusive(self) -> Usage:
        """The same in our buckets."""
        written = self.cache_creation_input_tokens or 0
        hour = self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation is not None else None
        return Usage(
            input=self.input_tokens or 0,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write=written,
            output=self.output_tokens or 0,
            cache_write_1h=min(hour or 0, written),
        )


class MessagesUsage(Iteration):
    """Usage as Anthropic reports it: cache tokens stand outside `input_tokens`, thinking inside `output_tokens`.

    What it took to make a conversation shorter, and what an advisor used, stands only in iterations of their own.
    """

    output_tokens_details: OutputDetails | None = None
    iterations: list[Iteration] | None = None
    service_tier: str | None = None

    def update(self, later: MessagesUsage) -> None:
        """Take over what a later event says; its counts are cumulative."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def exclusive(self) -> Usage:
        """The same in our buckets, everything that is billed at this model's prices."""
        details, output = self.output_tokens_details, self.output_tokens or 0
        thinking = min((details.thinking_tokens or 0) if details is not None else 0, output)
        usage = super().exclusive().plus(Usage(output=-thinking, reasoning=thinking))
        for iteration in self.iterations or ():
            if iteration.type == "compaction":
                usage = usage.plus(iteration.exclusive())
        return usage

    def beside(self) -> list[tuple[str, Usage]]:
        """What advisors used, at their own models' prices."""
        return [
            (one.model, one.exclusive())
            for one in self.iterations or ()
            if one.type == "advisor_message" and one.model is not None
        ]

    def chat(self) -> ChatUsage:
        """The same as OpenAI counts."""
        return from_buckets(self.exclusive())


def from_buckets(usage: Usage) -> ChatUsage:
    """Our buckets as OpenAI counts."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return _chat(prompt, usage.output + usage.reasoning, usage.cache_read, usage.cache_write, usage.reasoning)


def unlisted(prompt: int, completion: int, total: int | None) -> int:
    """Tokens that stand only in the total: what xAI's and Gemini's models think is no part of their completion."""
    return max(0, (total or 0) - prompt - completion)


def final(seen: ChatUsage | None, settled: Usage | None) -> ChatUsage | None:
    """The usage to report: the provider's own, with all its details, or what the gateway settled."""
    if seen is not None:
        return seen
    return from_buckets(settled) if settled is not None else None


def as_chat(usage: ChatUsage) -> Document:
    """Usage for a chat client, totals filled in."""
    document: Document = msgspec.to_builtins(usage)
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    total = usage.total_tokens if usage.total_tokens is not None else prompt + completion
    return {**document, "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def as_messages(usage: ChatUsage | None) -> Document:
    """Usage for an Anthropic client."""
    usage = usage or ChatUsage()
    prompt, read, written = _prompt_parts(usage)
    document: Document = {
        "input_tokens": prompt - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _completion(usage),
    }
    reasoning = _reasoning(usage)
    if reasoning:
        document["output_tokens_details"] = {"thinking_tokens": reasoning}
    return document


def as_responses(usage: ChatUsage | None) -> Document | None:
    """Usage for a Responses client; None when nobody reported any."""
    if usage is None:
        return None
    prompt, read, written = _prompt_parts(usage)
    completion = _completion(usage)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": _reasoning(usage)},
        "total_tokens": usage.total_tokens if usage.total_tokens is not None else prompt + completion,
    }


def _chat(prompt: int, completion: int, read: int, written: int, reasoning: int) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptDetails(cached_tokens=read, cache_write_tokens=written or None),
        completion_tokens_details=CompletionDetails(reasoning_tokens=reasoning),
    )


def _prompt_parts(usage: ChatUsage) -> tuple[int, int, int]:
    """Prompt, cache reads and cache writes; the parts never exceed the whole, whatever a provider reports."""
    prompt = usage.prompt_tokens or 0
    details: Any = usage.prompt_tokens_details or PromptDetails()
    read = min(details.cached_tokens or 0, prompt)
    return prompt, read, min(details.cache_write_tokens or 0, prompt - read)


def _completion(usage: ChatUsage) -> int:
    """Everything that was written, thinking included, as the other protocols count."""
    completion = usage.completion_tokens or 0
    return completion + unlisted(usage.prompt_tokens or 0, completion, usage.total_tokens)


def _reasoning(usage: ChatUsage) -> int:
    details = usage.completion_tokens_details
    said = (details.reasoning_tokens or 0) if details is not None else 0
    return said or unlisted(usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.total_tokens)
