"""Second step: what `model` means. The thinking is done in routing; here it learns what it asks about a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mainspring.base.errors import PermissionDenied
from mainspring.providers.estimate import estimate_request
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.gateway.exchange import Exchange
    from mainspring.keys.types import Principal
    from mainspring.routing import Need, Router

#: Quotes inside a text are escaped in JSON, so that these match only what stands in the document itself.
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')
_SCHEMA = re.compile(rb'"type"\s*:\s*"json_schema"')
#: Whatever is charged by another measure than its text: images, files and audio.
_MEDIA = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image|input_audio|document|file|input_file)"')
_EMPTY: dict[str, Any] = {}
_NO_KINDS: frozenset[Need] = frozenset()
_NOTHING = frozenset({b"", b"null", b"[]"})
#: What an image, a page or a recording is charged at most, beyond its bytes.
_MOST_OF_MEDIA = 1800
#: Bytes of a token in most texts.
_BYTES_PER_TOKEN = 4


class RequestNeeds:
    """What routing may ask about a request; each answer is worked out when it is asked for, and once."""

    __slots__ = ("_exchange", "_found", "_kinds", "_tokens", "size", "stream")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.stream = exchange.stream
        self.size = len(exchange.body)
        self._kinds: frozenset[Need] | None = None
        self._found: int | None = None
        self._tokens: int | None = None

    @property
    def tenant(self) -> str:
        """Whose key it is."""
        principal = self._exchange.principal
        return principal.tenant if principal is not None else ""

    @property
    def user(self) -> str | None:
        """For whom it is asked."""
        return self._exchange.attribution.user

    @property
    def feature(self) -> str | None:
        """For what it is asked."""
        return self._exchange.attribution.feature

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`metadata` of the body."""
        return self._exchange.envelope.metadata or _EMPTY

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of the headers and of the metadata."""
        return self._exchange.attribution.tags or _EMPTY

    @property
    def most_input_tokens(self) -> int:
        """The bytes of the body, and what images and files are charged: no tokenizer makes more tokens than bytes."""
        return self.size + self._media() * _MOST_OF_MEDIA

    @property
    def rough_input_tokens(self) -> int:
        """A token for four bytes where it is text."""
        return self.input_tokens if self._media() else self.size // _BYTES_PER_TOKEN

    @property
    def input_tokens(self) -> int:
        """The estimate that is used everywhere for requests."""
        if self._tokens is None:
            self._tokens = estimate_request(self._exchange.operation, self._exchange.body)
        return self._tokens

    @property
    def output_tokens(self) -> int | None:
        """What the caller says of the length of the answer, in the words of any dialect."""
        if self._exchange.operation in (Operation.EMBEDDINGS, Operation.COUNT_TOKENS):
            return 0
        said = self._exchange.envelope
        limits = (said.max_tokens, said.max_completion_tokens, said.max_output_tokens)
        found = [limit for limit in limits if type(limit) is int and limit > 0]
        return min(found) if found else None

    @property
    def kinds(self) -> frozenset[Need]:
        """What it needs beyond text."""
        if self._kinds is None:
            said = self._exchange.envelope
            found: list[Need] = []
            if bytes(said.tools) not in _NOTHING or bytes(said.functions) not in _NOTHING:
                found.append("tools")
            if self._media() and _IMAGE.search(self._exchange.body):
                found.append("vision")
            if any(_SCHEMA.search(form) for form in (said.response_format, said.text, said.output_config)):
                found.append("json_schema")
            self._kinds = frozenset(found) if found else _NO_KINDS
        return self._kinds

    def _media(self) -> int:
        """How many images, files and recordings there are."""
        found = self._found
        if found is None:
            body = self._exchange.body
            found = self._found = len(_MEDIA.findall(body)) if b'"type"' in body else 0
        return found


def plan(exchange: Exchange, router: Router) -> None:
    """Decide where a request may go.

    Raises:
        NotFound: the model is unknown.
        PermissionDenied: the key may not use it.
        RequestError: no target of the route can serve the request.
    """
    principal = exchange.principal
    assert principal is not None, "authenticate comes first"
    name = exchange.envelope.model
    if not allowed(principal, name):
        router.must_know(name)
        raise PermissionDenied(
            f"This key may not use {name!r}.",
            remedy="Ask for a key that lists it, or use one that it lists.",
            param="model",
        )
    found = router.plan(name, lambda: RequestNeeds(exchange))
    exchange.plan = found
    exchange.timeouts = found.timeouts
    exchange.store_payloads = found.payloads if principal.payloads is None else principal.payloads


def allowed(principal: Principal, name: str) -> bool:
    """Whether a key may use a route or model; `provider/*` in its list allows all models of a provider."""
    models = principal.models
    if models is None or name in models:
        return True
    provider, slash, _ = name.partition("/")
    return bool(slash) and f"{provider}/*" in models
