"""Server-sent events: cutting a byte stream at event boundaries, and reading the events.

`EventSplitter` only cuts, for streams that pass through undecoded: it runs once per chunk on the hot path, and most
chunks are whole events already. `parse_events` reads name and data, for streams that are translated. Lines end in LF or CRLF, mixed as the sender likes; a lone CR is no line end, since no model
provider sends one. This module knows nothing of what the events mean.
"""

from __future__ import annotations

import re

import msgspec

from mainspring.base.errors import ProviderProtocolError

#: An event larger than this (bytes) is no event but a broken or hostile stream.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_ENDS = (b"\n\n", b"\n\r\n")
_BOUNDARY = re.compile(rb"\n\r?\n")
_BOM = b"\xef\xbb\xbf"
#: A boundary is at most this long, so that much of what is held has to be searched again.
_OVERLAP = 3


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    Attributes:
        name: the `event` field; "message" when there was none, as the standard says.
        data: the `data` lines, joined by LF; never empty.
        raw: the bytes as they came, with the blank line that ends the event.
    """

    name: str
    data: bytes
    raw: bytes


class EventSplitter:
    """Cuts a byte stream so that only whole events go on."""

    __slots__ = ("_begun", "_held", "_limit")

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        self._begun = False
        self._held = b""
        self._limit = limit

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes and return all events that are whole by now; empty when none is.

        Raises:
            ProviderProtocolError: one event grew past the limit.
        """
        if not self._begun:
            self._begun = True
            chunk = chunk.removeprefix(_BOM)
        if not self._held and chunk.endswith(_ENDS):
            return chunk
        return self._cut(chunk)

    def rest(self) -> bytes:
        """The bytes of an event that has begun and not ended. They stay."""
        return self._held

    def _cut(self, chunk: bytes) -> bytes:
        start = max(0, len(self._held) - _OVERLAP)
        held = self._held + chunk
        if held.endswith(_ENDS):
            self._held = b""
            return held
        lf, crlf = held.rfind(b"\n\n", start), held.rfind(b"\n\r\n", start)
        cut = max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)
        self._held = held[cut:]
        if len(self._held) > self._limit:
            raise ProviderProtocolError(
                f"An event of the provider's stream is larger than {self._limit} bytes.",
                remedy="Ask for less in one answer, or report it to the provider.",
            )
        return held[:cut]


def parse_events(whole: bytes) -> list[ServerSentEvent]:
    """The events in bytes that end at a boundary, such as `EventSplitter.feed` returns."""
    events = []
    start = 0
    for match in _BOUNDARY.finditer(whole):
        event = _read(whole[start : match.end()])
        start = match.end()
        if event is not None:
            events.append(event)
    return events


def format_event(data: bytes, name: str = "") -> bytes:
    """An event on the wire. `data` must hold no line break, which JSON as msgspec writes it never does."""
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data


def _read(raw: bytes) -> ServerSentEvent | None:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and raw.endswith(b"\n\n"):
        data = raw[6:-2].removesuffix(b"\r")
        return ServerSentEvent("message", data, raw) if data else None
    name = b""
    data_lines = []
    for line in raw.split(b"\n"):
        field, colon, value = line.removesuffix(b"\r").partition(b":")
        if not colon and not field:
            continue
        value = value.removeprefix(b" ")
        if field == b"data":
            data_lines.append(value)
        elif field == b"event":
            name = value
    data = b"\n".join(data_lines)
    if not data:
        return None
    return ServerSentEvent(name.decode("utf-8", "replace") or "message", data, raw)
