"""The framing of server-sent events does not depend on how the network cut it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.providers.sse import EventSplitter, ServerSentEvent, parse_events

#: A loaded machine may be slow; that says nothing about what is tested.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=12)
_line = st.one_of(
    _text.map(lambda text: f"data: {text}"),
    _text.map(lambda text: f"data:{text}"),
    _text.map(lambda text: f"event: {text}"),
    _text.map(lambda text: f": {text}"),
    st.sampled_from(["id: 7", "retry: 100", "data", "nonsense"]),
)
_ending = st.sampled_from(["\n", "\r\n"])
_event = st.builds(
    lambda lines, end: "".join(line + end for line in lines) + end,
    st.lists(_line, min_size=1, max_size=4),
    _ending,
)
_stream = st.lists(_event, max_size=6).map(lambda events: "".join(events).encode())


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


@settings(CALM)
@given(_stream, st.lists(st.integers(0, 10_000), max_size=8))
def test_events_do_not_depend_on_chunks(stream: bytes, places: list[int]) -> None:
    whole = parse_events(stream)
    splitter = EventSplitter()
    parts: list[ServerSentEvent] = []
    for chunk in _cut(stream, places):
        parts += parse_events(splitter.feed(chunk))
    assert [(event.name, event.data) for event in parts] == [(event.name, event.data) for event in whole]
    assert b"".join(event.raw for event in parts) == b"".join(event.raw for event in whole)
    assert splitter.rest() == b""


@settings(CALM)
@given(_stream, st.lists(st.integers(0, 10_000), max_size=8))
def test_splitter_loses_nothing_and_cuts_at_boundaries(stream: bytes, places: list[int]) -> None:
    splitter = EventSplitter()
    pieces = [splitter.feed(chunk) for chunk in _cut(stream, places)]
    assert b"".join(pieces) == stream
    assert all(piece.endswith((b"\n\n", b"\n\r\n")) for piece in pieces if piece)
