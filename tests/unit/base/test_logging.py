from __future__ import annotations

import io
import json
import logging as standard
from typing import TYPE_CHECKING, Any

import pytest

from mainspring.base import logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged since the start of the test, as JSON."""
    root = standard.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.configure("info", "json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.error_listeners.clear()


def test_lines_are_json_with_the_request_id(lines: Callable[[], list[dict[str, Any]]]) -> None:
    token = logging.request_id.set("the-id")
    logging.get_logger("mainspring.gateway.call").info("attempt_failed", provider="openai", attempt=2)
    logging.request_id.reset(token)
    logging.get_logger("x").info("later")
    first, second = lines()
    assert first["request_id"] == "the-id"
    assert (first["level"], first["event"], first["logger_name"]) == (
        "info",
        "attempt_failed",
        "gateway.call",
    )
    assert (first["provider"], first["attempt"]) == ("openai", 2)
    assert first["time"].endswith("Z")
    assert "request_id" not in second


def test_the_standard_library_takes_the_same_way(lines: Callable[[], list[dict[str, Any]]]) -> None:
    token = logging.request_id.set("the-id")
    standard.getLogger("uvicorn.error").warning("it said %s", "sk-proj-abcdefghijklmnop")
    logging.request_id.reset(token)
    standard.getLogger("uvicorn.error").info("Started server process")
    (line,) = lines()
    assert line["event"] == "it said sk-***"
    assert line["request_id"] == "the-id"
    assert line["logger_name"] == "uvicorn.error"


def test_the_level_holds_and_may_change(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log = logging.get_logger("x")
    log.debug("quiet")
    assert lines() == []
    stream = io.StringIO()
    logging.configure("debug", "json", stream=stream)
    log.debug("loud")
    assert "loud" in stream.getvalue()


@pytest.mark.parametrize(
    ("secret", "fields"),
    [
        (
            "ms-0123456789abcdefghijklmnopqrstuvwxyzABCD",
            {"why": "key ms-0123456789abcdefghijklmnopqrstuvwxyzABCD"},
        ),
        ("hunter2", {"url": "postgresql://user:hunter2@host/db"}),
        ("Zm9vOmJhcg", {"header": "Bearer Zm9vOmJhcg=="}),
        ("hunter2", {"password": "hunter2"}),
        ("hunter2", {"headers": {"Authorization": "hunter2", "X-API-Key": "hunter2"}}),
        ("hunter2", {"nested": [{"client_secret": "hunter2"}]}),
        ("tell nobody", {"messages": [{"role": "user", "content": "tell nobody"}]}),
        ("tell nobody", {"request": {"prompt": "tell nobody"}}),
        ("tell nobody", {"body": b"tell nobody"}),
    ],
)
def test_secrets_and_contents_never_reach_a_line(
    lines: Callable[[], list[dict[str, Any]]], secret: str, fields: dict[str, Any]
) -> None:
    logging.get_logger("x").warning("event", **fields)
    assert secret not in json.dumps(lines())


def test_counts_of_tokens_are_no_secrets(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logging.get_logger("x").warning("event", input_tokens=5, tokens_per_second=1.5)
    assert (lines()[0]["input_tokens"], lines()[0]["tokens_per_second"]) == (5, 1.5)


def test_tracebacks_are_searched_too_and_told_to_the_listeners(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    heard: list[BaseException] = []
    logging.error_listeners.append(heard.append)
    error = ValueError("statement failed\n[parameters: ('tell nobody',)]")
    try:
        raise error
    except ValueError:
        logging.get_logger("x").exception("unexpected_error")
    (line,) = lines()
    assert "ValueError: statement failed" in line["exception"]
    assert "tell nobody" not in line["exception"]
    assert heard == [error]


def test_on_a_terminal_lines_are_for_people() -> None:
    stream = io.StringIO()
    root = standard.getLogger()
    handlers = root.handlers[:]
    logging.configure("info", "console", stream=stream)
    logging.get_logger("mainspring.x").info("hello", port=1)
    root.handlers[:] = handlers
    assert "hello" in stream.getvalue()
    assert "port=1" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
