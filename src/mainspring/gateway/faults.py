"""What an error of a call means: who may cure it, and how much it tells the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import (
    ClientGone,
    ContextLengthExceeded,
    InvalidRequest,
    LocalModelError,
    MainspringError,
    Overloaded,
    ProviderCoolingDown,
    ProviderError,
    ProviderProtocolError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from mainspring.ledger.types import CALLERS_FAULT

if TYPE_CHECKING:
    from mainspring.ledger.types import Outcome

#: These are about the key that a call was made with.
_KEYS_FAULT = frozenset({401, 403, 429})
#: The same target may answer these well a little later, and errors of its own, such as those of proxies before it (520).
_PASSING = frozenset({408, 409, 425, 429})
_SERVER_ERROR = 500
#: Errors of its own that stay: it cannot do this, in this version of HTTP, on this network.
_LASTING = frozenset({501, 505, 511})
#: With this a provider refuses a request that alone is more than its limit for a minute, and Groq calls it 413.
_LIMITED = "rate_limit_exceeded"
#: With this one refuses a `previous_response_id` that it does not know.
_NOT_KEPT = "previous_response_not_found"

_OUTCOMES: tuple[tuple[type[MainspringError], Outcome], ...] = (
    (ProviderRefused, "refused"),
    (ProviderUnreachable, "unreachable"),
    (ProviderTimeout, "timeout"),
    (ProviderProtocolError, "protocol"),
    (StreamCut, "cut"),
    (ClientGone, "cancelled"),
)


def outcome_of(error: MainspringError) -> Outcome:
    """The word of the ledger for how an attempt ended."""
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "failed")


def another_target_may_cure(error: MainspringError) -> bool:
    """Whether another target may answer what failed with this error."""
    if isinstance(error, ProviderRefused):
        about_us = error.is_spent or error.upstream_type == _LIMITED
        return about_us or is_kept_elsewhere(error) or error.upstream_status not in CALLERS_FAULT
    if isinstance(error, ContextLengthExceeded):
        return False
    # What cannot be said in one provider's protocol may be said in that of another.
    return isinstance(error, ProviderError | LocalModelError | Overloaded | InvalidRequest)


def is_kept_elsewhere(error: MainspringError) -> bool:
    """Whether a request goes on from an answer that this target does not keep; the one that gave it does."""
    return isinstance(error, ProviderRefused) and error.upstream_type == _NOT_KEPT


def another_key_may_cure(error: MainspringError) -> bool:
    """Whether another key of the same provider may."""
    return isinstance(error, ProviderRefused) and (error.upstream_status in _KEYS_FAULT or error.is_spent)


def a_repeat_may_cure(error: MainspringError) -> bool:
    """Whether the same target may, a little later. One that was silent for the whole of its time is not asked again."""
    if isinstance(error, ProviderRefused):
        status = error.upstream_status
        passes = status in _PASSING or (status >= _SERVER_ERROR and status not in _LASTING)
        return passes and not error.is_spent
    return isinstance(error, ProviderUnreachable | StreamCut)


def is_dropped(error: MainspringError) -> bool:
    """Whether a kept connection broke as the call was written to it, which says nothing about the target."""
    return isinstance(error, ProviderUnreachable) and error.dropped


def usefulness(error: MainspringError) -> int:
    """How much an error tells the caller of a request that failed everywhere; the highest is told.

    First that a later try may help, and when; then that something is broken; last what only an operator can mend.
    """
    if isinstance(error, ProviderRefused):
        if a_repeat_may_cure(error):
            return 9 if error.retry_after is not None else 8
        return 4 if another_key_may_cure(error) else 3
    if isinstance(error, ProviderCoolingDown):
        return 7 if error.retry_after is not None else 1
    ranks: tuple[tuple[type[MainspringError], int], ...] = (
        (ProviderTimeout, 6),
        (ProviderError, 5),
        (Overloaded, 5),
        (LocalModelError, 3),
    )
    return next((rank for kind, rank in ranks if isinstance(error, kind)), 2)
