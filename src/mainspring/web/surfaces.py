"""The protocol surfaces: which path speaks which dialect, and how a request on one of them reaches the gateway."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.errors import ClientGone, InvalidRequest, MainspringError, NotFound
from mainspring.base.ids import new_id
from mainspring.gateway import Dialect, Envelope, Exchange
from mainspring.gateway.rewrite import checked_text
from mainspring.providers import Operation
from mainspring.web import anthropic, openai
from mainspring.web.asgi import attribution, passed_on, secret_of

if TYPE_CHECKING:
    from mainspring.gateway.types import Sink
    from mainspring.web.asgi import RawHeaders
    from mainspring.web.http1 import Request
    from mainspring.web.runtime import Runtime


class Surface(msgspec.Struct, frozen=True):
    """One path: its dialect, what it asks for, and the member of the body without which it makes no sense."""

    dialect: Dialect
    operation: Operation
    needs: str


SURFACES: dict[str, Surface] = {
    "/v1/chat/completions": Surface(openai.CHAT, Operation.CHAT, "messages"),
    "/v1/completions": Surface(openai.COMPLETIONS, Operation.COMPLETIONS, "prompt"),
    "/v1/responses": Surface(openai.RESPONSES, Operation.RESPONSES, "input"),
    "/v1/embeddings": Surface(openai.EMBEDDINGS, Operation.EMBEDDINGS, "input"),
    "/v1/messages": Surface(anthropic.MESSAGES, Operation.MESSAGES, "messages"),
    "/v1/messages/count_tokens": Surface(anthropic.COUNT_TOKENS, Operation.COUNT_TOKENS, "messages"),
}
_MODELS = "/v1/models"
_PATHS = (*SURFACES, _MODELS)
#: A longer name of a model is none, and would be kept in every place that names it.
_NAME_CHARS = 256
_UNREADABLE = 400
_KEPT_AT_PROVIDER = (b'"prompt"', b'"previous_response_id"', b'"conversation"')
_decode = msgspec.json.Decoder(Envelope).decode


class Surfaces:
    """Everything under `/v1`.

    Args:
        runtime: of this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is taken."""
        return self._runtime.settings.server.max_body_mb << 20

    async def answer(self, request: Request, response: Sink) -> None:
        """Answer one request, whose body is complete."""
        headers = request.fields
        surface = SURFACES.get(request.path)
        dialect: Dialect = surface.dialect if surface is not None else _dialect_of(request.path, headers)
        try:
            if surface is None:
                await self._other(request, response)
                return
            if request.method != b"POST":
                raise _not_allowed("POST")
            body = request.body(self.max_body_bytes)
            exchange = Exchange(
                dialect=dialect,
                operation=surface.operation,
                envelope=(envelope := read_envelope(body, surface)),
                body=body,
                secret=secret_of(headers),
                attribution=attribution(headers, envelope),
                pass_headers=passed_on(headers),
                sink=response,
            )
        except MainspringError as error:
            request_id = new_id()
            # Who has no key learns that first, whatever else is wrong with the request.
            refusal = self._key_error(headers) or _clearer(error, headers)
            status, head, content = dialect.error(refusal, request_id)
            if isinstance(refusal, _MethodNotAllowed):
                head.append((b"allow", refusal.allowed))
            await _send(response, status, head, content)
            return
        await self._runtime.gateway.handle(exchange)

    async def _other(self, request: Request, response: Sink) -> None:
        path, headers = request.path, request.fields
        if path != _MODELS and not path.startswith(_MODELS + "/"):
            raise NotFound(f"There is nothing at {path[:200]}.", remedy=meant_by(path))
        if request.method not in {b"GET", b"HEAD"}:
            raise _not_allowed("GET", "HEAD")
        principal = self._runtime.keys.check(secret_of(headers) or "")
        wanted = path[len(_MODELS) + 1 :] or None
        speaks_anthropic = b"anthropic-version" in headers
        body = openai.models_answer(self._runtime, principal, wanted, anthropic=speaks_anthropic)
        head = [(b"content-type", b"application/json"), (b"x-request-id", new_id().encode())]
        await _send(response, 200, head, body)

    def _key_error(self, headers: RawHeaders) -> MainspringError | None:
        try:
            self._runtime.keys.check(secret_of(headers) or "")
        except MainspringError as error:
            return error
        return None


def read_envelope(body: bytes, surface: Surface) -> Envelope:
    """The fields that the gateway reads off a body.

    Raises:
        InvalidRequest: it is not UTF-8, not JSON, nested too deeply, or lacks what the surface needs.
    """
    checked_text(body)
    try:
        envelope = _decode(body)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        field = where.strip("`.").split(".")[0].split("[")[0] or None
        if "missing required field `model`" in reason:
            raise InvalidRequest(
                "The body names no model.", remedy='Add `"model": "default"`.', param="model"
            ) from None
        raise InvalidRequest(f"The body is not as it must be: {error}.", param=field) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error}.", remedy="Send one JSON object."
        ) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", remedy="Send a flatter document.") from None
    if len(envelope.model) > _NAME_CHARS:
        raise InvalidRequest(
            f"The model's name has more than {_NAME_CHARS} characters.",
            remedy="Name a route, or a model as `provider/model`.",
            param="model",
        )
    if bytes(getattr(envelope, surface.needs)) in {b"", b"null"} and not _says_elsewhere(surface, body):
        raise InvalidRequest(f"The body has no `{surface.needs}`.", remedy="Add it.", param=surface.needs)
    return envelope


def _says_elsewhere(surface: Surface, body: bytes) -> bool:
    """Whether a Responses request asks something without an input: what its provider keeps says it."""
    return surface.operation is Operation.RESPONSES and any(name in body for name in _KEPT_AT_PROVIDER)


async def _send(response: Sink, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer; whoever has left does not get it."""
    await response.start(status, [*headers, (b"content-length", b"%d" % len(body))])
    try:
        await response.write(body, last=True)
    except ClientGone:
        return


def meant_by(path: str) -> str:
    """What a caller who asked at a path that is none has probably got wrong."""
    bare = path.removeprefix("/v1").rstrip("/")
    if path.startswith("/v1/v1/") or (not path.startswith("/v1/") and f"/v1{bare}" in _PATHS):
        return "OpenAI's clients take a base_url that ends in /v1, Anthropic's one that does not."
    near = get_close_matches(path, _PATHS, 1, cutoff=0.8)
    return f"Did you mean {near[0]}?" if near else f"The paths are {', '.join(_PATHS)}."


def _dialect_of(path: str, headers: RawHeaders) -> Dialect:
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return anthropic.MESSAGES
    return openai.CHAT


class _MethodNotAllowed(InvalidRequest):
    status = 405
    code = "method_not_allowed"
    allowed = b""


def _not_allowed(*methods: str) -> _MethodNotAllowed:
    error = _MethodNotAllowed("This path does not take that method.", remedy=f"Use {methods[0]}.")
    error.allowed = ", ".join(methods).encode()
    return error


class _Compressed(InvalidRequest):
    status = 415
    code = "unsupported_media_type"


def _clearer(error: MainspringError, headers: RawHeaders) -> MainspringError:
    """The error of a body that cannot be read, which is no wonder where it is compressed."""
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in {b"", b"identity"} or not isinstance(error, InvalidRequest) or error.status != _UNREADABLE:
        return error
    shown = encoding.decode("latin-1")[:40]
    return _Compressed(f"The body is compressed with {shown!r}.", remedy="Send it uncompressed.")
