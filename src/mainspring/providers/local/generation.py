"""One caller's turn on an engine: from a checked request to an answer in OpenAI's protocol, cancellable at any time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from mainspring.base.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    LocalModelError,
    StreamCut,
)
from mainspring.providers.local.answers import Answer
from mainspring.providers.local.engine import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mainspring.providers.local.admission import Place
    from mainspring.providers.local.engine import Request, Worker
    from mainspring.providers.local.requests import Asked

_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
_JSON_HEADERS = {"content-type": "application/json"}


class Generation:
    """An answer that an engine is giving; see `providers.types.Reply`.

    Several choices are generated one after another in the one place that the caller has in the line: nobody gets more of
    the machine by asking for more choices.

    Args:
        asked: the checked request.
        worker: a running worker.
        place: in the engine's line; given back when the engine is done with the last request, also after `close`.
        model: the name that the answer carries.
    """

    status = 200
    key: str | None = None

    def __init__(self, asked: Asked, worker: Worker, place: Place, model: str) -> None:
        self.headers: Mapping[str, str] = _STREAM_HEADERS if asked.stream else _JSON_HEADERS
        self._asked = asked
        self._worker = worker
        self._place = place
        self._answer = Answer(asked, model)
        self._bodies = asked.bodies(template_has_tools=worker.facts.tools)
        self._next = 0
        self._request: Request | None = None
        self._closed = False

    async def begin(self) -> None:
        """Hand over the first request; returns when the engine has accepted it and reads the prompt.

        Raises:
            InvalidRequest: the engine does not accept it.
            LocalModelError: the engine is gone.
        """
        try:
            await self._begin_next()
        except Refused as error:
            self.close()
            _raise_refusal(error, self._worker.name)
        except BaseException:  # re-raised; whoever was cancelled here must not keep the place
            self.close()
            raise

    async def read(self) -> bytes:
        """The whole answer."""
        choices: list[dict[str, Any]] = self._answer.begin()
        try:
            while (more := await self._more()) is not None:
                choices += more
            return self._answer.whole(choices)
        except (LocalModelError, Refused, StreamCut) as error:
            raise StreamCut(
                f"The local model {self._worker.name} broke off its answer.",
                remedy="Try again.",
                arrived=self._answer.whole(choices),
            ) from error
        finally:
            self.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        try:
            choices: list[dict[str, Any]] | None = self._answer.begin()
            while choices is not None:
                if choices:
                    yield b"".join([self._answer.chunk(choice) for choice in choices])
                choices = await self._more()
            yield self._answer.closing()
        except (LocalModelError, Refused) as error:
            raise StreamCut(
                f"The local model {self._worker.name} broke off its answer.", remedy="Try again."
            ) from error
        finally:
            self.close()

    def close(self, *, ended: bool = False) -> None:  # noqa: ARG002 - there is no connection that could be used again
        """Let go: the engine stops at its next token, or batch of the prompt, and the place in the line is free then."""
        if self._closed:
            return
        self._closed = True
        request = self._request
        if request is None or request.ended.is_set():
            self._place.leave()
            return
        request.cancel()
        leaving = asyncio.get_running_loop().create_task(self._leave_after(request))
        _LEAVING.add(leaving)
        leaving.add_done_callback(_LEAVING.discard)

    async def _leave_after(self, request: Request) -> None:
        await request.ended.wait()
        self._place.leave()

    async def _begin_next(self) -> None:
        body = msgspec.json.encode(self._bodies[self._next])
        self._next += 1
        self._request = self._worker.request(self._asked.kind, body)
        await self._request.begin()

    async def _more(self) -> list[dict[str, Any]] | None:
        """What the next piece of the engine adds to the answer; None when the answer is whole."""
        assert self._request is not None
        piece = await self._request.next()
        if piece is not None:
            return self._answer.feed(msgspec.json.decode(piece))
        if not self._answer.finished:
            raise StreamCut(
                f"The local model {self._worker.name} stopped without a reason.", remedy="Try again."
            )
        if self._next == len(self._bodies):
            return None
        await self._begin_next()
        return self._answer.begin()


#: Tasks are kept alive by whoever holds them; these are held by nobody else.
_LEAVING: set[asyncio.Task[None]] = set()


def _raise_refusal(error: Refused, model: str) -> NoReturn:
    """What the engine did not accept, as an error of ours. Its messages may quote the request, ours must not."""
    if error.kind == "exceed_context_size_error":
        raise ContextLengthExceeded(
            f"The maximum context length of {model} is {error.context_tokens} tokens; "
            f"the request has {error.prompt_tokens}.",
            remedy="Shorten it, or raise [local] context_tokens.",
            param="messages",
        )
    if error.code != 400:  # noqa: PLR2004 - the HTTP status
        raise LocalModelError(f"The local model {model} failed on the request.", remedy="Try again.")
    _, schema, detail = error.detail.partition("JSON schema error")
    if schema or "grammar" in error.detail:
        reason = f": {detail.strip()[:120]}" if schema else ""
        raise InvalidRequest(
            f"The JSON schema is not one that the local engine can follow{reason}.",
            remedy="Simplify it.",
            param="response_format",
        )
    raise InvalidRequest(
        f"The local model {model} cannot take this request: its chat template or a parameter does not fit.",
        remedy="Check the order of roles, and leave out parameters that are not in OpenAI's protocol.",
    )
