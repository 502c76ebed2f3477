"""What is read off streams of the OpenAI wire: usage, finish, errors, and whether content has begun.

Events that cannot hold any of these pass by undecoded.
"""

from __future__ import annotations

import itertools
import re

import msgspec

from mainspring.base.errors import ProviderProtocolError
from mainspring.providers.lenient import lenient, without_usage
from mainspring.providers.openai_answers import ResponsesAnswer, WireUsage, responses_finish
from mainspring.providers.refusals import UNREADABLE, given, refusal
from mainspring.providers.types import Seen

_DONE = b"data: [DONE]\n\n"
_BOUNDARY = re.compile(rb"\n\r?\n")


class _Delta(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()


class _ChunkChoice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_ChunkChoice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    object: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_EMPTY = (b"", b"null", b'""', b"[]", b"{}")


class ChatScanner:
    """Reads chat and legacy completion streams; see `providers.types.StreamScanner`.

    Until content was seen every event is decoded; from then on only those that may end or break the stream.
    """

    def __init__(self, name: str, *, strip_usage: bool) -> None:
        self.seen = Seen()
        self._name = name
        self._strip = strip_usage
        #: Which choices were seen to begin and to end: an answer of several is complete when all of them are.
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def feed(self, events: bytes) -> bytes:
        """Look at whole events; return those for the caller."""
        seen = self.seen
        if (
            seen.content
            and not seen.finished
            and b"[DONE]" not in events
            and b'"error"' not in events
            # Another choice than the first may begin here.
            and events.count(b'"index":') == events.count(b'"index":0')
            and events.count(b'"finish_reason"') == events.count(b'"finish_reason":null')
            and events.count(b'"usage"') == events.count(b'"usage":null')
        ):
            return events.replace(b',"usage":null', b"") if self._strip else events
        return b"".join([self._event(event) for event in split_events(events)])

    def terminal(self) -> bytes:
        """The end marker."""
        return _DONE

    def _event(self, event: bytes) -> bytes:
        data, seen = data_of(event), self.seen
        if data is None:
            return event
        if data == b"[DONE]" or seen.error is not None:  # nothing counts after an error
            # Not every provider sends a finish reason with legacy completions; the marker says it as well.
            seen.finished = seen.finished or seen.error is None
            seen.ended = True
            return b""
        try:
            chunk = lenient(_decode_chunk, data)
        except UNREADABLE as error:
            raise ProviderProtocolError(
                f"{self._name} sent a stream event that is no JSON of its protocol."
            ) from error
        # Some servers (vLLM) send the error itself, and [DONE] after it.
        if said := given(chunk.error) or (data if chunk.object == "error" else b""):
            seen.error = refusal(self._name, said)
            return b""
        self._note(chunk)
        if not self._strip:
            return event
        if chunk.usage is not None:
            return b"" if not chunk.choices else _stripped(event, data)
        return event.replace(b',"usage":null', b"")

    def _note(self, chunk: _Chunk) -> None:
        seen = self.seen
        if seen.model is None:
            seen.model = chunk.model
        if chunk.usage is not None:
            seen.usage = chunk.usage.exclusive()
        for choice in chunk.choices or ():
            index, reason = choice.index or 0, choice.finish_reason
            begins = index not in self._begun and _has_content(choice)
            if begins:
                seen.content = True
                self._begun.add(index)
            if reason:  # some providers send an empty one until the end
                seen.finish_reason = reason
                self._ended.add(index)
            if begins or reason:
                seen.finished = bool(self._ended) and self._begun <= self._ended


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


def _stripped(event: bytes, data: bytes) -> bytes:
    """An event with its top-level `usage` taken out."""
    rest = without_usage(data)
    return event.replace(data, rest) if data in event else b"data: " + rest + b"\n\n"


class _ResponsesEvent(msgspec.Struct):
    type: str | None = None
    response: ResponsesAnswer | None = None
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None


_decode_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
#: These carry no content: until another type was seen, a different target may still take over.
_RESPONSES_PRELUDE = frozenset(
    {
        "keepalive",
        "response.content_part.added",
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.queued",
        "response.reasoning_summary_part.added",
    }
)
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
        if data is None:
            return event
        if data == b"[DONE]" or self.seen.error is not None:
            return b""
        try:
            decoded = _decode_responses_event(data)
        except UNREADABLE as error:
            raise ProviderProtocolError(
                f"{self._name} sent a stream event that is no JSON of its protocol."
            ) from error
        seen, response = self.seen, decoded.response
        if response is not None and seen.model is None:
            seen.model = response.model
        if decoded.type in _RESPONSES_END and response is not None:
            seen.finished = seen.ended = True
            seen.finish_reason = responses_finish(response)
            seen.usage = response.usage.exclusive() if response.usage is not None else None
            self._terminal = event
            return b""
        if decoded.type == "response.failed" and response is not None:
            seen.usage = response.usage.exclusive() if response.usage is not None else None
            seen.error = refusal(self._name, given(response.error) or b"{}")
            return b""
        if decoded.type == "error":
            seen.error = refusal(self._name, given(decoded.error) or data)
            return b""
        if decoded.type not in _RESPONSES_PRELUDE:
            seen.content = True
        return event


def _may_matter(events: bytes) -> bool:
    return (
        b'"response.completed"' in events
        or b'"response.incomplete"' in events
        or b'"response.failed"' in events
        or b'"error"' in events
    )


def split_events(events: bytes) -> list[bytes]:
    """Whole events, byte for byte, each with its closing blank line, from bytes that end at one."""
    if b"\r" not in events:
        return [part + b"\n\n" for part in events.split(b"\n\n") if part.strip(b"\n")]
    ends = [0, *(match.end() for match in _BOUNDARY.finditer(events))]
    return [events[start:end] for start, end in itertools.pairwise(ends)]


def data_of(event: bytes) -> bytes | None:
    """The data of one event, without white space around it, or None for a comment or an event without data."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2:  # noqa: PLR2004 - one line and the blank one
        return event[6:].strip() or None
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() or None
