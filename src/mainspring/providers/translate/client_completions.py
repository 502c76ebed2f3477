"""A caller that speaks the old completions.

The prompt becomes a message of the user, since the models that continued bare text are gone. What becomes of each field:

| field | in chat |
|-|-|
| `prompt` | one user message; several prompts and token numbers are refused |
| `echo` | the prompt is put before the answer by us |
| `logprobs` | `logprobs` and `top_logprobs`; the answer is turned back into completions' form |
| `max_tokens` | `max_completion_tokens` or `max_tokens`; left open where it is not given |
| `suffix`, `best_of` above 1, `n` above 1 | refused |
| any other | passed on as it is |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.providers.sse import format_event
from mainspring.providers.translate.documents import a_number, a_text, refuse, take
from mainspring.providers.translate.usage import as_chat, final

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.translate.hub import Answer, ChatUsage, Chunk
    from mainspring.providers.translate.types import ClientStream, Document

_DONE = b"data: [DONE]\n\n"
_FINISH = {"length": "length", "content_filter": "content_filter"}


class CompletionsClient:
    """A caller that speaks completions; see `types.Client`."""

    def request(self, body: Document) -> Document:
        """A completions request as a chat request.

        Raises:
            InvalidRequest: naming the field that chat has no place for.
        """
        prompt = _prompt(body)
        if take(body, "suffix"):
            raise refuse("suffix", "cannot be kept: chat models do not fill gaps")
        for name in ("n", "best_of"):
            if take(body, name, default=1) != 1:
                raise refuse(name, "must be 1 with this provider", "Send several requests.")
        take(body, "prompt")
        take(body, "echo")
        chat: Document = {"messages": [{"role": "user", "content": prompt}]}
        limit = take(body, "max_tokens")
        if limit is not None:
            chat["max_completion_tokens"] = a_number(limit, "max_tokens")
        logprobs = take(body, "logprobs")
        if logprobs is not None:
            chat |= {"logprobs": True, "top_logprobs": a_number(logprobs, "logprobs")}
        return chat | body

    def answer(self, answer: Answer, requested: Document) -> Document:
        """A `text_completion`."""
        choice = answer.first()
        text = _echo(requested) + answer.message().text()
        return {
            **_head(answer),
            "choices": [
                _choice(text, choice.finish_reason or "stop", choice.logprobs, len(_echo(requested)))
            ],
            "usage": as_chat(answer.usage) if answer.usage is not None else None,
        }

    def stream(self, requested: Document) -> ClientStream:
        """A fresh writer."""
        return CompletionsWriter(requested)


class CompletionsWriter:
    """Writes one stream of `text_completion`; see `types.ClientStream`."""

    def __init__(self, requested: Document) -> None:
        options = requested.get("stream_options")
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._echo = _echo(requested)
        self._head: Document | None = None
        self._offset = 0
        self._usage: ChatUsage | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        """The event of one chunk; empty for one without text."""
        self._usage = chunk.usage or self._usage
        if self._head is None:
            self._head = _head(chunk)
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            return b""
        text = self._echo + (choice.delta.text() if choice.delta is not None else "")
        self._echo = ""
        if not text and choice.finish_reason is None:
            return b""
        document = _choice(text, choice.finish_reason, choice.logprobs, self._offset)
        self._offset += len(text)
        return self._event([document])

    def end(self, usage: Usage | None) -> bytes:
        """The usage, if it was asked for, and the terminal marker."""
        counted = final(self._usage, usage)
        if not self._wants_usage or counted is None:
            return _DONE
        return self._event([], as_chat(counted)) + _DONE

    def _event(self, choices: list[Document], usage: Document | None = None) -> bytes:
        document = {**(self._head or {}), "choices": choices}
        if self._wants_usage:
            document["usage"] = usage
        return format_event(msgspec.json.encode(document))


def _prompt(body: Document) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        raise refuse(
            "prompt", "must be one text with this provider", "Send each prompt as a request of its own."
        )
    return a_text(prompt, "prompt")


def _echo(requested: Document) -> str:
    return _prompt(requested) if requested.get("echo") is True else ""


def _head(answer: Answer | Chunk) -> Document:
    created = int(answer.created) if answer.created is not None else now_us() // 1_000_000
    return {
        "id": answer.id or f"cmpl-{new_id().replace('-', '')}",
        "object": "text_completion",
        "created": created,
        "model": answer.model or "",
    }


def _choice(text: str, finish: str | None, logprobs: Any, offset: int) -> Document:
    reason = None if finish is None else _FINISH.get(finish, "stop")
    return {"index": 0, "text": text, "logprobs": _logprobs(logprobs, offset), "finish_reason": reason}


def _logprobs(logprobs: Any, offset: int) -> Document | None:
    """Chat's probabilities, a list of tokens, as completions' four lists."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    result: Document = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for item in content:
        if not isinstance(item, dict):
            continue
        token, tops = str(item.get("token") or ""), item.get("top_logprobs")
        result["tokens"].append(token)
        result["token_logprobs"].append(item.get("logprob"))
        result["top_logprobs"].append({str(top.get("token")): top.get("logprob") for top in _dicts(tops)})
        result["text_offset"].append(offset)
        offset += len(token)
    return result


def _dicts(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
