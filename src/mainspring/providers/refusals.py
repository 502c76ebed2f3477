"""What providers say when they refuse: the body of an error, and errors that come with a 200."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.base.errors import ProviderRefused

#: What decoding somebody else's bytes may raise: it is not JSON, not of that shape, not UTF-8, or nested too deeply.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def detail_of(body: bytes) -> dict[str, Any]:
    """What the body of an error says: the members of its `error`, or of itself; empty where it cannot be read.

    `message` is its text. Most providers send `{"error": {...}}`; some send a text there, or only `message` or `detail`,
    and Gemini wraps it in a list.
    """
    try:
        document: Any = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    detail = document.get("error")
    if isinstance(detail, dict):
        return detail
    return {**document, "message": detail or document.get("message") or document.get("detail")}


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
    except UNREADABLE:
        detail = None
    if isinstance(detail, str):
        message = detail
    elif isinstance(detail, dict):
        message = str(detail.get("message") or message)
        code = detail.get("code")
        kind = code if isinstance(code, str) else detail.get("type")
        status = _STATUS_OF_TYPE.get(str(kind), status)
        for candidate in (detail.get("status"), code):
            if isinstance(candidate, int) and 400 <= candidate < 600:  # noqa: PLR2004 - the HTTP error range
                status = candidate
    return ProviderRefused(
        f"{name} reported an error inside its answer: {message}",
        upstream_status=status,
        upstream_body=b'{"error":' + error + b"}",
        upstream_type=kind if isinstance(kind, str) else None,
    )


#: With what Responses say that a request cannot be answered as it is, by nobody.
_UNANSWERABLE = (
    "bio_policy",
    "data_residency_mismatch",
    "empty_image_file",
    "failed_to_download_image",
    "image_content_policy_violation",
    "image_file_not_found",
    "image_file_too_large",
    "image_parse_error",
    "image_too_large",
    "image_too_small",
    "invalid_base64_image",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "invalid_prompt",
    "misalignment_policy_violation",
    "unsupported_image_media_type",
)
#: Error types and codes that stand for a status, in either protocol.
_STATUS_OF_TYPE = dict.fromkeys(_UNANSWERABLE, 400) | {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_error": 500,
    "timeout_error": 504,
    "vector_store_timeout": 504,
}
