"""What the room raises inside of itself."""

from __future__ import annotations


class NotTaken(Exception):
    """The receiver did not take the message.

    Attributes:
        reason: one clause for people, without addresses, secrets or contents.
        final: the receiver does not want it as it is; asking again soon makes no sense.
        retry_after: seconds that the receiver asked to be left alone for.
    """

    def __init__(self, reason: str, *, final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.retry_after = retry_after
