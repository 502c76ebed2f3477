"""The translation port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mainspring.ledger.types import Usage
    from mainspring.providers.sse import ServerSentEvent
    from mainspring.providers.translate.hub import Answer, Chunk

#: A JSON object of a foreign protocol.
Document = dict[str, Any]


class StreamTranslation(Protocol):
    """One stream on its way from a provider's protocol to the caller's."""

    #: Writes what the caller gets; another provider's stream may go on with it.
    writer: ClientStream

    def feed(self, event: ServerSentEvent) -> bytes:
        """The caller's events for one event of the provider; may be empty. The terminal marker is never among them.

        Raises:
            ProviderProtocolError: the event is none of the provider's protocol.
        """
        ...

    def end(self, usage: Usage | None) -> bytes:
        """Everything that closes a clean stream in the caller's protocol, the terminal marker included.

        Args:
            usage: what the gateway settled; used where the provider's own report has not been seen by `feed`.
        """
        ...


class Translation(Protocol):
    """How calls of one operation are made to a provider that serves another."""

    def request(self, body: bytes, model: str) -> bytes:
        """The caller's JSON as the provider's JSON, with `model` as its model.

        Raises:
            InvalidRequest: naming the field that cannot be said in the provider's protocol, or is malformed.
        """
        ...

    def response(self, body: bytes, *, requested: bytes) -> bytes:
        """The provider's whole answer as the caller's; `requested` is the caller's request.

        Raises:
            ProviderProtocolError: the body is no answer of the provider's protocol.
        """
        ...

    def stream(self, *, requested: bytes) -> StreamTranslation:
        """A fresh translation of one stream; `requested` is the caller's request."""
        ...


class Client(Protocol):
    """The caller's half of a pair: requests into the hub's form, answers out of it."""

    def request(self, body: Document) -> Document:
        """The caller's request as a chat request, without its model replaced."""
        ...

    def answer(self, answer: Answer, requested: Document) -> Document:
        """A whole answer in the caller's form."""
        ...

    def stream(self, requested: Document) -> ClientStream:
        """A fresh writer of one stream."""
        ...


class ClientStream(Protocol):
    """Writes one stream in the caller's form."""

    def chunk(self, chunk: Chunk) -> bytes:
        """The caller's events for one chunk."""
        ...

    def end(self, usage: Usage | None) -> bytes:
        """What closes a clean stream."""
        ...


class Upstream(Protocol):
    """The provider's half of a pair: chat requests into its form, its answers into the hub's."""

    def request(self, chat: Document, model: str) -> Document:
        """A chat request in the provider's form. The document may be changed in place."""
        ...

    def answer(self, body: bytes) -> Answer:
        """The provider's whole answer as a chat answer."""
        ...

    def stream(self) -> UpstreamStream:
        """A fresh reader of one stream."""
        ...


class UpstreamStream(Protocol):
    """Reads one stream of the provider."""

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that one event amounts to."""
        ...
