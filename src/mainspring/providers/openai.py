"""The OpenAI wire: chat, completions, responses and embeddings over HTTP, as many providers speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import MainspringError, ProviderProtocolError, ProviderRefused
from mainspring.ledger.types import Usage
from mainspring.providers.transport import HttpTransport
from mainspring.providers.types import Operation, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.providers.types import Call, Reply, StreamScanner

PATHS = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETIONS: "/completions",
    Operation.RESPONSES: "/responses",
    Operation.EMBEDDINGS: "/embeddings",
}
_DONE = b"data: [DONE]\n\n"


class OpenAIProvider:
    """One upstream that speaks OpenAI's protocol; see `providers.types.Provider`.

    Args:
        name: as configured.
        base_url: up to and including the version, such as `https://api.openai.com/v1`.
        headers: credentials and extra headers.
        operations: what it serves natively.
        connections: most connections at once; 0 is no limit.
    """

    api = "openai"

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        operations: frozenset[Operation],
        connections: int = 0,
    ) -> None:
        self.name = name
        self.operations = operations
        self._transport = HttpTransport(
            name, base_url.rstrip("/"), {"content-type": "application/json", **headers}, connections
        )

    async def start(self) -> None:
        """Open the pool."""
        await self._transport.start()

    async def call(self, call: Call) -> Reply:
        """Send; return when the head of the answer is there."""
        return await self._transport.post(
            PATHS[call.operation], call.body, call.headers, call.connect_seconds
        )

    def scanner(self, operation: Operation, *, strip_usage: bool) -> StreamScanner:
        """A fresh scanner for a stream of this operation."""
        if operation is Operation.RESPONSES:
            return ResponsesScanner(self.name)
        return ChatScanner(self.name, strip_usage=strip_usage)

    def read_usage(self, operation: Operation, body: bytes) -> Seen:
        """Usage and finish of a whole answer."""
        return read_answer(self.name, operation, body)

    async def models(self) -> list[str]:
        """The models that the provider lists; this also warms a connection."""
        try:
            reply = await self._transport.get("/models", 5)
        except MainspringError:
            return []
        try:
            document = msgspec.json.decode(await reply.read())
            return [str(item["id"]) for item in document["data"]]
        except (MainspringError, msgspec.DecodeError, LookupError, TypeError):
            return []
        finally:
            reply.close()

    async def close(self) -> None:
        """Close the pool."""
        await self._transport.close()


# What is read off answers. Unknown fields are skipped without being decoded.


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


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
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached tokens

    def exclusive(self) -> Usage:
        """The same in exclusive buckets."""
        prompt = self.prompt_tokens or self.input_tokens or 0
        completion = self.completion_tokens or self.output_tokens or 0
        cached = self.prompt_cache_hit_tokens or 0
        details_in = self.prompt_tokens_details or self.input_tokens_details
        if details_in is not None and details_in.cached_tokens:
            cached = details_in.cached_tokens
        details_out = self.completion_tokens_details or self.output_tokens_details
        reasoning = (details_out.reasoning_tokens or 0) if details_out is not None else 0
        cached, reasoning = min(cached, prompt), min(reasoning, completion)
        return Usage(
            input=prompt - cached, cache_read=cached, output=completion - reasoning, reasoning=reasoning
        )


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _ResponsesAnswer(msgspec.Struct):
    status: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw | None = None
    incomplete_details: _Incomplete | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_responses = msgspec.json.Decoder(_ResponsesAnswer).decode


def read_answer(name: str, operation: Operation, body: bytes) -> Seen:
    """Usage, model and finish reason of a whole answer of the OpenAI wire.

    Raises:
        ProviderProtocolError: it is not such an answer.
        ProviderRefused: it is an error in the clothes of a 200.
    """
    try:
        if operation is Operation.RESPONSES:
            return _read_responses(name, _decode_responses(body))
        answer = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderProtocolError(
            f"{name} answered 200 with a body that is no answer of its protocol."
        ) from error
    items = answer.data if operation is Operation.EMBEDDINGS else answer.choices
    if items is None:
        if answer.error is not None:
            raise refusal(name, bytes(answer.error))
        raise ProviderProtocolError(f"{name} answered 200 with a body that is no answer of its protocol.")
    return Seen(
        usage=answer.usage.exclusive() if answer.usage is not None else None,
        finish_reason=answer.choices[0].finish_reason if answer.choices else None,
        model=answer.model,
        finished=True,
        content=True,
    )


def _read_responses(name: str, answer: _ResponsesAnswer) -> Seen:
    if answer.status is None:
        if answer.error is not None:
            raise refusal(name, bytes(answer.error))
        raise ProviderProtocolError(f"{name} answered 200 with a body that is no answer of its protocol.")
    return Seen(
        usage=answer.usage.exclusive() if answer.usage is not None else None,
        finish_reason=_responses_finish(answer),
        model=answer.model,
        finished=True,
        content=True,
    )


def _responses_finish(answer: _ResponsesAnswer) -> str | None:
    if answer.incomplete_details is not None and answer.incomplete_details.reason:
        return answer.incomplete_details.reason
    return answer.status


def refusal(name: str, error: bytes) -> ProviderRefused:
    """An error that came with a 200, as the error that it is.

    Args:
        name: the provider.
        error: the JSON of the `error` member (or of the whole error event).
    """
    status, message, kind = 502, "no explanation", None
    try:
        detail: Any = msgspec.json.decode(error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = None
    if isinstance(detail, str):
        message = detail
    elif isinstance(detail, dict):
        message = str(detail.get("message") or message)
        code = detail.get("code")
        kind = str(code) if isinstance(code, str) else detail.get("type")
        for candidate in (code, detail.get("status")):
            if isinstance(candidate, int) and 400 <= candidate < 600:  # noqa: PLR2004 - the HTTP error range
                status = candidate
        status = _STATUS_OF_TYPE.get(str(kind), status)
    return ProviderRefused(
        f"{name} reported an error inside its answer: {message}",
        upstream_status=status,
        upstream_body=b'{"error":' + error + b"}",
        upstream_type=kind if isinstance(kind, str) else None,
    )


#: Error types and codes that stand for a status, in either protocol.
_STATUS_OF_TYPE = {
    "api_error": 500,
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "server_error": 500,
}


class _Delta(msgspec.Struct):
    content: msgspec.Raw | None = None
    reasoning_content: msgspec.Raw | None = None
    reasoning: msgspec.Raw | None = None
    refusal: msgspec.Raw | None = None
    tool_calls: msgspec.Raw | None = None
    function_call: msgspec.Raw | None = None
    audio: msgspec.Raw | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_ChunkChoice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_EMPTY = (b'""', b"null", b"[]")


class ChatScanner:
    """Reads chat and legacy completion streams; see `providers.types.StreamScanner`.

    Until content was seen every event is decoded; from then on only those that may end or break the stream.
    """

    def __init__(self, name: str, *, strip_usage: bool) -> None:
        self.seen = Seen()
        self._name = name
        self._strip = strip_usage

    def feed(self, events: bytes) -> bytes:
        """Look at whole events; return those for the caller."""
        seen = self.seen
        if (
            seen.content
            and not seen.finished
            and b"[DONE]" not in events
            and b'"error"' not in events
            and events.count(b'"finish_reason"') == events.count(b'"finish_reason":null')
            and events.count(b'"usage"') == events.count(b'"usage":null')
        ):
            return events.replace(b',"usage":null', b"") if self._strip else events
        return b"".join([self._event(event) for event in split_events(events)])

    def terminal(self) -> bytes:
        """The end marker."""
        return _DONE

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None:
            return event
        seen = self.seen
        if data == b"[DONE]":
            # Not every provider sends a finish reason with legacy completions; the marker says it as well.
            seen.finished = True
            return b""
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderProtocolError(
                f"{self._name} sent a stream event that is no JSON of its protocol."
            ) from error
        if chunk.error is not None and bytes(chunk.error) != b"null":
            seen.error = refusal(self._name, bytes(chunk.error))
            return b""
        if seen.model is None:
            seen.model = chunk.model
        if chunk.usage is not None:
            seen.usage = chunk.usage.exclusive()
        for choice in chunk.choices or ():
            if choice.finish_reason is not None:
                seen.finish_reason = choice.finish_reason
                seen.finished = True
            if not seen.content and _has_content(choice):
                seen.content = True
        if not self._strip:
            return event
        if chunk.usage is not None:
            return b"" if not chunk.choices else without_usage(event, data)
        return event.replace(b',"usage":null', b"")


def _has_content(choice: _ChunkChoice) -> bool:
    if choice.text:
        return True
    delta = choice.delta
    if delta is None:
        return False
    parts = (
        delta.content,
        delta.tool_calls,
        delta.reasoning_content,
        delta.reasoning,
        delta.refusal,
        delta.audio,
    )
    return any(part is not None and bytes(part) not in _EMPTY for part in (*parts, delta.function_call))


def without_usage(event: bytes, data: bytes) -> bytes:
    """An event with its top-level `usage` taken out; everything else stays byte for byte."""
    document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    document.pop("usage", None)
    return event.replace(data, msgspec.json.encode(document))


class _ResponsesEvent(msgspec.Struct):
    type: str | None = None
    response: _ResponsesAnswer | None = None
    error: msgspec.Raw | None = None
    message: str | None = None


_decode_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
#: These carry no content: until another type was seen, a different target may still take over.
_RESPONSES_PRELUDE = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive"})
_RESPONSES_END = frozenset({"response.completed", "response.incomplete"})


class ResponsesScanner:
    """Reads streams of the Responses API; the closing event is kept back for `terminal`."""

    def __init__(self, name: str) -> None:
        self.seen = Seen()
        self._name = name
        self._terminal = b""

    def feed(self, events: bytes) -> bytes:
        """Look at whole events; return those for the caller."""
        if self.seen.content and b'"response.' in events and not _may_matter(events):
            return events
        return b"".join([self._event(event) for event in split_events(events)])

    def terminal(self) -> bytes:
        """The closing event, as the provider sent it."""
        return self._terminal

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None or data == b"[DONE]":
            return b"" if data else event
        try:
            decoded = _decode_responses_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderProtocolError(
                f"{self._name} sent a stream event that is no JSON of its protocol."
            ) from error
        seen, response = self.seen, decoded.response
        if response is not None and seen.model is None:
            seen.model = response.model
        if decoded.type in _RESPONSES_END and response is not None:
            seen.finished = True
            seen.finish_reason = _responses_finish(response)
            seen.usage = response.usage.exclusive() if response.usage is not None else None
            self._terminal = event
            return b""
        if decoded.type == "response.failed" and response is not None:
            seen.usage = response.usage.exclusive() if response.usage is not None else None
            seen.error = refusal(self._name, bytes(response.error or b"{}"))
            return b""
        if decoded.type == "error":
            seen.error = refusal(self._name, bytes(decoded.error) if decoded.error is not None else data)
            return b""
        if decoded.type not in _RESPONSES_PRELUDE:
            seen.content = True
        return event


def _may_matter(events: bytes) -> bool:
    return (
        b'"response.completed"' in events
        or b'"response.incomplete"' in events
        or b'"response.failed"' in events
        or b'"type":"error"' in events
        or b"event: error" in events
    )


def split_events(events: bytes) -> list[bytes]:
    """Whole events, each with its closing blank line, from bytes that end at one."""
    if b"\r" in events:
        events = events.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [part + b"\n\n" for part in events.split(b"\n\n") if part.strip(b"\n")]


def data_of(event: bytes) -> bytes | None:
    """The data of one event, or None for a comment or an event without data."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2:  # noqa: PLR2004 - one line and the blank one
        return event[6:-2]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
