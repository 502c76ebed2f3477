"""Reading server-sent events."""

from __future__ import annotations

import pytest

from mainspring.base.errors import ProviderProtocolError
from mainspring.providers.sse import EventSplitter, ServerSentEvent, format_event, parse_events


def _events(stream: bytes) -> list[ServerSentEvent]:
    return parse_events(EventSplitter().feed(stream))


def _read(stream: bytes) -> list[tuple[str, bytes]]:
    return [(event.name, event.data) for event in _events(stream)]


def test_plain_and_named_events() -> None:
    assert _read(b'data: {"a":1}\n\nevent: ping\ndata: {}\n\n') == [("message", b'{"a":1}'), ("ping", b"{}")]


def test_crlf_and_mixed_line_ends() -> None:
    assert _read(b"event: a\r\ndata: 1\r\n\r\ndata: 2\n\r\ndata: 3\r\n\n") == [
        ("a", b"1"),
        ("message", b"2"),
        ("message", b"3"),
    ]


def test_several_data_lines_are_joined() -> None:
    assert _read(b"data: one\ndata:two\ndata\n\n") == [("message", b"one\ntwo\n")]


def test_comments_and_empty_events_are_left_out() -> None:
    assert _read(b": keepalive\n\n\n\nevent: ping\n\ndata: \n\ndata: x\n\n") == [("message", b"x")]


def test_byte_order_mark_is_skipped() -> None:
    assert _read(b"\xef\xbb\xbfdata: x\n\n") == [("message", b"x")]


def test_raw_is_what_came() -> None:
    raw = b"event: a\r\ndata: 1\r\n\r\n"
    assert _events(raw)[0].raw == raw


def test_unfinished_event_is_held() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\ndata: [DONE]\n") == b"data: 1\n\n"
    assert splitter.rest() == b"data: [DONE]\n"


def test_splitter_passes_whole_events_untouched() -> None:
    chunk = b"data: 1\n\ndata: 2\n\n"
    assert EventSplitter().feed(chunk) is chunk


def test_splitter_holds_a_boundary_that_was_cut() -> None:
    splitter = EventSplitter()
    assert [splitter.feed(part) for part in (b"data: 1\r\n\r", b"\nda", b"ta: 2\n", b"\n")] == [
        b"",
        b"data: 1\r\n\r\n",
        b"",
        b"data: 2\n\n",
    ]


def test_event_past_the_limit_is_refused() -> None:
    splitter = EventSplitter(limit=10)
    with pytest.raises(ProviderProtocolError):
        splitter.feed(b"data: 0123456789")


def test_format_event() -> None:
    assert format_event(b"{}", "ping") == b"event: ping\ndata: {}\n\n"
    assert format_event(b"[DONE]") == b"data: [DONE]\n\n"
