"""A user's own Python that answers when no model does: found by name, run beside the loop, and never trusted to end.

`fallback.heuristic = "module:function"` names a function that takes one `HeuristicRequest` and returns the text of an
answer, or None where it has none. It may be `async`. The module is looked for where Python looks, and in the working
directory of the server. It is imported when the configuration is read, so that a name that does not exist is refused
there; its code is not read again before a restart.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import ConfigError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mainspring.gateway.exchange import Exchange

_log = get_logger(__name__)
#: A heuristic is what is quick and always works: one that takes longer counts as having no answer.
_SECONDS = 5.0
#: So many may run at once. One that never ends keeps its place.
_AT_ONCE = 8


class HeuristicRequest(msgspec.Struct, frozen=True):
    """What a heuristic is told of a request.

    Attributes:
        operation: `chat`, `completions`, `responses` or `messages`: in whose words `body` is.
        model: the route or model that was asked for.
        body: the request as it came, decoded.
        stream: whether the answer will be streamed; the heuristic returns a whole text in any case.
        tenant: whose key it is.
        user: for whom it is asked, where that was said.
        feature: for what, where that was said.
        tags: as they came with the request.
        error: the code of what the targets failed with, such as `provider_timeout`.
    """

    operation: str
    model: str
    body: dict[str, Any]
    stream: bool
    tenant: str
    user: str | None
    feature: str | None
    tags: dict[str, str]
    error: str


class Heuristics:
    """The functions that a configuration names.

    Args:
        names: `module:function`, each.

    Raises:
        ConfigError: one of them is not there.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._functions = {name: _load(name) for name in names}
        self._places = asyncio.Semaphore(_AT_ONCE)
        #: Those that nobody waits for any more, and that have not come to their end.
        self._given_up = 0

    async def ask(self, name: str, exchange: Exchange, error: str) -> str | None:
        """The answer of a heuristic; None where it has none, fails, or takes too long."""
        if self._given_up >= _AT_ONCE:
            _log.error("heuristics_hang", heuristic=name, running=self._given_up)
            return None
        try:
            async with asyncio.timeout(_SECONDS):
                text, failure = await self._run(self._functions[name], _request(exchange, error))
        except TimeoutError:
            _log.error("heuristic_too_slow", heuristic=name, seconds=_SECONDS)
            return None
        if failure is not None:
            # Its words may quote the conversation.
            _log.error("heuristic_failed", heuristic=name, error=type(failure).__name__)
            return None
        if text is not None and not _is_text(text):
            _log.error("heuristic_returned_no_text", heuristic=name, returned=type(text).__name__)
            return None
        return text or None

    async def _run(
        self, function: Callable[[HeuristicRequest], Any], request: HeuristicRequest
    ) -> tuple[Any, BaseException | None]:
        """What it returns, or what it raises."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def done(answer: Any, failure: BaseException | None) -> None:
            self._places.release()
            if outcome.done():
                self._given_up -= 1
            else:
                outcome.set_result((answer, failure))

        def work() -> None:
            answer, failure = None, None
            try:
                answer = _call(function, request)
            except BaseException as raised:  # noqa: BLE001 - somebody else's code: its `sys.exit` must not be ours
                failure = raised
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done, answer, failure)

        # A thread of a pool would be waited for at the end of the process, and one that hangs has no end.
        threading.Thread(target=work, name="heuristic", daemon=True).start()
        try:
            return await outcome
        except asyncio.CancelledError:
            self._given_up += 1
            raise


def _load(name: str) -> Callable[[HeuristicRequest], Any]:
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise ConfigError(
            f"fallback.heuristic {name!r}: there is no module {missing!r}.",
            remedy="Put it into the working directory of the server, or install it.",
        ) from None
    except AttributeError:
        raise ConfigError(
            f"fallback.heuristic {name!r}: the module has no {function!r}.", remedy="Correct the name."
        ) from None
    except (Exception, SystemExit) as error:  # somebody else's code: the sentence is about whatever it raises
        raise ConfigError(
            f"fallback.heuristic {name!r}: importing it fails with {type(error).__name__}: {error}.",
            remedy="Correct the module.",
        ) from error
    if not callable(found):
        raise ConfigError(f"fallback.heuristic {name!r} is no function.", remedy="Name one.")
    return found  # type: ignore[no-any-return] # what it returns is looked at when it does


def _call(function: Callable[[HeuristicRequest], Any], request: HeuristicRequest) -> Any:
    answer = function(request)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


def _is_text(answer: Any) -> bool:
    """Whether it is a text that can be sent."""
    try:
        return isinstance(answer, str) and bool(answer.encode()) is bool(answer)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


async def _awaited(answer: Any) -> Any:
    return await answer


def _request(exchange: Exchange, error: str) -> HeuristicRequest:
    principal, attribution = exchange.principal, exchange.attribution
    return HeuristicRequest(
        operation=exchange.operation.value,
        model=exchange.envelope.model,
        body=msgspec.json.decode(exchange.body),
        stream=exchange.stream,
        tenant=principal.tenant if principal is not None else "",
        user=attribution.user,
        feature=attribution.feature,
        tags=dict(attribution.tags or {}),
        error=error,
    )
