"""Errors and keepalives in the words of OpenAI's protocol."""

from __future__ import annotations

import msgspec

from mainspring.base.errors import BudgetExceeded, MainspringError, NotFound, ProviderRefused
from mainspring.web.refusals import headers_of, upstream_words

_TYPES = {429: "rate_limit_error"}
_SERVER_ERROR = 500
#: Anthropic's overload status means nothing to OpenAI's clients.
_OVERLOADED, _UNAVAILABLE = 529, 503


class OpenAIDialect:
    """One surface of OpenAI's protocol; see `gateway.types.Dialect`.

    Args:
        surface: `chat`, `completions`, `responses` or `embeddings`.
    """

    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    keepalive = b": keepalive\n\n"

    def __init__(self, surface: str) -> None:
        self.name = f"openai.{surface}"
        self._responses = surface == "responses"

    def error(self, error: MainspringError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body."""
        status = error.http_status
        status = _UNAVAILABLE if status == _OVERLOADED else status
        return status, headers_of(error, request_id), msgspec.json.encode({"error": _detail(error, status)})

    def stream_error(self, error: MainspringError, request_id: str) -> bytes:
        """An event that makes the client raise. `Stream` of the SDK looks for a member `error`."""
        detail = _detail(error, error.http_status)
        if not self._responses:
            return b"data: " + msgspec.json.encode({"error": {**detail, "request_id": request_id}}) + b"\n\n"
        event = {"type": "error", **{k: detail[k] for k in ("code", "message", "param")}, "error": detail}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _detail(error: MainspringError, status: int) -> dict[str, str | int | None]:
    words = upstream_words(error)
    kind = _TYPES.get(status, "server_error" if status >= _SERVER_ERROR else "invalid_request_error")
    if isinstance(error, BudgetExceeded) and status in _TYPES:
        kind = error.code  # as OpenAI names an account that has nothing left
    if words is None or words.message is None:
        ours = "model_not_found" if isinstance(error, NotFound) and error.param == "model" else error.code
        return {"message": str(error), "type": kind, "param": error.param, "code": ours}
    if isinstance(error, ProviderRefused) and status not in {error.upstream_status, _UNAVAILABLE}:
        # Our key at the provider is what failed: say so, or the caller doubts its own.
        return {"message": str(error), "type": kind, "param": None, "code": error.code}
    code = words.code if words.code is not None else words.type
    return {"message": words.message, "type": kind, "param": words.param, "code": code}


CHAT = OpenAIDialect("chat")
COMPLETIONS = OpenAIDialect("completions")
RESPONSES = OpenAIDialect("responses")
EMBEDDINGS = OpenAIDialect("embeddings")
