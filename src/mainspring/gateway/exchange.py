"""The traveller: one request on its way to an answer, handed from step to step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.base.errors import ClientGone
from mainspring.base.ids import new_id
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from types import TracebackType

    from mainspring.base.errors import MainspringError
    from mainspring.base.settings import TimeoutSettings
    from mainspring.gateway.account import Loss
    from mainspring.gateway.attempts import Attempts
    from mainspring.gateway.reserve import Cover
    from mainspring.gateway.types import Dialect, Sink
    from mainspring.keys.types import Principal, Subject
    from mainspring.ledger.types import Attempt, UsageSource
    from mainspring.limits import Grant
    from mainspring.providers.types import Seen
    from mainspring.routing import Plan, Target


#: These are answered whole, whatever `stream` says.
_NEVER_STREAMED = frozenset({Operation.EMBEDDINGS, Operation.COUNT_TOKENS})


class StreamOptions(msgspec.Struct):
    """`stream_options` of an OpenAI body."""

    include_usage: bool | None = None


class Envelope(msgspec.Struct):
    """The few fields of a body that the gateway reads, of any dialect; all others pass by undecoded."""

    model: str
    stream: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    stream_options: StreamOptions | None = None
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    # What a model must be able to do, how long its answer may be, and how many there are.
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None


class Attribution(msgspec.Struct):
    """To whom and what an answer is put down."""

    user: str | None = None
    feature: str | None = None
    session: str | None = None
    tags: dict[str, str] | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None


class Exchange:
    """One request: what came in, what the steps decided, and what became of it.

    The edge makes it and fills the first block; every later block belongs to the step named above it.
    Times named `*_us` are Unix microseconds, the others monotonic seconds.
    """

    __slots__ = (
        "_has_parts",
        "answer",
        "attempt",
        "attempts",
        "attribution",
        "body",
        "closing",
        "content_sent",
        "cost_nusd",
        "cover",
        "cut",
        "deadline",
        "degraded",
        "dialect",
        "envelope",
        "error",
        "first_byte_us",
        "grant",
        "head_sent",
        "id",
        "interrupt_reason",
        "interruptible",
        "last_write",
        "left",
        "losses",
        "operation",
        "part_from",
        "pass_headers",
        "plan",
        "principal",
        "received",
        "received_us",
        "recorded",
        "refusal",
        "response_bytes",
        "resumed",
        "secret",
        "seen",
        "sink",
        "status",
        "store_payloads",
        "stream",
        "subject",
        "target",
        "task",
        "timeouts",
        "usage_source",
        "waiting",
        "writing",
    )

    def __init__(
        self,
        *,
        dialect: Dialect,
        operation: Operation,
        envelope: Envelope,
        body: bytes,
        secret: str | None,
        attribution: Attribution,
        pass_headers: dict[str, str],
        sink: Sink,
    ) -> None:
        self.id = new_id()
        self.received_us = now_us()
        self.received = monotonic()
        self.dialect = dialect
        self.operation = operation
        self.envelope = envelope
        self.body = body
        self.secret = secret
        self.attribution = attribution
        self.pass_headers = pass_headers
        self.sink = sink
        self._has_parts: bool | None = None
        self.stream = bool(envelope.stream) and operation not in _NEVER_STREAMED
        # authenticate
        self.principal: Principal | None = None
        # plan
        self.plan: Plan | None = None
        self.timeouts: TimeoutSettings | None = None
        self.store_payloads = True
        # admit
        self.subject: Subject | None = None
        # reserve
        self.cover: Cover | None = None
        self.grant: Grant | None = None
        # call
        self.attempts: list[Attempt] = []
        #: The record of the call that became the answer, or that the answer came from last; None where none did.
        self.attempt: Attempt | None = None
        self.losses: list[Loss] = []
        #: What stood in for a model: `route`, `heuristic` or `message`.
        self.degraded: str | None = None
        self.target: Target | None = None
        self.seen: Seen | None = None
        # relay
        self.head_sent = False
        self.content_sent = False
        self.writing = False
        #: The last bytes are on their way: nothing may be written in between or after them.
        self.closing = False
        self.first_byte_us: int | None = None
        self.answer: list[bytes] = []
        #: Which of these are of the call that answers now: a stream may have begun at another target.
        self.part_from = 0
        #: The targets at which a broken stream went on.
        self.resumed: list[str] = []
        self.response_bytes = 0
        # settle
        self.status = 200
        self.error: MainspringError | None = None
        #: What the caller is told of the error, in place of an answer or of its rest.
        self.refusal = b""
        self.cut = False
        self.cost_nusd: int | None = None
        #: The row has gone to the ledger: once, whatever happens after it.
        self.recorded = False
        self.usage_source: UsageSource | None = None
        # watch
        self.task: asyncio.Task[Any] | None = None
        self.deadline = 0.0
        self.last_write = self.received
        self.interruptible = False
        self.interrupt_reason: MainspringError | None = None
        #: The caller hung up; nothing may be asked on its account any more.
        self.left: ClientGone | None = None
        #: The attempts, while they wait for a target and there is another.
        self.waiting: Attempts[Any] | None = None

    @property
    def has_parts(self) -> bool:
        """Whether the body may hold more than texts: pictures, files, tools, marks for a cache. All of these have a type."""
        if self._has_parts is None:
            self._has_parts = b'"type"' in self.body
        return self._has_parts

    def interrupt(self, reason: MainspringError) -> None:
        """Stop waiting for the upstream because of `reason`. Without effect where nothing may be interrupted."""
        if isinstance(reason, ClientGone):
            self.left = reason
        if self.interruptible and self.interrupt_reason is None and self.task is not None:
            self.interrupt_reason = reason
            self.task.cancel()

    def caller_left(self) -> None:
        """Stop everything, because the caller hung up."""
        self.interrupt(ClientGone("The caller hung up before the answer was complete."))

    async def keep_alive(self) -> None:
        """Write a keepalive into a stream that is silent, opening it if need be. A caller who left is no matter here."""
        if self.writing or self.closing:
            return
        self.writing = True
        try:
            if not self.head_sent:
                self.head_sent = True
                await self.sink.start(200, self.stream_head(answered=False))
            await self.sink.write(self.dialect.keepalive)
        except ClientGone:
            pass  # the listener tells the task
        finally:
            self.writing = False

    def stream_head(self, *, answered: bool) -> list[tuple[bytes, bytes]]:
        """The headers of a stream. They name the target only when it has answered: another may still take over."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (b"x-mainspring-cache", b"off"),
            *self.id_headers(),
            *self.limit_headers(),
        ]
        return [*headers, *self.answer_headers()] if answered else headers

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """Who answered, after how many attempts, and whether that was a model at all."""
        target, headers = self.target, [(b"x-mainspring-attempts", b"%d" % len(self.attempts))]
        if target is not None and self.attempt is not None:
            headers += target.headers
        if self.degraded is not None:
            headers.append((b"x-mainspring-degraded", self.degraded.encode()))
        return headers

    def limit_headers(self) -> list[tuple[bytes, bytes]]:
        """The limits that are about the request, and the room in them; none where none is."""
        if self.grant is None:
            return []
        return self.grant.headers(anthropic=self.dialect.name.startswith("anthropic"))

    def id_headers(self) -> list[tuple[bytes, bytes]]:
        """The id of the answer, under the names that the caller's protocol gives it."""
        value = self.id.encode()
        return [(name, value) for name in self.dialect.id_headers]

    def interruption(self) -> MainspringError | None:
        """The reason for which a cancellation came, taken back from the task; None when it is not ours."""
        reason, self.interrupt_reason = self.interrupt_reason, None
        if reason is None or self.task is None or self.task.uncancel() > 0:
            return None  # somebody else cancelled the task too, and wants it to end
        return reason


class Interruptible:
    """A wait that `Exchange.interrupt` ends: what is raised then is its reason, not the cancellation."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        self._exchange.interruptible = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.interruptible = False
        if isinstance(error, asyncio.CancelledError):
            reason = self._exchange.interruption()
            if reason is not None:
                raise reason from None
