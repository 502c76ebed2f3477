"""What the caller can cure, and the caller who is gone."""

from __future__ import annotations

from mainspring.base.errors.root import MainspringError


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


class ClientGone(MainspringError):
    """The caller hung up. Recorded in the ledger with status 499; nobody is there to be told."""

    status = 499
    code = "client_gone"
