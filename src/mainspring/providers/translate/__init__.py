"""Translation between the protocols of callers and providers.

The hub is OpenAI's chat. A caller's half of a pair turns requests into chat and writes chat answers in the caller's
form; a provider's half turns chat into the provider's form and reads its answers. A pair is any two halves, so that
Responses over Anthropic is no third thing. Translation works on bytes and knows nothing of HTTP, of keys or of the
gateway; errors inside a stream are the gateway's matter. What a target has no place for is either refused by the name
of its field or listed as left out in the table of the half concerned (`upstream_messages`, `client_messages`,
`client_responses`, `client_completions`); fields that nobody here knows are passed on.
"""

from mainspring.providers.translate.begun import Begun, read_begun
from mainspring.providers.translate.carry import without_sealed
from mainspring.providers.translate.clients import CLIENTS, streamed_text, whole_text
from mainspring.providers.translate.continuation import (
    UPSTREAMS,
    Continuation,
    asking_for_rest,
    can_go_on,
    writer_of,
)
from mainspring.providers.translate.pairs import translation
from mainspring.providers.translate.types import StreamTranslation, Translation

__all__ = [
    "CLIENTS",
    "UPSTREAMS",
    "Begun",
    "Continuation",
    "StreamTranslation",
    "Translation",
    "asking_for_rest",
    "can_go_on",
    "read_begun",
    "streamed_text",
    "translation",
    "whole_text",
    "without_sealed",
    "writer_of",
]
