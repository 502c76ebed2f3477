"""Errors that come with a 200: inside a stream, or in the clothes of an answer."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.base.errors import ProviderRefused


def given(raw: msgspec.Raw) -> bytes:
    """The bytes of a member that was there and not null; else none."""
    data = bytes(raw)
    return b"" if data == b"null" else data


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
