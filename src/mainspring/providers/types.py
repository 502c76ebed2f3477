"""The provider port: what the gateway asks of an upstream, and what it gets back.

A provider speaks one wire protocol. It knows nothing of tenants, keys of ours, prices or the caller's dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from mainspring.base.errors import ProviderRefused
from mainspring.ledger.types import Usage

if TYPE_CHECKING:
    from mainspring.providers.pool import KeyPool


class Operation(StrEnum):
    """What is asked. The value is also the second half of a dialect's name in the ledger."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"


class Call(msgspec.Struct):
    """One call to one provider, in that provider's own wire format.

    `body` is the JSON to send, with the provider's model name in it. `headers` are extra ones to pass on
    (`anthropic-beta`, `idempotency-key`, `traceparent`), in lower case. `connect_seconds` bounds connecting;
    all other waiting is bounded by whoever awaits the call, by cancelling it.
    """

    operation: Operation
    model: str
    body: bytes
    stream: bool
    headers: Mapping[str, str]
    connect_seconds: float = 5.0


class Reply(Protocol):
    """An answer on its way. Exactly one of `read` and `chunks` is used; `close` always, and more than once is fine."""

    status: int
    headers: Mapping[str, str]
    #: The label of the provider's key that the call was made with, never the secret; None where it has no keys.
    key: str | None

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            StreamCut: the connection broke before the end; `arrived` is what had come.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, never held back. Ends at the end of the body.

        Raises:
            StreamCut: the connection broke before the end.
        """
        ...

    def close(self, *, ended: bool = False) -> None:
        """Let go. If the body has not ended, the upstream work is cancelled (within 0.2 s). Never blocks.

        Args:
            ended: the answer has said that it is complete, and only the end of the body may still be on its way.
        """
        ...


class Seen(msgspec.Struct):
    """What a scanner has read off an answer so far."""

    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    #: The answer said that it is complete (a finish reason, `message_stop`, `response.completed`).
    finished: bool = False
    #: Nothing follows: the marker that ends a stream was seen. Not every provider sends one.
    ended: bool = False
    #: The provider reported an error inside the stream.
    error: ProviderRefused | None = None
    #: Something with content went by: from here on another target cannot take over unnoticed.
    content: bool = False
    #: What other models of the provider used for the answer: their names there, and tokens that `usage` has not.
    beside: list[tuple[str, Usage]] = []


class StreamScanner(Protocol):
    """Reads usage, finish and errors off a stream of one wire protocol, decoding only the events that may hold them."""

    seen: Seen

    def feed(self, events: bytes) -> bytes:
        """Look at whole SSE events (ending in a blank line) and return those that the caller should get.

        Usage that was asked for on our own account is taken out here when `strip_usage` was set; the terminal
        marker (`data: [DONE]`, `message_stop`) is taken out too, since the last byte waits for the ledger.
        """
        ...

    def terminal(self) -> bytes:
        """The marker that ends a clean stream, to be written once the row is committed."""
        ...


class Drain(msgspec.Struct, frozen=True):
    """Something out of use.

    Attributes:
        provider: its name.
        key: the label of one of its keys; empty for the whole provider.
        since_us: since when.
        by: who did it.
        reason: why, in their words.
    """

    provider: str
    key: str
    since_us: int
    by: str
    reason: str | None = None


class Provider(Protocol):
    """One configured upstream."""

    name: str
    #: Which wire protocol its calls and answers are in: `openai`, `anthropic` or `local` (which speaks OpenAI's).
    api: str
    #: What it serves natively. Anything else is translated from what it does serve, or refused.
    operations: frozenset[Operation]
    #: Its keys, and whether it was taken out of use.
    pool: KeyPool

    def ready(self, model: str = "") -> float:
        """Seconds until some key may be used for a model: 0 now, infinite while drained or without any key.

        Args:
            model: its name there; providers limit models apart. Empty asks for what holds for all of them.
        """
        ...

    async def start(self) -> None:
        """Make ready: open the pool, warm a connection. An upstream that is away is no error here."""
        ...

    async def call(self, call: Call) -> Reply:
        """Send and return when the status and headers of the answer are there.

        Cancelling the awaiting task cancels the upstream call.

        Raises:
            ProviderUnreachable: no connection.
            ProviderTimeout: connecting took longer than `connect_seconds`.
            ProviderRefused: an answer with status 400 or more (its body was read); `key` says with which key.
            ProviderCoolingDown: no key may be used now; nothing was sent.
            Overloaded: an admission queue of ours is full.
            LocalModelError: a model in the box is not there or does not load.
        """
        ...

    def scanner(self, operation: Operation, *, strip_usage: bool) -> StreamScanner:
        """A fresh scanner for a stream of this operation."""
        ...

    def read_usage(self, operation: Operation, body: bytes) -> Seen:
        """Usage and finish of a whole answer.

        Raises:
            ProviderProtocolError: the body is not an answer of this protocol.
        """
        ...

    async def models(self) -> list[str]:
        """The provider's own model names; empty when it does not tell."""
        ...

    async def close(self) -> None:
        """Close the pool."""
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """A provider that can count the tokens of a chat itself."""

    async def count(
        self,
        model: str,
        *,
        text: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> int:
        """Tokens of a text, or of OpenAI chat messages with the tools that the chat offers."""
        ...
