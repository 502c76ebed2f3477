"""Going on with an answer: the request for its rest, and the rest in the words in which the caller got its beginning.

The rest is asked for with what is there as the beginning of the assistant's turn. Protocols and providers differ in
how they take that:

| provider | how |
|-|-|
| Anthropic's messages | the last turn is the assistant's (prefill); white space at its end is not allowed |
| Claude 4.6 and newer | they refuse a prefill: a turn of the user asks to go on |
| Mistral, DeepSeek | the last message is the assistant's, marked `prefix` |
| vLLM | the same, with `continue_final_message` |
| llama.cpp, Ollama, OpenRouter, Together, Groq | the last message is the assistant's |
| other chat | a message of the user after it asks to go on |
| completions | the prompt grows by the text |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.translate import claude
from mainspring.providers.translate.client_responses_stream import ResponsesWriter
from mainspring.providers.translate.clients import CLIENTS
from mainspring.providers.translate.documents import decode
from mainspring.providers.translate.hub import Choice, Chunk, Message
from mainspring.providers.translate.upstream_chat import ChatReader
from mainspring.providers.translate.upstream_messages_answers import MessagesReader
from mainspring.providers.translate.usage import from_buckets
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.sse import ServerSentEvent
    from mainspring.providers.translate.begun import Begun
    from mainspring.providers.translate.types import ClientStream, Document, UpstreamStream

#: Providers of which the rest of an answer can be asked for. (Responses has no place for the beginning of one.)
UPSTREAMS = frozenset({Operation.CHAT, Operation.MESSAGES, Operation.COMPLETIONS})
_MARKED = frozenset({"mistral", "deepseek"})
_PREFILLED = frozenset({"llamacpp", "ollama", "openrouter", "together", "groq", "local"})
_NO_PREFILL = (4, 6)
_GO_ON = (
    "Your answer above was cut off. Go on exactly where it stops, in the middle of the sentence if need be. "
    "Repeat nothing of it, and say nothing about having been interrupted."
)
_LIMITS = ("max_tokens", "max_completion_tokens")


def can_go_on(requested: bytes) -> bool:
    """Whether the rest of an answer to this request can be asked for: one plain text, without thinking before it."""
    body: dict[str, Any] = decode(requested)
    if body.get("n", 1) not in (None, 1) or body.get("best_of", 1) not in (None, 1):
        return False
    if body.get("logprobs") or body.get("echo") or body.get("reasoning") or body.get("audio"):
        return False
    if body.get("reasoning_effort") not in (None, "none") or _kind(body.get("thinking")) not in (
        None,
        "disabled",
    ):
        return False
    text, output = body.get("text"), body.get("output_config")
    formats = [body.get("response_format"), body.get("output_format")]
    formats += [part.get("format") for part in (text, output) if isinstance(part, dict)]
    if any(_kind(one) not in (None, "text") for one in formats):
        return False
    choice = body.get("tool_choice")
    return (
        _kind(choice) in (None, "auto", "none")
        if isinstance(choice, dict)
        else choice in (None, "auto", "none")
    )


def asking_for_rest(
    operation: Operation, body: bytes, text: str, *, provider: str, model: str, used: int
) -> bytes:
    """A request for the rest of an answer.

    Args:
        operation: of the provider.
        body: the request for the whole answer, in the provider's words.
        text: what the caller has of it.
        provider: its name.
        model: its model.
        used: tokens that the text took of the limit.
    """
    document = decode(body)
    for name in _LIMITS:
        limit = document.get(name)
        if isinstance(limit, int):
            document[name] = max(1, limit - used)
    if operation is Operation.COMPLETIONS:
        document["prompt"] = f"{document.get('prompt') or ''}{text}"
        return msgspec.json.encode(document)
    said = text.rstrip() if operation is Operation.MESSAGES else text
    if said.strip():
        _put(document, said)
        _mark(document, operation, provider, model)
    return msgspec.json.encode(document)


def _put(document: Document, said: str) -> None:
    """Let the last turn be the assistant's; one that the caller began itself grows."""
    turns = [*document["messages"]]
    last = turns[-1] if turns else {}
    if last.get("role") == "assistant" and isinstance(last.get("content"), str):
        turns[-1] = {**last, "content": last["content"] + said}
    else:
        turns.append({"role": "assistant", "content": said})
    document["messages"] = turns


