"""A request that nobody has made: what it would need is said outright, to ask where it would go."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.routing.types import Need

#: Bytes of a token in most texts.
_BYTES_PER_TOKEN = 4


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Implements `Needs` by its fields."""

    input_tokens: int = 100
    output_tokens: int | None = None
    kinds: frozenset[Need] = frozenset()
    stream: bool = False
    tenant: str = "default"
    user: str | None = None
    feature: str | None = None
    metadata: dict[str, Any] = {}
    tags: dict[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes of such a request."""
        return self.input_tokens * _BYTES_PER_TOKEN

    @property
    def most_input_tokens(self) -> int:
        """It is known."""
        return self.input_tokens

    @property
    def rough_input_tokens(self) -> int:
        """It is known."""
        return self.input_tokens
