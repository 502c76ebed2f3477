"""What is read off whole answers of the OpenAI wire. Unknown fields are skipped without being decoded."""

from __future__ import annotations

import msgspec

from mainspring.base.errors import ProviderProtocolError
from mainspring.ledger.types import Usage
from mainspring.providers.lenient import lenient
from mainspring.providers.refusals import UNREADABLE, given, refusal
from mainspring.providers.translate.usage import unlisted
from mainspring.providers.types import Operation, Seen


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Usage as chat (`prompt_tokens`) or Responses (`input_tokens`) report it: totals that include their details."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached tokens

    def exclusive(self) -> Usage:
        """The same in exclusive buckets."""
        prompt = self.prompt_tokens or self.input_tokens or 0
        completion = self.completion_tokens or self.output_tokens or 0
        if not prompt and not completion:
            prompt = self.total_tokens or 0  # embeddings, where a provider says no more
        hidden = unlisted(prompt, completion, self.total_tokens)
        cached, written = self.prompt_cache_hit_tokens or 0, 0
        details_in = self.prompt_tokens_details or self.input_tokens_details
        if details_in is not None:
            cached = details_in.cached_tokens or cached
            written = details_in.cache_write_tokens or 0
        details_out = self.completion_tokens_details or self.output_tokens_details
        reasoning = (details_out.reasoning_tokens or 0) if details_out is not None else 0
        completion += hidden
        cached, reasoning = min(cached, prompt), min(reasoning or hidden, completion)
        written = min(written, prompt - cached)
        return Usage(
            input=prompt - cached - written,
            cache_read=cached,
            cache_write=written,
            output=completion - reasoning,
            reasoning=reasoning,
        )


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class ResponsesAnswer(msgspec.Struct):
    """An answer of the Responses API, or the one inside of a stream's event."""

    status: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: _Incomplete | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_responses = msgspec.json.Decoder(ResponsesAnswer).decode


def read_answer(name: str, operation: Operation, body: bytes) -> Seen:
    """Usage, model and finish reason of a whole answer of the OpenAI wire.

    Raises:
        ProviderProtocolError: it is not such an answer.
        ProviderRefused: it is an error in the clothes of a 200.
    """
    try:
        if operation is Operation.RESPONSES:
            return _read_responses(name, _decode_responses(body))
        answer = lenient(_decode_answer, body)
    except UNREADABLE as error:
        raise ProviderProtocolError(
            f"{name} answered 200 with a body that is no answer of its protocol."
        ) from error
    items = answer.data if operation is Operation.EMBEDDINGS else answer.choices
    if items is None:
        if said := given(answer.error):
            raise refusal(name, said)
        raise ProviderProtocolError(f"{name} answered 200 with a body that is no answer of its protocol.")
    return Seen(
        usage=answer.usage.exclusive() if answer.usage is not None else None,
        finish_reason=answer.choices[0].finish_reason if answer.choices else None,
        model=answer.model,
        finished=True,
        content=True,
    )


def _read_responses(name: str, answer: ResponsesAnswer) -> Seen:
    if answer.status is None:
        if said := given(answer.error):
            raise refusal(name, said)
        raise ProviderProtocolError(f"{name} answered 200 with a body that is no answer of its protocol.")
    if answer.status == "failed" and (said := given(answer.error)):
        raise refusal(name, said)
    return Seen(
        usage=answer.usage.exclusive() if answer.usage is not None else None,
        finish_reason=responses_finish(answer),
        model=answer.model,
        finished=True,
        content=True,
    )


def responses_finish(answer: ResponsesAnswer) -> str | None:
    """Why it ended: the reason for which it is incomplete, or its status."""
    if answer.incomplete_details is not None and answer.incomplete_details.reason:
        return answer.incomplete_details.reason
    return answer.status
