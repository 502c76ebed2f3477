"""A secret as it was read."""

from __future__ import annotations

import msgspec


class Secret(msgspec.Struct, frozen=True):
    """A secret as it was read.

    Attributes:
        value: the secret itself, without line breaks around it. It is never shown.
        since_us: since when this value is in use, Unix microseconds, where its source tells: the time of the version
            in Vault or AWS, of the last change of a file. None for the environment and the configuration.
    """

    value: str
    since_us: int | None = None

    def __repr__(self) -> str:
        return f"Secret(since_us={self.since_us})"
