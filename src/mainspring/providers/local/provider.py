"""The provider `local`: the port of `providers.types` in front of the engines of this process."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import InvalidRequest, MainspringError
from mainspring.base.logging import get_logger
from mainspring.providers.local import embeddings
from mainspring.providers.local.admission import Admission
from mainspring.providers.local.catalog import find, usable
from mainspring.providers.local.engine import Engine, Refused
from mainspring.providers.local.generation import Generation
from mainspring.providers.local.requests import read_chat, read_completion
from mainspring.providers.openai_answers import read_answer
from mainspring.providers.openai_streams import ChatScanner
from mainspring.providers.pool import KeyPool
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mainspring.base.settings import Settings
    from mainspring.providers.local.catalog import LocalModel
    from mainspring.providers.types import Call, Reply, Seen, StreamScanner

_READERS = {Operation.CHAT: read_chat, Operation.COMPLETIONS: read_completion}
#: Requests for embeddings that may wait; they are short, so many do no harm.
_EMBED_QUEUE = 256
_log = get_logger(__name__)


class LocalProvider:
    """Models in the box; see `providers.types.Provider`. It speaks OpenAI's protocol and belongs to one event loop.

    Args:
        name: as configured, usually `local`.
        settings: `[local]` and the models under this provider's name.
        pool: no keys; it says whether somebody took the provider out of use.
    """

    api = "local"
    operations = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.EMBEDDINGS})

    def __init__(self, name: str, settings: Settings, pool: KeyPool | None = None) -> None:
        self.name = name
        self.pool = pool or KeyPool(name)
        self._settings = settings
        self._threads = settings.local.threads or max(1, _cores() - 1)
        self._engines: dict[LocalModel, Engine] = {}
        self._lines: dict[LocalModel, Admission] = {}
        self._encoders: dict[LocalModel, embeddings.Encoder] = {}
        #: One thread: ONNX Runtime spreads one batch over the cores by itself.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="local-embeddings")
        self._preloading: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to load what `[local] preload` names. Does not wait for it; a model that is not there is no error here."""
        self._preloading = [asyncio.create_task(self._preload(name)) for name in self._settings.local.preload]

    def ready(self, model: str = "") -> float:
        """0, or infinite while it is out of use."""
        return self.pool.ready(model)

    async def call(self, call: Call) -> Reply:
        """Check the request, wait for a place in the model's line, and return when the engine has accepted it.

        Raises:
            InvalidRequest: a field is wrong, asks for what the model cannot do, or the prompt is too long.
            NotFound: there is no such model.
            Overloaded: the line is full.
            LocalModelError: the model is not fetched or does not load, or its engine died.
            ProviderDrained: somebody took the provider out of use.
        """
        self.pool.choose(call.model)
        model = find(call.model, self.name, self._settings)
        if call.operation is Operation.EMBEDDINGS:
            return await self._embed(model, call)
        reader = _READERS.get(call.operation)
        if reader is None or model.kind != "chat":
            raise InvalidRequest(
                f"The model {self.name}/{model.name} does not do {call.operation.value}.",
                remedy="Choose a language model for chats, an embedding model for embeddings.",
                param="model",
            )
        asked = reader(call.body)
        place = await self._line(model).enter()
        try:
            worker = await self._engine(model).worker()
            generation = Generation(asked, worker, place, call.model)
        except BaseException:  # re-raised; whoever was cancelled here must not keep the place
            place.leave()
            raise
        await generation.begin()
        return generation

    async def count(
        self,
        model: str,
        *,
        text: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> int:
        """Tokens of a text, or of a chat as the model would be shown it. Loads the model if need be.

        Args:
            model: its name without the provider's.
            text: counted as it stands.
            messages: OpenAI chat messages, instead of a text.
            tools: OpenAI tools that the chat offers.

        Raises:
            InvalidRequest: the messages are wrong, or do not fit the model's template.
            LocalModelError: the model is not there or does not load.
        """
        found = find(model, self.name, self._settings)
        if found.kind != "chat":
            encoder = await self._encoder(found)
            counts = await asyncio.get_running_loop().run_in_executor(
                self._encoding, encoder.count, [text or ""]
            )
            return counts[0]
        worker = await self._engine(found).worker()
        body: dict[str, Any] = {"text": text}
        if text is None:
            asked = read_chat(msgspec.json.encode({"messages": messages, "tools": tools or []}))
            shown = asked.bodies(template_has_tools=worker.facts.tools)[0]
            body = {key: shown[key] for key in ("messages", "tools") if key in shown}
        request = worker.request(b"N", msgspec.json.encode(body))
        try:
            return int(await request.next() or 0)
        except Refused as error:
            raise InvalidRequest(
                f"The chat does not fit the template of {model}.",
                remedy="Check the order of roles.",
                param="messages",
            ) from error

    def scanner(self, operation: Operation, *, strip_usage: bool) -> StreamScanner:
        """A fresh scanner for a stream of this operation."""
        del operation  # chats and text completions read alike
        return ChatScanner(self.name, strip_usage=strip_usage)

    def read_usage(self, operation: Operation, body: bytes) -> Seen:
        """Usage and finish of a whole answer."""
        return read_answer(self.name, operation, body)

    async def models(self) -> list[str]:
        """The models whose files are there."""
        return await asyncio.to_thread(usable, self.name, self._settings)

    async def close(self) -> None:
        """Stop the engines; answers in flight break off."""
        for task in self._preloading:
            task.cancel()
        await asyncio.gather(*self._preloading, return_exceptions=True)
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))
        self._engines.clear()
        self._encoding.shutdown(wait=False, cancel_futures=True)

    async def _preload(self, name: str) -> None:
        try:
            model = find(name, self.name, self._settings)
            if model.kind == "chat":
                await self._engine(model).worker()
            else:
                await self._encoder(model)
        except MainspringError as error:
            _log.warning("local model not preloaded", model=name, reason=str(error))

    def _engine(self, model: LocalModel) -> Engine:
        if model not in self._engines:
            parallel = self._settings.local.parallel
            self._engines[model] = Engine(model, parallel=parallel, threads=self._threads)
        return self._engines[model]

    def _line(self, model: LocalModel) -> Admission:
        if model not in self._lines:
            local = self._settings.local
            parallel, queue = (local.parallel, local.queue) if model.kind == "chat" else (1, _EMBED_QUEUE)
            self._lines[model] = Admission(f"The local model {model.name}", parallel, queue)
        return self._lines[model]

    async def _encoder(self, model: LocalModel) -> embeddings.Encoder:
        def load() -> embeddings.Encoder:
            # One thread loads and encodes, so a second caller finds the model that the first has loaded.
            if model not in self._encoders:
                self._encoders[model] = _load_encoder(model, self._settings, self._threads)
            return self._encoders[model]

        return await asyncio.get_running_loop().run_in_executor(self._encoding, load)

    async def _embed(self, model: LocalModel, call: Call) -> Reply:
        if model.kind == "chat":
            raise InvalidRequest(
                f"The model {self.name}/{model.name} does not do embeddings.",
                remedy=f"Use {self.name}/embed.",
                param="model",
            )
        asked = embeddings.read_request(call.body)
        place = await self._line(model).enter()
        stopped = threading.Event()
        try:
            encoder = await self._encoder(model)
            body = await asyncio.get_running_loop().run_in_executor(
                self._encoding, embeddings.answer, asked, encoder, call.model, stopped.is_set
            )
        finally:
            # A caller who left frees the place at once; the thread ends after the batch that it is at.
            stopped.set()
            place.leave()
        return WholeReply(body)


class WholeReply:
    """An answer that is there already; see `providers.types.Reply`."""

    status = 200
    key: str | None = None

    def __init__(self, body: bytes) -> None:
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        self._body = body

    async def read(self) -> bytes:
        """The whole body."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in one piece."""
        yield self._body

    def close(self, *, ended: bool = False) -> None:
        """Nothing is left to cancel."""


def _load_encoder(model: LocalModel, settings: Settings, threads: int) -> embeddings.Encoder:
    if model.kind == "hub":
        from mainspring.providers.local.hub import HubEncoder  # noqa: PLC0415 - only for those who ask for a hub

        return HubEncoder(model.name, Path(settings.local.directory).expanduser(), threads)
    return embeddings.MiniLM(model.path, threads)


def _cores() -> int:
    """Cores that this process may use: fewer than the machine has when it is pinned."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no such call
        return os.cpu_count() or 1