def _mark(document: Document, operation: Operation, provider: str, model: str) -> None:
    """Say that the last turn is to be continued, in the way of the provider."""
    turns = document["messages"]
    if operation is Operation.MESSAGES:
        version = claude.version(model)
        asks = version is not None and version >= _NO_PREFILL
    else:
        asks = provider not in _PREFILLED
        if provider in _MARKED:
            turns[-1]["prefix"], asks = True, False
        elif provider == "vllm":
            document |= {"continue_final_message": True, "add_generation_prompt": False}
            asks = False
    if asks:
        turns.append({"role": "user", "content": _GO_ON})


class Continuation:
    """The rest of a stream, as a stream of the caller's protocol; see `types.StreamTranslation`.

    The caller sees one answer: one role, one finish, one id, and the usage of the whole.

    Args:
        writer: has written the beginning, or has been told of it.
        upstream: the operation of the provider that sends the rest.
        text: the beginning.
    """

    def __init__(self, writer: ClientStream, upstream: Operation, text: str) -> None:
        self.writer = writer
        self._reader: UpstreamStream = MessagesReader() if upstream is Operation.MESSAGES else ChatReader()
        #: White space that the provider may repeat, since it could not be sent.
        self._blank = text[len(text.rstrip()) :]

    def feed(self, event: ServerSentEvent) -> bytes:
        """The caller's events for one event of the provider."""
        return b"".join([self.writer.chunk(self._cut(chunk)) for chunk in self._reader.feed(event.data)])

    def end(self, usage: Usage | None) -> bytes:
        """What closes the stream; `usage` is that of the whole answer."""
        out = b""
        if usage is not None:
            out = self.writer.chunk(Chunk(choices=[], usage=from_buckets(usage)))
        return out + self.writer.end(usage)

    def _cut(self, chunk: Chunk) -> Chunk:
        """A chunk without what belongs to the beginning of an answer, or to another one's account."""
        choices = []
        for choice in (chunk.choices or [])[:1]:
            delta = choice.delta
            if delta is None and choice.text is not None:
                delta = Message(content=choice.text)
            if delta is not None:
                text = self._without_blank(delta.text())
                delta = Message(content=text or None, refusal=delta.refusal, tool_calls=delta.tool_calls)
            choices.append(
                Choice(
                    index=0,
                    delta=delta,
                    finish_reason=choice.finish_reason,
                    stop_reason=choice.stop_reason,
                )
            )
        return Chunk(choices=choices, model=chunk.model)

    def _without_blank(self, text: str) -> str:
        while text and self._blank and text[0] == self._blank[0]:
            text, self._blank = text[1:], self._blank[1:]
        if text:
            self._blank = ""
        return text


def writer_of(operation: Operation, requested: bytes, begun: Begun) -> ClientStream | None:
    """A writer that knows of a beginning that passed through; None where the beginning names too little."""
    document = decode(requested)
    if operation is Operation.RESPONSES:
        if begun.frame is None or begun.item is None:
            return None
        writer = ResponsesWriter(document)
        writer.adopt(begun.frame, begun.item, begun.sequence, begun.text)
        return writer
    stream = CLIENTS[operation].stream(document)
    said = Message(role="assistant", content=begun.text)
    stream.chunk(Chunk([Choice(index=0, delta=said)], begun.id, begun.created, begun.model))
    return stream


def _kind(value: Any) -> str | None:
    """The type of a format or of thinking, where one is given."""
    return value.get("type") if isinstance(value, dict) else None
