"""The callers' halves by operation, and a text of ours said in their words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.ledger.types import Usage
from mainspring.providers.translate.client_chat import ChatClient
from mainspring.providers.translate.client_completions import CompletionsClient
from mainspring.providers.translate.client_messages import MessagesClient
from mainspring.providers.translate.client_responses import ResponsesClient
from mainspring.providers.translate.documents import decode
from mainspring.providers.translate.hub import Answer, Choice, Chunk, Message
from mainspring.providers.translate.usage import from_buckets
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Client

#: The surfaces on which an answer is a text.
CLIENTS: dict[Operation, Client] = {
    Operation.CHAT: ChatClient(),
    Operation.COMPLETIONS: CompletionsClient(),
    Operation.MESSAGES: MessagesClient(),
    Operation.RESPONSES: ResponsesClient(),
}


def whole_text(operation: Operation, requested: bytes, text: str, model: str) -> bytes:
    """A text as a whole answer that used nothing.

    Args:
        operation: what was asked; one of `CLIENTS`.
        requested: the caller's request.
        text: what the answer says.
        model: as which model it is said.
    """
    said = Choice(index=0, message=Message(role="assistant", content=text), finish_reason="stop")
    answer = Answer(choices=[said], model=model, usage=from_buckets(Usage()))
    return msgspec.json.encode(CLIENTS[operation].answer(answer, decode(requested)))


def streamed_text(operation: Operation, requested: bytes, text: str, model: str) -> tuple[bytes, bytes]:
    """A text as a stream: its events, and what ends them. Arguments as for `whole_text`."""
    writer = CLIENTS[operation].stream(decode(requested))
    pieces = [
        (Message(role="assistant", content=""), None),
        (Message(content=text), None),
        (Message(), "stop"),
    ]
    chunks = [Chunk([Choice(index=0, delta=delta, finish_reason=end)], model=model) for delta, end in pieces]
    return b"".join([writer.chunk(chunk) for chunk in chunks]), writer.end(Usage())
