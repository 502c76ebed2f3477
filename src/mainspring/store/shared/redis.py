"""Meters in Redis or Valkey, shared by all processes of an instance; and what happens when the server is away.

What is asked in one turn of the loop, or while the server is still busy with the batch before, goes out as one call
of one script. A server that does not answer in time or breaks the connection is not asked again
until a probe has found it well: until then this process decides by its own meters, with every allowance divided by
the number of processes that were seen alive last. Its meters begin where the shared ones stood when they were last
heard of. Coming back, a server that was only out of reach is told what was let through meanwhile, and one that forgot
everything is told where the meters stand here: neither going nor coming back lets through more than the rule.
"""

from __future__ import annotations

import asyncio
import ssl
from hashlib import sha1
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import monotonic, now_us
from mainspring.base.ids import new_id
from mainspring.store.shared.memory import SWEEP_SECONDS, Meters
from mainspring.store.shared.operations import ALIVE, Operation, beating, giving, holding, taking
from mainspring.store.shared.resp import Link, Lost, RedisError
from mainspring.store.shared.script import BEAT, GIVE, LEAVE, SCRIPT, TAKE
from mainspring.store.shared.troubles import Trouble, Voice, explain
from mainspring.store.shared.types import Ask, SharedStatus, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainspring.store.shared.resp import Address
    from mainspring.store.shared.types import Allowance

TIMEOUT_SECONDS = 0.05
_CONNECT_SECONDS = 1.0
#: How often a server is looked for that is away; one that will not have us is not pestered.
_PROBE_SECONDS, _LASTING_PROBE_SECONDS = 0.25, 2.0
_BEAT_SECONDS = 1.0
#: A process that was not heard of for so long is dead, and what it held is free.
LEASE_SECONDS = 5.0
#: Operations in one call: the server does nothing else meanwhile.
_MOST_OPERATIONS = 256
#: How long after coming back a meter that is first asked for is told where it stood here.
_CARRY_SECONDS = 120.0
#: A timer that fires so late says that this process stood still, not that the server did.
_STALL_SECONDS = 0.01
_UNASKED = Trouble("was not asked yet", "")

_SCRIPT = SCRIPT.encode()
_SHA = sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()
#: Meters whose use is told to a server that was out of reach.
_MOST_SPENT = 100_000
_decode = msgspec.msgpack.Decoder(list[float]).decode
_encode = msgspec.msgpack.Encoder().encode


