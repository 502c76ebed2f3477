"""Every error that Mainspring raises on purpose, as one tree.

MainspringError
├── ConfigError                 the configuration says something that cannot be
├── RequestError                the caller can cure it
│   ├── InvalidRequest          400
│   │   └── ContextLengthExceeded    more tokens than the model takes
│   ├── AuthenticationFailed    401
│   ├── PermissionDenied        403
│   ├── NotFound                404
│   ├── Conflict                409
│   └── PayloadTooLarge         413
├── ProviderError               a model provider did not do its part
│   ├── ProviderRefused         it answered with an error status
│   ├── ProviderUnreachable     no connection, or it broke before an answer
│   ├── ProviderTimeout         connected, but silent for too long
│   ├── ProviderProtocolError   it answered with something that is no answer
│   └── StreamCut               its stream ended in the middle
├── Overloaded                  this process has no room for the call now
├── StoreError                  our own database or blob store
│   ├── StoreUnavailable        not reachable, full or locked
│   └── MigrationError          the schema could not be brought up to date
├── LocalModelError             a model in the box cannot be loaded or run
└── ClientGone                  the caller hung up; nobody is there to be told

An error carries what is wrong (`message`), what to do (`remedy`), the HTTP status that fits it and a stable
machine-readable `code`. It never carries a secret or the contents of a conversation: error texts reach logs.
How an error looks on the wire is decided by the dialect of the caller, not here.
"""

from __future__ import annotations

from typing import ClassVar


class MainspringError(Exception):
    """Root of the tree.

    Attributes:
        message: what is wrong, one sentence.
        remedy: what to do about it, one sentence; may be empty.
        param: the request field that is to blame, if one is.
        retry_after: whole seconds after which a retry makes sense, if known.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    #: Whether the same request may succeed later. Clients are told through `x-should-retry`.
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, remedy: str = "", param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    @property
    def http_status(self) -> int:
        """The HTTP status for this instance; an upstream's own status where that says more."""
        return self.status


class ConfigError(MainspringError):
    """The configuration cannot be used as it is."""

    code = "config_error"


class RequestError(MainspringError):
    """The caller can cure it by sending something else."""

    status = 400
    code = "invalid_request"


class InvalidRequest(RequestError):
    """The request does not say what it must, or says it wrongly."""


class ContextLengthExceeded(InvalidRequest):
    """The request has more tokens than the model takes. Sending it again to the same model never helps."""

    code = "context_length_exceeded"


class AuthenticationFailed(RequestError):
    """No key, an unknown key, or one that was revoked or has expired."""

    status = 401
    code = "invalid_api_key"


class PermissionDenied(RequestError):
    """The key is good, but may not do this."""

    status = 403
    code = "permission_denied"


class NotFound(RequestError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(RequestError):
    """It clashes with what is already there."""

    status = 409
    code = "conflict"


class PayloadTooLarge(RequestError):
    """The body is larger than the server accepts."""

    status = 413
    code = "request_too_large"


class ProviderError(MainspringError):
    """A model provider did not do its part."""

    status = 502
    code = "provider_error"
    retryable = True


class ProviderRefused(ProviderError):
    """The provider answered with an error status.

    Attributes:
        upstream_status: the HTTP status that the provider sent.
        upstream_body: its body, as sent; it goes to the caller, never to a log.
        upstream_type: the provider's own error type or code, if it named one.
    """

    code = "provider_refused"

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        upstream_body: bytes = b"",
        upstream_type: str | None = None,
        remedy: str = "",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, retry_after=retry_after)
        self.upstream_status = upstream_status
        self.upstream_body = upstream_body
        self.upstream_type = upstream_type

    @property
    def http_status(self) -> int:
        """What the caller sees: the provider's status, except that our own key failing is not the caller's 401."""
        if self.upstream_status in {401, 403}:
            return 502
        return self.upstream_status if 400 <= self.upstream_status < 600 else self.status  # noqa: PLR2004 - the HTTP error range


class ProviderUnreachable(ProviderError):
    """No connection could be made, or it broke before an answer came.

    Attributes:
        dropped: the connection was there and broke before the first byte of an answer.
    """

    code = "provider_unreachable"

    def __init__(self, message: str, *, remedy: str = "", dropped: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.dropped = dropped


class ProviderTimeout(ProviderError):
    """The provider was connected but silent for longer than the route allows."""

    status = 504
    code = "provider_timeout"


class ProviderProtocolError(ProviderError):
    """What the provider sent is not an answer in its own protocol."""

    code = "provider_protocol_error"


class StreamCut(ProviderError):
    """The provider's stream ended before it said that it was done."""

    code = "stream_cut"


class Overloaded(MainspringError):
    """This process has no room for the call now."""

    status = 503
    code = "overloaded"
    retryable = True


class StoreError(MainspringError):
    """Our own database or blob store failed."""

    status = 503
    code = "store_error"
    retryable = True


class StoreUnavailable(StoreError):
    """The store cannot be reached, is full, or stays locked."""

    code = "store_unavailable"


class MigrationError(StoreError):
    """The schema could not be brought up to date."""

    code = "migration_error"
    retryable = False


class LocalModelError(MainspringError):
    """A model in the box is not there, or cannot be loaded or run."""

    status = 503
    code = "local_model_error"


class ClientGone(MainspringError):
    """The caller hung up. Recorded in the ledger with status 499; nobody is there to be told."""

    status = 499
    code = "client_gone"


def drop_frames(error: BaseException | None) -> None:
    """Let go of what an error that was dealt with still holds: the frames that it went through, and its causes.

    Frames hold requests and answers, and are held by what they hold: without this, the 30 MB of a failed request stay
    in memory until the collector happens to come by.
    """
    while error is not None:
        cause = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = cause
