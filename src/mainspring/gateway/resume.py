"""A stream that broke after content goes on at another target, from the text that the caller has already.

Only where the route says so, and only where the rest can be asked for: a plain text, one choice, nothing that must be
read as a whole. Else the caller is told of the break in its stream. The place where it goes on is marked: a comment in
the stream, a member `mainspring` in the first event of the rest, `resumed` in the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import monotonic
from mainspring.base.errors import MainspringError
from mainspring.gateway.account import lose_part
from mainspring.gateway.attempts import Attempts
from mainspring.gateway.faults import another_target_may_cure
from mainspring.gateway.opening import OpenStream, must_be_stream
from mainspring.gateway.preparing import prepare_rest
from mainspring.ledger.types import Usage
from mainspring.providers.translate import Continuation, can_go_on, read_begun, writer_of

if TYPE_CHECKING:
    from mainspring.gateway.exchange import Exchange
    from mainspring.gateway.opening import AnswerStream
    from mainspring.gateway.trial import Trial
    from mainspring.gateway.upstreams import Upstreams
    from mainspring.providers import Provider, Reply, StreamScanner
    from mainspring.providers.translate import Begun
    from mainspring.providers.translate.types import ClientStream
    from mainspring.routing.types import Target


class ResumedStream(OpenStream):
    """The rest of a stream; see `opening.OpenStream`.

    Args:
        trial: the call that brings the rest.
        reply: the rest on its way.
        scanner: reads it.
        translated: says it in the caller's words.
        before: what the caller is told that the beginning used.
    """

    __slots__ = ("_before", "translated")

    translated: Continuation

    def __init__(
        self, trial: Trial, reply: Reply, scanner: StreamScanner, translated: Continuation, before: Usage
    ) -> None:
        super().__init__(trial, reply, scanner, translated)
        self._before = before

    def end(self) -> bytes:
        """What closes the stream: with the prompt that the caller sent, and the tokens of both parts."""
        return self.translated.end(self.told())

    def told(self) -> Usage:
        """The usage of the answer as far as it is here, as the caller sees it."""
        rest = self.trial.seen.usage if self.trial.seen is not None else None
        if rest is None:
            return self._before
        return self._before.plus(Usage(output=rest.output, reasoning=rest.reasoning))


async def resume(
    exchange: Exchange, stream: AnswerStream, error: MainspringError, upstreams: Upstreams
) -> AnswerStream | None:
    """Go on with a broken stream.

    Args:
        exchange: the request.
        stream: what broke; it is closed.
        error: how.
        upstreams: who may go on.

    Returns:
        The rest; None where there is none to be had, and the break is to be told.
    """
    plan = exchange.plan
    if plan is None or not plan.resume or not isinstance(stream, OpenStream):
        return None
    if exchange.left is not None or not another_target_may_cure(error):
        return None
    begun = _begun(exchange)
    if begun is None:
        return None
    writer = stream.translated.writer if stream.translated is not None else None
    writer = writer or writer_of(exchange.operation, exchange.body, begun)
    if writer is None or monotonic() >= exchange.received + _total(exchange):
        return None
    lost = lose_part(exchange, stream.trial)
    before = stream.told() if isinstance(stream, ResumedStream) else lost
    rest = _Rest(exchange, upstreams, begun, writer, before, lost.output)
    try:
        return await rest.open(_from_next(plan.targets, stream.trial.target))
    except MainspringError as failure:
        if exchange.left is not None:
            raise failure from None
        return None  # what broke first is what the caller is told


class _Rest:
    """The request for the rest of one answer."""

    def __init__(  # noqa: PLR0917 - one caller, which has them all
        self,
        exchange: Exchange,
        upstreams: Upstreams,
        begun: Begun,
        writer: ClientStream,
        before: Usage,
        used: int,
    ) -> None:
        self._exchange = exchange
        self._upstreams = upstreams
        self._begun = begun
        self._writer = writer
        self._before = before
        self._used = used

    async def open(self, targets: list[Target]) -> ResumedStream:
        """Open it at the first target that begins to answer."""
        exchange, plan = self._exchange, self._exchange.plan
        assert plan is not None
        attempts = Attempts(exchange, self._upstreams, self._call, ResumedStream.abandon, plan, rest=targets)
        stream = await attempts.run()
        target = stream.trial.target
        exchange.resumed.append(str(target))
        stream.held = [_marked(b"".join(stream.held), target, len(exchange.attempts))]
        return stream

    async def _call(self, trial: Trial, provider: Provider) -> ResumedStream:
        providers = self._upstreams.providers
        call = prepare_rest(self._exchange, trial.target, provider, providers, self._begun.text, self._used)
        reply = await provider.call(call)
        try:
            trial.record.key = reply.key
            await must_be_stream(reply, trial, provider, call.operation)
            scanner = provider.scanner(call.operation, strip_usage=False)
            translated = Continuation(self._writer, call.operation, self._begun.text)
            stream = ResumedStream(trial, reply, scanner, translated, self._before)
            trial.seen = scanner.seen
            await stream.hold()
        except BaseException:  # whatever it was, a cancellation too, the upstream must not go on
            reply.close()
            raise
        trial.answered()
        return stream


def _begun(exchange: Exchange) -> Begun | None:
    """What the caller has, if the rest of it can be asked for."""
    answer = b"".join(exchange.answer)
    if len(answer) < exchange.response_bytes:  # too long to be kept
        return None
    try:
        if not can_go_on(exchange.body):
            return None
    except MainspringError:
        return None
    return read_begun(exchange.operation, answer)


def _from_next(targets: tuple[Target, ...], broken: Target) -> list[Target]:
    """The targets after the one that broke, then those before it, and itself at last."""
    if broken not in targets:
        return [*targets]
    place = targets.index(broken) + 1
    return [*targets[place:], *targets[:place]]


def _total(exchange: Exchange) -> float:
    assert exchange.timeouts is not None
    return exchange.timeouts.total


def _marked(events: bytes, target: Target, attempt: int) -> bytes:
    """The first events of the rest, with the place where another target goes on."""
    mark = {"resumed": {"provider": target.provider, "model": target.model, "attempt": attempt}}
    member = b'data: {"mainspring":' + msgspec.json.encode(mark) + b","
    name = target.headers[1][1].decode("latin-1")
    comment = f": mainspring goes on with this answer at {target.provider}/{name}\n\n".encode(
        "ascii", "replace"
    )
    return comment + events.replace(b"data: {", member, 1)
