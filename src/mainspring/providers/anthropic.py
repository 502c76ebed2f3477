"""The Anthropic wire: messages and token counts over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import ProviderProtocolError
from mainspring.ledger.types import Usage
from mainspring.providers.keyed import post_with_key
from mainspring.providers.lenient import lenient
from mainspring.providers.listing import listed_models
from mainspring.providers.openai_streams import data_of, split_events
from mainspring.providers.pool import KeyPool
from mainspring.providers.refusals import UNREADABLE, given, refusal
from mainspring.providers.translate.usage import MessagesUsage
from mainspring.providers.transport import HttpTransport
from mainspring.providers.types import Operation, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.providers.types import Call, Reply, StreamScanner

VERSION = "2023-06-01"
PATHS = {Operation.MESSAGES: "/v1/messages", Operation.COUNT_TOKENS: "/v1/messages/count_tokens"}


class AnthropicProvider:
    """One upstream that speaks Anthropic's protocol; see `providers.types.Provider`.

    Args:
        name: as configured.
        base_url: without the version, such as `https://api.anthropic.com`; a trailing `/v1` is understood too.
        headers: sent with every call beside the credentials.
        operations: what it serves natively.
        connections: most connections at once; 0 is no limit.
        pool: its keys; by default calls carry none.
    """

    api = "anthropic"

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        operations: frozenset[Operation],
        connections: int = 0,
        *,
        pool: KeyPool | None = None,
    ) -> None:
        self.name = name
        self.operations = operations
        self.pool = pool or KeyPool(name)
        base = {"content-type": "application/json", "anthropic-version": VERSION}
        root = base_url.rstrip("/").removesuffix("/v1")
        self._transport = HttpTransport(name, root, {**base, **headers}, connections)

    async def start(self) -> None:
        """Open the pool."""
        await self._transport.start()

    def ready(self, model: str = "") -> float:
        """Seconds until some key may be used for a model."""
        return self.pool.ready(model)

    async def call(self, call: Call) -> Reply:
        """Send; return when the head of the answer is there."""
        return await post_with_key(self._transport, self.pool, PATHS[call.operation], call)

    def scanner(self, operation: Operation, *, strip_usage: bool) -> StreamScanner:  # noqa: ARG002 - usage is part of this protocol's events
        """A fresh scanner for a stream of messages."""
        return MessagesScanner(self.name)

    def read_usage(self, operation: Operation, body: bytes) -> Seen:
        """Usage and stop reason of a whole answer."""
        return read_answer(self.name, operation, body)

    async def models(self) -> list[str]:
        """The models that the provider lists; this also warms a connection."""
        return await listed_models(self._transport, self.pool, "/v1/models?limit=1000")

    async def close(self) -> None:
        """Close the pool."""
        await self._transport.close()


class _Message(msgspec.Struct):
    type: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: MessagesUsage | None = None
    input_tokens: int | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_message = msgspec.json.Decoder(_Message).decode


def read_answer(name: str, operation: Operation, body: bytes) -> Seen:
    """Usage, model and stop reason of a whole answer.

    Raises:
        ProviderProtocolError: it is not an answer of this protocol.
        ProviderRefused: it is an error in the clothes of a 200.
    """
    try:
        message = lenient(_decode_message, body)
    except UNREADABLE as error:
        raise ProviderProtocolError(
            f"{name} answered 200 with a body that is no answer of its protocol."
        ) from error
    if operation is Operation.COUNT_TOKENS and message.input_tokens is not None:
        return Seen(usage=Usage(), finished=True, content=True)
    if message.type != "message":
        if said := given(message.error):
            raise refusal(name, said)
        raise ProviderProtocolError(f"{name} answered 200 with a body that is no answer of its protocol.")
    return Seen(
        usage=message.usage.exclusive() if message.usage is not None else None,
        beside=message.usage.beside() if message.usage is not None else [],
        finish_reason=message.stop_reason,
        model=message.model,
        finished=True,
        content=True,
    )


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str | None = None


#: Blocks that say nothing until their first delta.
_OPENED_EMPTY = frozenset({"text", "thinking"})


class _Event(msgspec.Struct):
    type: str | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: MessagesUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_event = msgspec.json.Decoder(_Event).decode


class MessagesScanner:
    """Reads message streams; `message_stop` is kept back for `terminal`."""

    def __init__(self, name: str) -> None:
        self.seen = Seen()
        self._name = name
        self._usage = MessagesUsage()
        self._terminal = b""

    def feed(self, events: bytes) -> bytes:
        """Look at whole events; return those for the caller."""
        if self.seen.content and b"message_" not in events and b'"error"' not in events:
            return events
        return b"".join([self._event(event) for event in split_events(events)])

    def terminal(self) -> bytes:
        """The closing event, as the provider sent it."""
        return self._terminal

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None:
            return event
        if self.seen.error is not None:
            return b""  # nothing counts after an error
        try:
            decoded = lenient(_decode_event, data)
        except UNREADABLE as error:
            raise ProviderProtocolError(
                f"{self._name} sent a stream event that is no JSON of its protocol."
            ) from error
        if decoded.type == "message_stop":
            self.seen.finished = self.seen.ended = True
            self._terminal = event
            return b""
        if decoded.type == "error":
            self.seen.error = refusal(self._name, given(decoded.error) or b"{}")
            return b""
        self._note(decoded)
        return event

    def _note(self, decoded: _Event) -> None:
        seen = self.seen
        match decoded.type:
            case "message_start" if decoded.message is not None:
                seen.model = decoded.message.model
                self._count(decoded.message.usage)
            case "message_delta":
                if decoded.delta is not None and decoded.delta.stop_reason is not None:
                    seen.finish_reason = decoded.delta.stop_reason
                self._count(decoded.usage)
            case "content_block_start":
                block = decoded.content_block
                seen.content = seen.content or (block is not None and block.type not in _OPENED_EMPTY)
            case "content_block_delta":
                seen.content = True
            case _:
                pass

    def _count(self, usage: MessagesUsage | None) -> None:
        if usage is not None:
            self._usage.update(usage)
            self.seen.usage, self.seen.beside = self._usage.exclusive(), self._usage.beside()
