"""The root of the tree of errors, and letting go of one."""

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


def drop_frames(error: BaseException | None) -> None:
    """Let go of what an error that was dealt with still holds: the frames that it went through, and its causes.

    Frames hold requests and answers, and are held by what they hold: without this, the 30 MB of a failed request stay
    in memory until the collector happens to come by.
    """
    while error is not None:
        cause = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = cause