class RedisShared:
    """`redis://`.

    Args:
        address: of the server.
        processes: how many share it, until we are told.
        timeout_seconds: a server that takes longer to answer is as good as away.
        clock: microseconds for the meters here; those there go by the server's clock.
        server_clock: microseconds in place of the server's clock, for those who want the same answers twice.
    """

    def __init__(
        self,
        address: Address,
        *,
        processes: int = 1,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] | None = None,
        server_clock: Callable[[], float] | None = None,
    ) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._holder = new_id()
        self._server_clock = server_clock
        self.meters = Meters() if clock is None else Meters(clock)
        self._least = self._processes = max(1, processes)
        self._link: Link | None = None
        self._tls: ssl.SSLContext | None = None
        self._pending: list[Operation] = []
        self._flying: list[Operation] | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._loaded_again = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        # How it is doing: `_working` is said only once a batch was answered.
        self._working = False
        self._trouble: Trouble | None = _UNASKED
        self._since_us = now_us()
        self._voice = Voice(str(address))
        #: Keys of which the server may believe something else than we hold, because an answer was lost.
        self._unsure: set[str] = set()
        #: What was let through here since the server was lost, and which memory it had then.
        self._spent: dict[str, tuple[Allowance, float]] = {}
        self._born = 0.0
        #: Until when, and for which keys not any more, levels from here are told to the server.
        self._carry_until = 0.0
        self._carried: set[str] = set()

    async def start(self) -> None:
        """Connect if the server is there at once; else go on trying."""
        self._spawn(self._beat())
        try:
            await self._connect()
            await self.take([])  # so that it is known to work before anybody asks
        except (RedisError, OSError) as error:
            self._say_away(explain(error, self._address))
            self._spawn(self._come_back())

    async def take(self, asks: Sequence[Ask], /) -> Taken:
        """Ask the server; decide here while it is away."""
        if self._link is None:
            return self._take_here(asks)
        operation = self._taking(asks)
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        operation.future = future
        self._enqueue(operation)
        return await future

    def give(self, asks: Sequence[Ask], /) -> None:
        """Tell the server with the next batch, and count here too."""
        self.meters.give(asks, self._processes if self._link is None else 1)
        if self._link is None:
            self._unsure.update(ask.key for ask in asks if ask.reserve)
            self._spend(asks)
        else:
            self._enqueue(giving(asks))

    def _take_here(self, asks: Sequence[Ask]) -> Taken:
        taken = self.meters.take(asks, self._processes)
        if taken.admitted:
            self._spend(asks)
        return taken

    def _spend(self, asks: Sequence[Ask]) -> None:
        """Remember what was let through without the server."""
        for ask in asks:
            if ask.charge and (ask.key in self._spent or len(self._spent) < _MOST_SPENT):
                before = self._spent.get(ask.key, (ask.allowance, 0.0))[1]
                self._spent[ask.key] = ask.allowance, before + ask.charge

    def status(self) -> SharedStatus:
        """How the server is doing, as this process sees it."""
        reason, remedy, _ = self._trouble or ("", "", False)
        return SharedStatus(
            "redis",
            self._working,
            reason,
            self._since_us,
            self._processes,
            place=str(self._address),
            remedy=remedy,
        )

    async def close(self) -> None:
        """Leave: what we hold is free at once."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._link is not None:
            for key in self.meters.held:
                self._enqueue(holding(key, 0))
            self._enqueue(Operation(LEAVE, [], []))
            limit = monotonic() + 4 * self._timeout
            while self._link is not None and (self._pending or self._flying) and monotonic() < limit:  # noqa: ASYNC110 - what is waited for has no event, and this happens once
                await asyncio.sleep(0.001)
        if self._link is not None:
            self._link.close()
            self._link = None

    # Batches.

    def _taking(self, asks: Sequence[Ask]) -> Operation:
        if not self._carry_until or monotonic() >= self._carry_until:
            return taking(asks)
        return taking(asks, self._hint)

    def _hint(self, key: str) -> float:
        """Where a meter stood here, told once to a server that has forgotten it."""
        if key in self._carried:
            return 0.0
        self._carried.add(key)
        return self.meters.level(key)

    def _enqueue(self, operation: Operation) -> None:
        self._pending.append(operation)
        if not self._scheduled and self._flying is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        link = self._link
        if link is None or self._flying is not None or not self._pending:
            return
        batch = self._flying = self._pending[:_MOST_OPERATIONS]
        del self._pending[:_MOST_OPERATIONS]
        self._send(link, batch)

    def _send(self, link: Link, batch: list[Operation]) -> None:
        link.send(self._command(batch), self._answered)
        self._set_timer(self._timeout, first=True)

    def _command(self, batch: list[Operation]) -> list[bytes]:
        keys = [ALIVE]
        operations: list[list[float]] = []
        for operation in batch:
            keys += operation.keys
            operations.append([operation.kind, *operation.numbers])
        now = 0.0 if self._server_clock is None else self._server_clock()
        argument = _encode([self._holder, LEASE_SECONDS * 1e6, now, operations])
        return [b"EVALSHA", _SHA, b"%d" % len(keys), *keys, argument]

    def _set_timer(self, seconds: float, *, first: bool) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._timer = loop.call_later(seconds, self._late, due, first)

    def _late(self, due: float, first: bool) -> None:
        if first and asyncio.get_running_loop().time() - due > _STALL_SECONDS:
            self._set_timer(self._timeout / 2, first=False)  # it was us; the answer may be waiting to be read
            return
        self._lose(Lost(f"did not answer within {self._timeout * 1000:.0f} ms"))

    def _answered(self, answer: bytes | RedisError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        batch, link = self._flying, self._link
        if batch is None or link is None:
            return
        if isinstance(answer, RedisError):
            if str(answer).startswith("NOSCRIPT") and not self._loaded_again:  # flushed; it has run nothing
                self._loaded_again = True
                link.send([b"SCRIPT", b"LOAD", _SCRIPT], _ignore)
                self._send(link, batch)
            else:
                self._lose(answer)
            return
        self._flying, self._loaded_again = None, False
        if not self._working:
            self._say_back()
        self._hand_out(batch, _decode(answer))
        if self._pending:
            self._flush()

    def _hand_out(self, batch: list[Operation], numbers: list[float]) -> None:
        at = 0
        for operation in batch:
            if operation.kind == TAKE:
                count = len(operation.asks)
                end = at + 1 + 2 * count
                taken = Taken(numbers[at] == 1, numbers[at + 1 : end : 2], numbers[at + 2 : end : 2])
                at = end
                self._took(operation, taken)
            elif operation.kind == BEAT:
                revived, self._processes = numbers[at] == 1, max(1, int(numbers[at + 1]))
                self._born = numbers[at + 2]
                at += 3
                if revived:  # the others thought us dead, and dropped what we hold
                    self._hold_again()

    def _took(self, operation: Operation, taken: Taken) -> None:
        asks, future = operation.asks, operation.future
        assert future is not None, "whoever takes waits"
        self.meters.remember(asks, taken)
        if taken.admitted:
            for ask in asks:
                if ask.reserve:
                    self.meters.hold(ask.key, ask.reserve)
        if not future.done():
            future.set_result(taken)
        elif taken.admitted:  # whoever asked was cancelled meanwhile
            self.give([msgspec.structs.replace(ask, charge=0) for ask in asks if ask.reserve])

    # Going and coming back.

    def _lose(self, why: Lost | RedisError) -> None:
        """Give the connection up and decide here what was asked of the server."""
        link, self._link = self._link, None
        if link is None:
            return
        link.close()
        if self._timer is not None:
            self._timer.cancel()
        lost = [*(self._flying or []), *self._pending]
        self._flying, self._pending = None, []
        self._say_away(explain(why, self._address))
        for operation in lost:
            # Whether it was done there, nobody knows: what we hold is said anew when we are back.
            self._unsure.update(ask.key for ask in operation.asks if ask.reserve)
            if operation.future is not None and not operation.future.done():
                operation.future.set_result(self._take_here(operation.asks))
            elif operation.kind == GIVE:
                self._spend(operation.asks)  # here it was counted when it was asked for
        if not self._closed:
            self._spawn(self._come_back())

    async def _come_back(self) -> None:
        while self._link is None:
            lasting = self._trouble is not None and self._trouble.lasting
            await asyncio.sleep(_LASTING_PROBE_SECONDS if lasting else _PROBE_SECONDS)
            try:
                await self._connect()
            except (RedisError, OSError) as error:
                self._say_away(explain(error, self._address))

    async def _connect(self) -> None:
        """Open a connection to a server that answers quickly, and tell it first of all what we hold.

        Raises:
            RedisError: it does not let us in or cannot run the script.
            OSError: it is not there, too slow, or not who it should be.
        """
        if (
            self._address.tls and self._tls is None
        ):  # once: it reads the certificates of the machine, which takes 0.1 s
            self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._address.authorities)
        link = await Link.open(self._address, self._lose, _CONNECT_SECONDS, self._tls)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await link.ask(b"SCRIPT", b"LOAD", _SCRIPT)
            async with asyncio.timeout(self._timeout):
                answer = await link.ask(*self._command([beating()]))
        except BaseException:  # whatever it was, nobody else will close this connection
            link.close()
            raise
        _, processes, born = _decode(answer)
        self._processes = max(1, int(processes))
        self._link = link
        # Those who come first find the places that we hold taken, and the meters where they should be.
        self._pending.append(beating())
        self._hold_again()
        if born == self._born:
            for key, (allowance, units) in self._spent.items():
                self._pending.append(giving([Ask(key, allowance, units)]))
        elif self._born:
            self._carry_until = monotonic() + _CARRY_SECONDS
            self._carried.clear()
        self._spent.clear()
        self._born = born
        self._flush()

    def _hold_again(self) -> None:
        for key in {*self.meters.held, *self._unsure}:
            self._enqueue(holding(key, self.meters.held.get(key, 0)))
        self._unsure.clear()

    async def _beat(self) -> None:
        """Tell the others that we live, and sweep our own meters."""
        beats = 0.0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.meters.sweep()
            beats += SWEEP_SECONDS
            if self._carry_until and monotonic() > self._carry_until:
                self._carry_until = 0.0
                self._carried.clear()
            if self._link is not None and beats >= _BEAT_SECONDS:
                beats = 0.0
                self._enqueue(beating())

    def _say_away(self, trouble: Trouble) -> None:
        if self._working or self._trouble is _UNASKED:
            self._since_us = now_us()
        self._voice.away(trouble, self._processes)
        self._working, self._trouble = False, trouble

    def _say_back(self) -> None:
        self._working, self._trouble, self._since_us = True, None, now_us()
        self._voice.back()

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type] # all callers pass coroutines without a result
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ignore(answer: bytes | RedisError) -> None:
    """The next command fails if this one has."""
