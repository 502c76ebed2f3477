"""What a model provider did not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors.root import MainspringError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProviderError(MainspringError):
    """A model provider did not do its part."""

    status = 502
    code = "provider_error"
    retryable = True


#: What providers call an account that has run out of money, whatever status they give it.
_SPENT = frozenset(
    {"billing_error", "billing_hard_limit_reached", "credit_balance_too_low", "insufficient_quota"}
)


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
    def is_spent(self) -> bool:
        """Whether the account behind the key has run out of money."""
        return self.upstream_status == 402 or self.upstream_type in _SPENT  # noqa: PLR2004 - payment required

    @property
    def http_status(self) -> int:
        """What the caller sees: the provider's status, except that our own key failing is not the caller's 401."""
        if self.upstream_status in {401, 402, 403} or (self.is_spent and self.upstream_status == 400):  # noqa: PLR2004 - said in place of 402
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
    """The provider's answer ended before it was complete.

    Attributes:
        arrived: what had come of an answer that is read whole; it never goes to a log.
    """

    code = "stream_cut"

    def __init__(self, message: str, *, remedy: str = "", arrived: bytes = b"") -> None:
        super().__init__(message, remedy=remedy)
        self.arrived = arrived


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
