"""What others see of routing: targets, plans, and what a plan may ask about a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from mainspring.base.settings import FallbackSettings, HedgeSettings, RetrySettings, TimeoutSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a request may need of a model beyond text.
Need = Literal["tools", "vision", "json_schema"]


class Target(msgspec.Struct, frozen=True):
    """A provider's model.

    Attributes:
        provider: the provider's name here.
        model: the model's name there.
        headers: the answer headers that name both, made once.
    """

    provider: str
    model: str
    headers: tuple[tuple[bytes, bytes], ...]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Plan(msgspec.Struct, frozen=True):
    """Where a request may go, in this order, and why.

    Attributes:
        targets: the first is asked first; those whose breaker is open stand last.
        route: the route's name; None for a model that was named directly.
        why: the reason, one short line.
        timeouts: of this request.
        payloads: whether request and answer are kept.
        retry: how failed calls are made again.
        hedge: when a second target is asked before the first has failed; None is never.
        resume: whether a stream that breaks after content goes on at the next target.
        fallback: what answers when no target does; None is nothing.
        detail: how the choice was made, for the ledger; None where there was no choice.
    """

    targets: tuple[Target, ...]
    route: str | None
    why: str
    timeouts: TimeoutSettings
    payloads: bool
    retry: RetrySettings = RetrySettings()
    hedge: HedgeSettings | None = None
    resume: bool = False
    fallback: FallbackSettings | None = None
    detail: dict[str, Any] | None = None


class Needs(Protocol):
    """What a plan may ask about a request. Whoever implements it works out only what is asked for."""

    @property
    def stream(self) -> bool:
        """Whether the answer is streamed."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the body."""
        ...

    @property
    def tenant(self) -> str:
        """Whose key it is."""
        ...

    @property
    def user(self) -> str | None:
        """For whom it is asked."""
        ...

    @property
    def feature(self) -> str | None:
        """For what it is asked."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`metadata` of the body."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags that the request is put down to."""
        ...

    @property
    def input_tokens(self) -> int:
        """Tokens of the request, estimated; takes 0.1 ms for each kilobyte of text."""
        ...

    @property
    def most_input_tokens(self) -> int:
        """A number that the tokens surely do not pass, quick to know."""
        ...

    @property
    def rough_input_tokens(self) -> int:
        """Tokens of the request, roughly; quick to know where it is text."""
        ...

    @property
    def output_tokens(self) -> int | None:
        """The most tokens that the answer may have, where the request says so."""
        ...

    @property
    def kinds(self) -> frozenset[Need]:
        """What it needs beyond text."""
        ...


def target(provider: str, model: str) -> Target:
    """A target, with the headers that name it."""
    # A model's name comes from the caller: what a header cannot carry is replaced, not refused.
    shown = model.encode("ascii", "replace").translate(_HEADER_SAFE)
    return Target(
        provider=provider,
        model=model,
        headers=(
            (b"x-mainspring-provider", provider.encode("ascii", "replace")),
            (b"x-mainspring-model", shown),
        ),
    )


_HEADER_SAFE = bytes(code if 32 <= code < 127 else ord("?") for code in range(256))  # noqa: PLR2004 - printable ASCII
