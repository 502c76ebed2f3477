"""Errors and pings in the words of Anthropic's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import ProviderRefused
from mainspring.web.refusals import headers_of, upstream_words

if TYPE_CHECKING:
    from mainspring.base.errors import MainspringError

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SERVER_ERROR = 500
#: OpenAI's "unavailable" is Anthropic's "overloaded".
_UNAVAILABLE, _OVERLOADED = 503, 529


class AnthropicDialect:
    """One surface of Anthropic's protocol; see `gateway.types.Dialect`.

    Args:
        surface: `messages` or `count_tokens`.
    """

    id_headers: tuple[bytes, ...] = (b"x-request-id", b"request-id")
    keepalive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, surface: str) -> None:
        self.name = f"anthropic.{surface}"

    def error(self, error: MainspringError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body."""
        status = _status(error)
        headers = [*headers_of(error, request_id), (b"request-id", request_id.encode())]
        return status, headers, msgspec.json.encode(_body(error, status, request_id))

    def stream_error(self, error: MainspringError, request_id: str) -> bytes:
        """An `error` event, at which every client raises."""
        return (
            b"event: error\ndata: " + msgspec.json.encode(_body(error, _status(error), request_id)) + b"\n\n"
        )


def _status(error: MainspringError) -> int:
    status = error.http_status
    if status == _UNAVAILABLE and isinstance(error, ProviderRefused):
        return _OVERLOADED
    return status


def _body(error: MainspringError, status: int, request_id: str) -> dict[str, Any]:
    kind = _TYPES.get(status, "api_error" if status >= _SERVER_ERROR else "invalid_request_error")
    words = upstream_words(error)
    own_key = isinstance(error, ProviderRefused) and error.http_status != error.upstream_status
    message = str(error) if words is None or words.message is None or own_key else words.message
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


MESSAGES = AnthropicDialect("messages")
COUNT_TOKENS = AnthropicDialect("count_tokens")
