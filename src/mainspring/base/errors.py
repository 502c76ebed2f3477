"""Every error that Mainspring raises on purpose, as one tree.

MainspringError
├── ConfigError                 the configuration says something that cannot be
├── RequestError                the caller can cure it
│   ├── InvalidRequest          400
│   │   ├── ContextLengthExceeded    more tokens than the model takes
│   │   └── NothingFits              no target of the route can do what the request needs
│   ├── AuthenticationFailed    401
│   ├── PermissionDenied        403
│   ├── NotFound                404
│   ├── Conflict                409
│   ├── PayloadTooLarge         413
│   ├── RateLimited             429, a limit of ours
│   └── BudgetExceeded          429, a budget of ours has too little left
│       └── UnknownPrice        nobody knows what the call would cost, so no budget can cover it
├── ProviderError               a model provider did not do its part
│   ├── ProviderRefused         it answered with an error status
│   ├── ProviderUnreachable     no connection, or it broke before an answer
│   ├── ProviderTimeout         connected, but silent for too long
│   ├── ProviderProtocolError   it answered with something that is no answer
│   ├── StreamCut               its stream ended in the middle
│   ├── NoTargetAvailable       every target of a route failed too often to be asked now
│   └── ProviderCoolingDown     none of its keys may be used now; it was not called
│       ├── ProviderDrained         somebody took it out of use
│       └── ProviderWithoutKey      none of its keys is there
├── SecretError                 a secret that is referred to is not there
│   └── SecretUnavailable       where it is kept does not answer
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

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


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
    """The configuration cannot be used as it is.

    Attributes:
        place: the path of the key that is to blame, entries of lists counted from 0; empty when it is not one key.
        others: what else is wrong, where more was found than this.
    """

    code = "config_error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        place: tuple[str | int, ...] = (),
        others: Sequence[ConfigError] = (),
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.place = place
        self.others = others

    def __str__(self) -> str:
        more = len(self.others)
        if not more:
            return super().__str__()
        mistakes = "one more mistake" if more == 1 else f"{more} more mistakes"
        return f"{super().__str__()} `mainspring check` tells of {mistakes}."


class Mistakes:
    """Gathers what is wrong with a configuration, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is raised within is kept, and the rest of the block left out."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def add(self, *errors: ConfigError) -> None:
        """Keep errors, each with the others that came with it."""
        for error in errors:
            self.found += [error, *error.others]
            error.others = ()

    def tell(self) -> None:
        """Raise the first with the others, if there are any."""
        if self.found:
            first, *others = self.found
            first.others = others
            raise first from None


class RequestError(MainspringError):
    """The caller can cure it by sending something else."""

    status = 400
    code = "invalid_request"


class InvalidRequest(RequestError):
    """The request does not say what it must, or says it wrongly."""


class ContextLengthExceeded(InvalidRequest):
    """The request has more tokens than the model takes. Sending it again to the same model never helps."""

    code = "context_length_exceeded"


class NothingFits(InvalidRequest):
    """No target of the route can do what the request needs: tools, images, a JSON schema."""

    code = "no_target_fits"


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


class RateLimited(RequestError):
    """A limit of ours has no room for the request now. Nothing was consumed by asking.

    Attributes:
        limit: the name of the setting that it is about: `rps_per_user`, `tokens_per_minute_per_key`, ...
        retry_after_ms: when there may be room again, if known; `retry_after` is the same in whole seconds.
    """

    status = 429
    code = "rate_limit_exceeded"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        param: str | None = None,
        retry_after: int | None = None,
        retry_after_ms: int | None = None,
        limit: str = "",
    ) -> None:
        seconds = retry_after if retry_after_ms is None else -(-retry_after_ms // 1000)
        super().__init__(message, remedy=remedy, param=param, retry_after=seconds)
        self.limit = limit
        self.retry_after_ms = retry_after_ms


class BudgetExceeded(RequestError):
    """A budget that is about the request has too little left for it. Nothing was sent upstream.

    Attributes:
        budget_id: which one.
        step_down: the route that its policy names for this case, if it names one.
        unrecorded: how many of the same kind got no row before this one, where this one gets a row.
    """

    status = 429
    code = "insufficient_quota"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        retry_after: int | None = None,
        budget_id: str | None = None,
        step_down: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, retry_after=retry_after)
        self.budget_id = budget_id
        self.step_down = step_down
        self.unrecorded: int | None = None


class UnknownPrice(BudgetExceeded):
    """The price of a model is not known, and a budget in dollars is about the request."""

    status = 403
    code = "unknown_price"


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
        upstream_headers: its headers, names in lower case.
        key: the label of the key that the call was made with, if it was made with one; never the secret.
    """

    code = "provider_refused"

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        upstream_body: bytes = b"",
        upstream_type: str | None = None,
        upstream_headers: Mapping[str, str] | None = None,
        remedy: str = "",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, retry_after=retry_after)
        self.upstream_status = upstream_status
        self.upstream_body = upstream_body
        self.upstream_type = upstream_type
        self.upstream_headers = upstream_headers or {}
        self.key: str | None = None

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


class NoTargetAvailable(ProviderError):
    """Every target failed so often lately that none of them is asked now."""

    status = 503
    code = "no_target_available"


class ProviderCoolingDown(ProviderError):
    """No key of the provider may be used now, so it was not called; `limited` says that rate limits are the reason."""

    status = 503
    code = "provider_cooling_down"

    def __init__(
        self, message: str, *, remedy: str = "", retry_after: int | None = None, limited: bool = False
    ) -> None:
        super().__init__(message, remedy=remedy, retry_after=retry_after)
        self.limited = limited

    @property
    def http_status(self) -> int:
        """429 where the provider's rate limits are the reason."""
        return 429 if self.limited else self.status


class ProviderDrained(ProviderCoolingDown):
    """Somebody took the provider, or every key of it, out of use."""

    code = "provider_drained"


class ProviderWithoutKey(ProviderCoolingDown):
    """The provider needs a key, and none of those that the configuration names is there."""

    code = "provider_without_key"
    retryable = False


class SecretError(MainspringError):
    """A secret that the configuration refers to is not there, or cannot be read."""

    code = "secret_error"


class SecretUnavailable(SecretError):
    """Where the secret is kept does not answer. What was read before stays in use."""

    status = 503
    code = "secret_unavailable"
    retryable = True


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
