"""The request path without a network: a provider that follows a script, a ledger that keeps a list, a sink that listens.

They are implementations of the ports, not patches: the gateway cannot tell them from the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from tests.support.waiting import happens

from mainspring.base.errors import AuthenticationFailed, ClientGone, MainspringError, NotFound
from mainspring.base.settings import Settings
from mainspring.base.telemetry import Meter
from mainspring.gateway import Attribution, Envelope, Exchange, Gateway
from mainspring.keys.types import Principal
from mainspring.providers.openai import OpenAIProvider
from mainspring.providers.prices import PriceTable
from mainspring.providers.types import Operation
from mainspring.web import anthropic, openai

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping

    from mainspring.gateway import Dialect
    from mainspring.ledger.types import Inference, Payload
    from mainspring.providers.types import Call, Reply

ANSWER = b'{"model":"m-1","choices":[{"message":{"content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
ROLE = b'data: {"model":"m-1","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
HELLO = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
DIALECTS: dict[Operation, Dialect] = {
    Operation.CHAT: openai.CHAT,
    Operation.EMBEDDINGS: openai.EMBEDDINGS,
    Operation.MESSAGES: anthropic.MESSAGES,
    Operation.COUNT_TOKENS: anthropic.COUNT_TOKENS,
}

#: One thing that a provider does: bytes are sent, a number of seconds goes by, an error is raised, or something is waited
#: for until it is true. What comes after what is said by such waits, and not by seconds, which a busy machine stretches.
Step = bytes | float | MainspringError | Callable[[], Any]


class ScriptedReply:
    """An answer that goes through its steps."""

    def __init__(self, steps: list[Step], *, kind: str) -> None:
        self.status = 200
        self.key: str | None = None
        self.headers: Mapping[str, str] = {"content-type": kind}
        self.closed = False
        self._steps = steps

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes among the steps."""
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            elif isinstance(step, MainspringError):
                raise step
            else:
                await _pause(step)

    async def read(self) -> bytes:
        """All of them."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self, *, ended: bool = False) -> None:
        """Note it."""
        self.closed = True


class ScriptedProvider(OpenAIProvider):
    """Speaks OpenAI's protocol over no wire. Each call takes the next script; the last one is used for ever.

    A script that begins with an error or a number is refused or kept waiting before its head.
    """

    def __init__(self, name: str, *scripts: list[Step]) -> None:
        super().__init__(name, "http://127.0.0.1:9", {}, frozenset({Operation.CHAT, Operation.EMBEDDINGS}))
        self.calls: list[Call] = []
        self.replies: list[ScriptedReply] = []
        self.cancelled = 0
        #: Calls that ended as an error before their head.
        self.refusals = 0
        #: The type of its answers, where it is not the one that was asked for.
        self.kind = ""
        self._scripts = list(scripts)

    async def call(self, call: Call) -> Reply:
        """Follow the next script."""
        self.calls.append(call)
        steps = list(self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0])
        try:
            while steps and not isinstance(steps[0], bytes):
                step = steps.pop(0)
                if isinstance(step, MainspringError):
                    self.refusals += 1
                    raise step
                assert not isinstance(step, bytes)
                await _pause(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        kind = "text/event-stream" if call.stream else "application/json"
        self.replies.append(ScriptedReply(steps, kind=self.kind or kind))
        return self.replies[-1]


async def _pause(step: float | Callable[[], Any]) -> None:
    if callable(step):
        await happens(step)
    else:
        await asyncio.sleep(step)


class Directory:
    """The providers of a test."""

    def __init__(self, *providers: ScriptedProvider, models: dict[str, Any] | None = None) -> None:
        self._open = {provider.name: provider for provider in providers}
        self.asks_usage = frozenset(self._open)
        self.prices = PriceTable(models or {}, {})

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def __iter__(self) -> Iterator[ScriptedProvider]:
        return iter(self._open.values())

    def get(self, name: str) -> ScriptedProvider:
        """The provider of that name."""
        if name not in self._open:
            raise NotFound("No such provider.")
        return self._open[name]

    def models(self) -> list[str]:
        """None."""
        return []


class ListLedger:
    """Keeps rows in a list; may be slow, or fail."""

    def __init__(self) -> None:
        self.rows: list[Inference] = []
        self.payloads: list[Payload] = []
        self.tried = 0
        self.delay = 0.0
        self.error: MainspringError | None = None
        self.on_commit: Callable[[], None] | None = None

    async def append(self, row: Inference, payload: Payload | None = None, counters: object = ()) -> bool:
        """Commit a row."""
        self.tried += 1
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self.rows.append(row)
        if payload is not None:
            self.payloads.append(payload)
        if self.on_commit is not None:
            self.on_commit()
        return True


class OneKey:
    """A key ring with one key in it."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    def check(self, secret: str) -> Principal:
        """Whether it is that one."""
        if secret != "good":
            raise AuthenticationFailed("This key is not known.")
        return self.principal


