"""What every dialect needs to say of an error: the status, the headers, and what an upstream said itself."""

from __future__ import annotations

import msgspec

from mainspring.base.errors import MainspringError, ProviderRefused, RateLimited
from mainspring.gateway.faults import a_repeat_may_cure
from mainspring.providers.refusals import detail_of


class Upstream(msgspec.Struct):
    """The error of a provider in its own words; every member may be missing."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


def upstream_words(error: MainspringError) -> Upstream | None:
    """What the provider said, if the error is its own; what cannot be read is None."""
    if not isinstance(error, ProviderRefused):
        return None
    detail = detail_of(error.upstream_body)
    fields = {
        name: value for name in ("message", "type", "param") if isinstance(value := detail.get(name), str)
    }
    code = detail.get("code")
    return Upstream(**fields, code=code if isinstance(code, str | int) else None)


def headers_of(error: MainspringError, request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an error answer: its id, when to come back, and whether to come back at all."""
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode()),
        (b"x-mainspring-cache", b"off"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, RateLimited):
        if error.retry_after_ms is not None:
            headers.append((b"retry-after-ms", b"%d" % error.retry_after_ms))
        headers.append((b"x-should-retry", b"true"))  # clients differ in what they do on a 429 by themselves
    elif not _may_pass(error):
        headers.append((b"x-should-retry", b"false"))
    return headers


def _may_pass(error: MainspringError) -> bool:
    if isinstance(error, ProviderRefused):
        return a_repeat_may_cure(error)
    return error.retryable
