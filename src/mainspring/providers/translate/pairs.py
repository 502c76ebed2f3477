"""Which operations can be served by which others, and how the two halves of a pair work together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.providers.translate.client_chat import ChatClient
from mainspring.providers.translate.client_completions import CompletionsClient
from mainspring.providers.translate.client_messages import MessagesClient
from mainspring.providers.translate.client_responses import ResponsesClient
from mainspring.providers.translate.documents import decode
from mainspring.providers.translate.upstream_chat import ChatUpstream
from mainspring.providers.translate.upstream_messages import MessagesUpstream
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.sse import ServerSentEvent
    from mainspring.providers.translate.types import (
        Client,
        ClientStream,
        StreamTranslation,
        Translation,
        Upstream,
        UpstreamStream,
    )


class Pair:
    """A caller's protocol over a provider's, by way of the hub; see `types.Translation`."""

    def __init__(self, client: Client, upstream: Upstream) -> None:
        self._client = client
        self._upstream = upstream

    def request(self, body: bytes, model: str) -> bytes:
        """The caller's JSON as the provider's JSON."""
        return msgspec.json.encode(self._upstream.request(self._client.request(decode(body)), model))

    def response(self, body: bytes, *, requested: bytes) -> bytes:
        """The provider's whole answer as the caller's."""
        return msgspec.json.encode(self._client.answer(self._upstream.answer(body), decode(requested)))

    def stream(self, *, requested: bytes) -> StreamTranslation:
        """A fresh translation of one stream."""
        return PairStream(self._upstream.stream(), self._client.stream(decode(requested)))


class PairStream:
    """One stream of a pair; see `types.StreamTranslation`."""

    def __init__(self, reader: UpstreamStream, writer: ClientStream) -> None:
        self._reader = reader
        self.writer = writer

    def feed(self, event: ServerSentEvent) -> bytes:
        """The caller's events for one event of the provider."""
        return b"".join([self.writer.chunk(chunk) for chunk in self._reader.feed(event.data)])

    def end(self, usage: Usage | None) -> bytes:
        """What closes a clean stream."""
        return self.writer.end(usage)


_PAIRS: dict[tuple[Operation, Operation], Translation] = {
    (Operation.CHAT, Operation.MESSAGES): Pair(ChatClient(), MessagesUpstream()),
    (Operation.MESSAGES, Operation.CHAT): Pair(MessagesClient(), ChatUpstream()),
    (Operation.RESPONSES, Operation.CHAT): Pair(ResponsesClient(), ChatUpstream()),
    (Operation.RESPONSES, Operation.MESSAGES): Pair(ResponsesClient(), MessagesUpstream()),
    (Operation.COMPLETIONS, Operation.CHAT): Pair(CompletionsClient(), ChatUpstream()),
    (Operation.COMPLETIONS, Operation.MESSAGES): Pair(CompletionsClient(), MessagesUpstream()),
}


def translation(client: Operation, provider: Operation) -> Translation | None:
    """How a caller's operation is served by a provider's, or None where it needs no translation or there is none."""
    return _PAIRS.get((client, provider))