class ListeningSink:
    """Remembers what a caller got."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.writes: list[bytes] = []
        self.ended = False
        self.hung_up = False
        self._tell_gone: Callable[[], None] | None = None
        self.before_write: Callable[[bytes], Awaitable[None]] | None = None

    @property
    def body(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.writes)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        assert not self.status, "one head"
        self.status, self.headers = status, dict(headers)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece."""
        assert self.status, "the head comes first"
        assert not self.ended, "nothing after the last byte"
        if self.before_write is not None:
            await self.before_write(data)
        if self.hung_up:
            raise ClientGone("The caller hung up.")
        self.writes.append(data)
        self.ended = last

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the caller has hung up."""
        self._tell_gone = tell

    def hang_up(self) -> None:
        """The caller leaves."""
        self.hung_up = True
        if self._tell_gone is not None:
            self._tell_gone()


class Bench:
    """A gateway with everything around it."""

    def __init__(self, gateway: Gateway, ledger: ListLedger, keys: OneKey) -> None:
        self.gateway = gateway
        self.ledger = ledger
        self.keys = keys
        #: What the callers got, in the order in which they asked.
        self.sinks: list[ListeningSink] = []

    def exchange(
        self,
        model: str = "default",
        *,
        stream: bool = False,
        operation: Operation = Operation.CHAT,
        secret: str = "good",
        **body: Any,
    ) -> Exchange:
        """A request as the edge would make it."""
        document = {"model": model, "messages": [{"role": "user", "content": "hi"}], **body}
        if stream:
            document["stream"] = True
        data = msgspec.json.encode(document)
        self.sinks.append(ListeningSink())
        return Exchange(
            dialect=DIALECTS[operation],
            operation=operation,
            envelope=msgspec.json.decode(data, type=Envelope),
            body=data,
            secret=secret,
            attribution=Attribution(user="ann"),
            pass_headers={},
            sink=self.sinks[-1],
        )

    async def ask(self, **options: Any) -> tuple[ListeningSink, Exchange]:
        """Make a request and take it to its end."""
        exchange = self.exchange(**options)
        await asyncio.wait_for(self.gateway.handle(exchange), 60)
        assert isinstance(exchange.sink, ListeningSink)
        return exchange.sink, exchange


@asynccontextmanager
async def bench(
    *providers: ScriptedProvider, models: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """A gateway whose route `default` leads to model `m` of the providers, in their order; `route` adds to it."""
    route = {
        "targets": [f"{provider.name}/m" for provider in providers],
        "timeouts": settings.pop("timeouts", {}),
        **settings.pop("route", {}),
    }
    routes = {"default": route, **settings.pop("routes", {})}
    made = Settings(**{"routes": routes, **settings})
    ledger, keys = ListLedger(), OneKey(Principal("k-1", "test", "acme", "member"))
    meter = Meter()
    gateway = Gateway(made, "hash", keys, Directory(*providers, models=models), ledger, meter)  # type: ignore[arg-type] # ports
    gateway.start()
    try:
        yield Bench(gateway, ledger, keys)
    finally:
        await gateway.close()
        meter.close()
