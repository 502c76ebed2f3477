"""Logging: structlog, for people on a terminal and as JSON lines everywhere else.

Every line carries the id of the request it belongs to. Lines of the standard library (uvicorn, alembic, asyncio)
take the same way. Two things never reach a line: secrets, and what people said to a model. Values under names that
hold such things are dropped, and texts are searched for what looks like a key or a password, tracebacks included.

Lines go to standard error, so that `--json` on standard output stays clean.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sized
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

# structlog draws tracebacks with rich when it finds it. We do not, and rich costs 0.2 s and 6 MB in every process.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment] # None is how Python spells "do not import this"
try:
    import structlog
    from structlog.types import EventDict, FilteringBoundLogger, Processor, WrappedLogger
finally:
    if _rich is None:
        del sys.modules["rich"]
    else:
        sys.modules["rich"] = _rich

__all__ = ["Logger", "configure", "error_listeners", "get_logger", "request_id", "scrub_text"]

#: The type of what `get_logger` returns.
Logger = FilteringBoundLogger

#: The request that the running task works for. The HTTP edge sets it; every log line shows it.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

#: Told of every exception that is logged at level error or above; error trackers add themselves here.
error_listeners: list[Callable[[BaseException], None]] = []

#: Names whose values are never shown, wherever they stand in a line. Compared in lower case, `-` read as `_`.
SECRET_NAMES = frozenset({
    "admin_key", "api_key", "api_keys", "apikey", "authorization", "cookie", "dsn", "password", "proxy_authorization",
    "secret", "sentry_dsn", "set_cookie", "token", "x_api_key",
})  # fmt: skip
#: Names under which what was said to a model, or by it, could travel.
CONTENT_NAMES = frozenset({
    "answer", "arguments", "body", "comment", "completion", "content", "contents", "data", "input", "messages",
    "output", "payload", "prompt", "request_body", "response", "response_body", "text", "upstream_body",
})  # fmt: skip

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Keys of ours and of the usual providers.
    (re.compile(r"\b(ms|sk|pk|rk|gsk|xai|hf|tgp|AIza)([-_])[A-Za-z0-9_\-]{12,}"), r"\1\2***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), r"\1 ***"),
    # Passwords in URLs.
    (re.compile(r"(\b[a-z][a-z0-9+.\-]*://[^\s:/@]*):[^\s/@]+@"), r"\1:***@"),
    # Values that libraries quote in their messages: SQLAlchemy's parameters, pydantic's and msgspec's inputs.
    (re.compile(r"\[parameters: .*?\](?=\n|$)", re.DOTALL), "[parameters: ***]"),
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), "input_value=***"),
)


def get_logger(name: str) -> Logger:
    """A logger; `name` is usually `__name__`. Usable before `configure`, which it then follows."""
    return cast("Logger", structlog.get_logger(logger_name=name.removeprefix("mainspring.")))


def configure(
    level: str = "info",
    form: Literal["auto", "console", "json"] = "auto",
    *,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process. May be called again, for instance after a reload of the settings.

    Args:
        level: debug, info, warning or error.
        form: `auto` is `console` on a terminal and `json` otherwise.
        stream: where lines go; standard error by default.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _tell_listeners,
        structlog.processors.format_exc_info,
        _scrub,
    ]
    renderer = _console(out) if console else _json
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,  # a reload may change the level; loggers of modules must follow
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_add_foreign_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    _quieten(number)


class _Lines(structlog.WriteLogger):
    """Writes lines. One that cannot be written (a full disk, a closed stream) must not fail what it tells of."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def scrub_text(text: str) -> str:
    """A text without the keys and passwords that it quotes."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _quieten(level: int) -> None:
    """Foreign loggers that speak at info about what we say ourselves, or twice."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in ("uvicorn.error", "alembic", "asyncio", "aiohttp.access", "httpx", "sqlalchemy"):
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def _add_foreign_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["logger_name"] = record.name
    return event


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event.setdefault("request_id", current)
    return event


def _tell_listeners(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Hand logged exceptions to the error trackers, before they become text."""
    if not error_listeners or method not in {"error", "exception", "critical"}:
        return event
    info = event.get("exc_info")
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    error = error or (sys.exc_info()[1] if info else None)
    if error is not None:
        for listener in error_listeners:
            listener(error)
    return event


def _scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if not name.startswith("_"):  # structlog's own, on records of the standard library
            event[name] = _clean(name, value)
    return event


def _clean(name: str, value: Any) -> Any:
    """The value as it may be shown under this name."""
    if isinstance(value, (int, float)) or value is None:
        return value
    plain = name.lower().replace("-", "_")
    if plain in SECRET_NAMES or plain.endswith(("_password", "_secret", "_token", "_api_key")):
        return "***"
    if plain in CONTENT_NAMES:
        return f"({len(value)} long)" if isinstance(value, Sized) else "***"
    if isinstance(value, dict):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", inner) for inner in value]
    return scrub_text(str(value))


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {name: event.pop(name, None) for name in ("time", "level", "event")}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()


def _console(out: TextIO) -> Processor:
    from structlog.dev import ConsoleRenderer, plain_traceback  # noqa: PLC0415 - only where someone looks

    return ConsoleRenderer(
        colors=out.isatty(), timestamp_key="time", sort_keys=False, exception_formatter=plain_traceback
    )
