"""The ledger: what the rooms above call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest, NotFound, StoreError
from mainspring.base.logging import get_logger
from mainspring.ledger import queries, rollups
from mainspring.ledger.recorder import LedgerRecorder, Record, compressor, unpack
from mainspring.ledger.tables import GRAINS
from mainspring.ledger.tail import follow
from mainspring.ledger.types import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mainspring.ledger.recorder import Counters
    from mainspring.ledger.types import Feedback, Inference, LedgerFilter, Payload, UsageRow
    from mainspring.store import BlobStore, Database

#: What usage can be grouped by.
Grouping = Literal["model", "provider", "route", "tenant", "feature", "user", "key"]

_DAY_US = 86_400_000_000
#: Rows that one step of an export looks at, at most: half a second or so.
_MOST_LOOKED_AT = 40_000
_log = get_logger(__name__)


class Ledger:
    """One row per answer, for ever. Methods raise `StoreUnavailable` when the database is away.

    The time of a row is the time of its id, to the millisecond: by it pages are ordered, time filters choose and
    usage is summed. Ids come from `new_id` when a request is received.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        durability: Literal["strict", "relaxed"],
        inline_kb: int,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._strict = durability == "strict"
        self._inline_bytes = inline_kb * 1024
        self._recorder = LedgerRecorder()

    async def append(self, row: Inference, payload: Payload | None = None, counters: Counters = ()) -> bool:
        """Record an answer: returns when it is committed (`strict`, True) or queued (`relaxed`, False).

        `counters` are added in the transaction of the row, and so are there exactly when the row is.

        Waits while the queue is full. A row that is on its way is written even if the caller is cancelled.

        Raises:
            StoreError: the database refused the row.
        """
        record = Record(row, payload, counters=counters)
        if payload is not None and len(payload.request) + len(payload.response or b"") > self._inline_bytes:
            record = await self._pack(record, payload)
        await self._database.room()
        if self._strict:
            await self._database.append(self._recorder, record)
        else:
            self._database.post(self._recorder, record)
        return self._strict

    async def get(self, id: str, tenant: str | None = None) -> Inference | None:  # noqa: A002 - the public name of the field
        """One answer; None if there is none, or none of that tenant."""
        return await self._database.read(lambda connection: queries.get(connection, id, tenant))

    async def payload(self, id: str) -> Payload | None:  # noqa: A002 - see get
        """What was asked and answered; None if it was not kept, or is kept no more: a bucket may let blobs expire."""
        row = await self._database.read(lambda connection: queries.payload(connection, id))
        if row is None:
            return None
        request_bytes, response_bytes, data, blob = row
        if blob is not None:
            try:
                data = await self._blobs.get(blob)
            except NotFound:
                _log.warning("payload_gone", blob=blob)
                return None
        return await asyncio.to_thread(unpack, data, id, request_bytes, response_bytes)

    async def page(
        self,
        where: LedgerFilter,
        *,
        limit: int = 50,
        after: str | None = None,
        seconds: float | None = None,
    ) -> Page:
        """Answers that pass a filter, newest first; `after` is the `next` of the page before.

        A search may look at many rows to find few. After so many `seconds` the page is what was found so far; its
        `next` goes on from there, and `searched_us` says how far it looked back. Without, it is looked for to the end.
        """
        rows, reached = await self._database.read(
            lambda connection: queries.page(connection, where, limit=limit + 1, before=after, seconds=seconds)
        )
        if len(rows) > limit:
            return Page(items=rows[:limit], next=rows[limit - 1].id)
        if reached is None:
            return Page(items=rows, next=None)
        return Page(items=rows, next=reached, searched_us=queries.instant_of(reached))

    def tail(self, where: LedgerFilter) -> AsyncIterator[Inference]:
        """Answers as they are recorded, by any process, from now on. Ends only with its consumer."""
        return follow(self._database, where)

    async def export(self, where: LedgerFilter, *, batch: int = 5000) -> AsyncIterator[list[Inference]]:
        """All answers that pass a filter, oldest first, in batches."""
        last: str | None = ""
        most = batch
        while last is not None:
            start, look = last, most
            rows, last = await self._database.read(
                lambda connection, start=start, look=look: queries.after(  # type: ignore[misc] # mypy cannot infer a lambda with a default
                    connection, where, limit=batch, last=start, most=look
                )
            )
            if rows:
                yield rows
            most = batch if len(rows) == batch else min(2 * most, _MOST_LOOKED_AT)

    async def add_feedback(self, feedback: Feedback) -> None:
        """Store what was said of an answer.

        Raises:
            NotFound: the feedback's tenant has no such answer.
        """
        if not await self._database.write(lambda connection: queries.add_feedback(connection, feedback)):
            raise NotFound(
                f"There is no answer {feedback.request_id!r}.",
                remedy="Pass the x-request-id of an answer of yours.",
            )

    async def feedback(self, request_id: str) -> list[Feedback]:
        """What was said of an answer, oldest first."""
        return await self._database.read(lambda connection: queries.feedback(connection, request_id))

    async def record_config(self, config_hash: str, document: bytes) -> None:
        """Keep the configuration that rows name by its hash. Doing so again changes nothing."""
        await self._database.write(
            lambda connection: queries.add_config(connection, config_hash, document, now_us())
        )

    async def must_be_writable(self) -> None:
        """Begin to write, and change nothing.

        Raises:
            StoreUnavailable: the database may only be read, or cannot be reached.
        """
        await self._database.write(queries.delete_nothing)

    async def config(self, config_hash: str) -> bytes | None:
        """A configuration that was in force."""
        return await self._database.read(lambda connection: queries.config(connection, config_hash))

    async def usage(
        self,
        *,
        by: Grouping | None,
        since_us: int,
        until_us: int,
        tenant: str | None = None,
        where: Mapping[str, str] | None = None,
        percentiles: bool = True,
        first_tokens: bool = False,
    ) -> list[UsageRow]:
        """Sums over an interval, the groups with most requests first.

        The interval is widened to whole minutes; by user or key, which have no percentiles, to whole UTC days.
        Rows without the thing grouped by stand under the group None. Without percentiles it takes a third of the
        time; with those of the time to the first token (`first_tokens`, beside the others) half as much again.
        `where` narrows by tenant, feature, route, provider or model; not by user or key.
        """
        only = dict(where or {}) if tenant is None else {**(where or {}), "tenant": tenant}
        if by in {"user", "key"}:
            column = "key_id" if by == "key" else "user"
            low, high = since_us // _DAY_US * _DAY_US, -(-until_us // _DAY_US) * _DAY_US
            groups = rollups.merge(
                await self._database.read(
                    lambda connection: queries.usage_by_user(connection, column, low, high, only)
                )
            )
        else:
            pieces = list(rollups.cover(since_us, until_us))
            groups = await self._database.read(
                lambda connection: rollups.merge(
                    pair
                    for piece in pieces
                    for pair in queries.usage(
                        connection, by, piece, only, histograms=percentiles + first_tokens
                    )
                )
            )
        rows = [rollups.summarise(sums, group=group or None) for group, sums in groups.items()]
        return sorted(rows, key=lambda row: (-row.requests, row.group or ""))

    async def series(
        self,
        *,
        since_us: int,
        until_us: int,
        step_seconds: int,
        tenant: str | None = None,
        model: str | None = None,
        percentiles: bool = True,
        first_tokens: bool = False,
    ) -> list[UsageRow]:
        """Sums by time step, oldest first; steps without an answer are left out.

        Steps begin at multiples of their length since 1970; the interval is widened to whole steps.

        Raises:
            InvalidRequest: the step is not a whole number of minutes.
        """
        if step_seconds <= 0 or step_seconds % GRAINS[-1]:
            raise InvalidRequest("The step must be a whole number of minutes.", param="step_seconds")
        grain = next(grain for grain in GRAINS if step_seconds % grain == 0)
        step_us = step_seconds * 1_000_000
        piece = queries.Piece(grain, since_us // step_us * step_us, -(-until_us // step_us) * step_us)
        only = {name: value for name, value in (("tenant", tenant), ("model", model)) if value is not None}
        rows = await self._database.read(
            lambda connection: queries.series(
                connection, piece, step_us, only, histograms=percentiles + first_tokens
            )
        )
        return [rollups.summarise(sums, bucket_us=bucket) for bucket, sums in rows]

    async def _pack(self, record: Record, payload: Payload) -> Record:
        """Compress a large payload off the writer's thread and, if it is still large, put it into the blob store."""
        plain = payload.request + (payload.response or b"")
        packed = await asyncio.to_thread(lambda: compressor().compress(plain))
        if len(packed) <= self._inline_bytes:
            return record._replace(packed=packed)
        name = f"payloads/{payload.id[:8]}/{payload.id}.zst"
        try:
            await self._blobs.put(name, packed)
        except StoreError as error:
            # Better a large row than a lost payload or a failed answer.
            _log.warning("payload_kept_in_database", reason=str(error), bytes=len(packed))
            return record._replace(packed=packed)
        return record._replace(blob=name)
