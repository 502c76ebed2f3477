"""The ledger as the rooms above use it, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from tests.support.answers import answer

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest, NotFound, StoreUnavailable
from mainspring.base.ids import lowest_id, new_id
from mainspring.ledger import Attempt, Feedback, Inference, Ledger, LedgerFilter, Payload, queries
from mainspring.store import BlobStore, open_blobs, open_database

if TYPE_CHECKING:
    from mainspring.store import Connection, Database
    from mainspring.store.types import Row

HOUR_US = 3_600_000_000


@pytest.fixture
def blobs() -> BlobStore:
    return open_blobs("memory://")


@pytest.fixture
def ledger(database: Database, blobs: BlobStore) -> Ledger:
    return Ledger(database, blobs, durability="strict", inline_kb=16)


async def record(ledger: Ledger, rows: list[Inference]) -> list[Inference]:
    await asyncio.gather(*(ledger.append(row) for row in rows))
    return rows


async def test_a_row_comes_back_as_it_went_in(ledger: Ledger) -> None:
    full = answer(
        user="ann",
        feature="search",
        session="s1",
        tags={"team": "growth", "odd": "\U0001f600 'quoted'"},
        attempts=[
            Attempt(
                provider="a", model="m", started_us=1, ended_us=2, outcome="timeout", error="provider_timeout"
            ),
            Attempt(provider="b", model="n", started_us=3, ended_us=9, first_byte_us=5, status=200),
        ],
        why="second target",
        error="stream_cut",
        error_message="The stream ended early.",
        stream=True,
        cut=True,
        cost_nusd=None,
        trace_id="0" * 32,
        parent_span_id="1" * 16,
        extra={"arm": {"name": "b", "weight": 0.5}},
    )
    bare = Inference(
        id=new_id(),
        received_us=1,
        done_us=2,
        tenant="acme",
        dialect="anthropic.messages",
        requested_model="m",
        status=401,
        config_hash="x",
    )
    await record(ledger, [full, bare])
    assert await ledger.get(full.id) == full
    assert await ledger.get(bare.id) == bare


async def test_an_answer_of_another_tenant_is_not_found(ledger: Ledger) -> None:
    [row] = await record(ledger, [answer(tenant="acme")])
    assert await ledger.get(row.id, "acme") == row
    assert await ledger.get(row.id, "other") is None
    assert await ledger.get("nothing") is None


async def test_payloads_come_back_byte_for_byte(ledger: Ledger, database: Database, blobs: BlobStore) -> None:
    """Small ones are in the database; what is large even when compressed is in the blob store."""
    payloads = []
    for request, response in (
        (b'{"messages": []}', b"data: {}\n\n"),
        (b"\x00\xff", None),
        (b"{}", b""),
        (b"repetitive " * 20_000, b"and small when compressed"),
        (os.urandom(50_000), os.urandom(10)),
    ):
        row = answer()
        payloads.append(Payload(id=row.id, request=request, response=response))
        await ledger.append(row, payloads[-1])
    for payload in payloads:
        assert await ledger.payload(payload.id) == payload
    rows = await database.read(
        lambda connection: connection.rows("SELECT id, blob FROM payloads WHERE blob IS NOT NULL")
    )
    assert [row[0] for row in rows] == [payloads[-1].id]
    assert await blobs.list() == [rows[0][1]]
    assert await ledger.payload("nothing") is None


async def test_a_payload_whose_blob_has_expired_is_kept_no_more(ledger: Ledger, blobs: BlobStore) -> None:
    row = answer()
    await ledger.append(row, Payload(id=row.id, request=os.urandom(50_000)))
    (name,) = await blobs.list()
    await blobs.delete(name)
    assert await ledger.payload(row.id) is None
    assert await ledger.get(row.id) == row


async def test_a_step_of_an_export_looks_at_so_many_rows(ledger: Ledger, database: Database) -> None:
    """Who exports a tenant that has asked little must not keep the database for minutes, nor run into its limits."""
    rows = [answer(ago_seconds=100 - n, tenant="few" if n == 55 else "many") for n in range(60)]
    await asyncio.gather(*(ledger.append(row) for row in rows))
    few, last, steps = LedgerFilter(tenant="few"), "", []
    while last is not None:
        found, last = await database.read(
            lambda c, last=last: queries.after(c, few, limit=5, last=last, most=20)  # type: ignore[misc] # mypy cannot infer a lambda with a default
        )
        steps.append(([row.id for row in found], last))
    assert steps == [([], rows[19].id), ([], rows[39].id), ([rows[55].id], rows[59].id), ([], None)]
    assert [row.id async for batch in ledger.export(few, batch=20) for row in batch] == [rows[55].id]


async def test_a_large_payload_stays_in_the_database_when_the_blob_store_is_away(
    database: Database, tmp_path: Any
) -> None:
    (tmp_path / "file").write_text("not a folder")
    ledger = Ledger(database, open_blobs(f"file://{tmp_path}/file"), durability="strict", inline_kb=1)
    row = answer()
    payload = Payload(id=row.id, request=os.urandom(10_000), response=None)
    await ledger.append(row, payload)
    assert await ledger.payload(row.id) == payload


async def test_relaxed_returns_before_the_commit_and_writes_all_the_same(database_url: str) -> None:
    database = await open_database(database_url)
    ledger = Ledger(database, open_blobs("memory://"), durability="relaxed", inline_kb=16)
    for _ in range(100):
        await ledger.append(answer())
    assert database.depth > 0
    await database.close()
    database = await open_database(database_url)
    page = await Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=16).page(
        LedgerFilter(), limit=200
    )
    assert len(page.items) == 100
    await database.close()


async def test_pages_go_through_everything_once_newest_first(ledger: Ledger) -> None:
    rows = await record(ledger, [answer(ago_seconds=n * 700 + 1) for n in range(53)])
    seen: list[str] = []
    after = None
    while True:
        page = await ledger.page(LedgerFilter(), limit=10, after=after)
        seen += [row.id for row in page.items]
        # A row that comes while somebody pages does not shift the pages.
        await ledger.append(answer())
        if page.next is None:
            break
        after = page.next
    assert seen == sorted((row.id for row in rows), reverse=True)


FILTERS: list[dict[str, Any]] = [
    {},
    {"tenant": "a"},
    {"tenant": "nobody"},
    {"model": "rare"},
    {"model": "rare", "tenant": "a"},
    {"provider": "p2", "route": "r1"},
    {"feature": "f1", "status": "error"},
    {"user": "ann"},
    {"user": "ann", "key_id": "k1", "tenant": "a"},
    {"session": "s1"},
    {"key_id": "k2"},
    {"key_id": "k2", "tenant": "b"},
    {"key_id": "k1", "model": "rare"},
    {"status": "ok"},
    {"status": "error"},
    {"status": "cut"},
    {"status": "cut", "tenant": "b"},
    {"status": "cut", "tenant": "a", "model": "common", "feature": "f1"},
    {"status": "error", "tenant": "b", "key_id": "k1", "provider": "p1"},
    {"status": "error", "model": "rare", "user": "ann"},
    {"status": "ok", "model": "common"},
]


def passes(row: Inference, where: LedgerFilter) -> bool:
    failed = row.status >= 400 or row.error is not None
    state = {None: True, "ok": not failed and not row.cut, "error": failed, "cut": row.cut}[where.status]
    names = ("tenant", "key_id", "user", "feature", "session", "route", "provider", "model")
    equal = all(getattr(where, name) in {None, getattr(row, name)} for name in names)
    inside = (where.since_us or 0) <= row.received_us < (where.until_us or 2**62)
    return state and equal and inside


@pytest.fixture
async def mixed(ledger: Ledger) -> list[Inference]:
    """400 answers of three days, of many kinds."""
    draw = random.Random(5)
    start = now_us() // 1000 * 1000
    rows = []
    for number in range(400):
        received = start - draw.randrange(72 * 3600) * 1_000_000
        cut = draw.random() < 0.1
        rows.append(
            answer(
                id=lowest_id(received / 1_000_000)[:-12] + f"{number:012x}",
                received_us=received,
                tenant=draw.choice("ab"),
                key_id=draw.choice(["k1", "k2", None]),
                user=draw.choice(["ann", "bob", None]),
                session=draw.choice(["s1", "s2", None]),
                feature=draw.choice(["f1", None]),
                route=draw.choice(["r1", "r2", None]),
                provider=draw.choice(["p1", "p2"]),
                model=draw.choices(["common", "rare", None], [50, 1, 5])[0],
                status=draw.choice([200, 200, 200, 404, 502]),
                cut=cut,
                error="stream_cut" if cut and draw.random() < 0.5 else None,
                cost_nusd=draw.choice([None, 10, 1000]),
            )
        )
    return await record(ledger, rows)


async def test_filters_find_what_a_scan_finds(ledger: Ledger, mixed: list[Inference]) -> None:
    newest = max(row.received_us for row in mixed)
    times: list[dict[str, Any]] = [
        {},
        {"since_us": newest - 20 * HOUR_US},
        {"until_us": newest - 30 * HOUR_US},
        {"since_us": newest - 50 * HOUR_US, "until_us": newest - 10 * HOUR_US},
    ]
    for fields in FILTERS:
        for time in times:
            where = LedgerFilter(**fields, **time)
            expected = sorted((row.id for row in mixed if passes(row, where)), reverse=True)
            found: list[str] = []
            after = None
            while True:
                page = await ledger.page(where, limit=7 if len(expected) < 40 else 60, after=after)
                found += [row.id for row in page.items]
                after = page.next
                if after is None:
                    break
            assert found == expected, where
            exported = [row.id async for batch in ledger.export(where, batch=9) for row in batch]
            assert exported == expected[::-1], where


async def test_a_search_that_is_broken_off_goes_on_where_it_was(
    database: Database, ledger: Ledger, mixed: list[Inference]
) -> None:
    newest = max(row.received_us for row in mixed)
    broken_off = 0
    for fields in FILTERS:
        for since_us in (None, newest - 50 * HOUR_US):
            where = LedgerFilter(**fields, since_us=since_us)
            expected = sorted((row.id for row in mixed if passes(row, where)), reverse=True)
            found: list[str] = []
            before: str | None = None
            while True:
                rows, reached = await database.read(
                    lambda c, before=before, where=where: queries.page(  # type: ignore[misc] # mypy cannot infer a lambda with defaults
                        c, where, limit=5, before=before, seconds=0, step=7
                    )
                )
                found += [row.id for row in rows]
                if reached is None and len(rows) < 5:
                    break
                before = reached or rows[-1].id
                broken_off += reached is not None
            assert found == expected, where
    assert broken_off > 100
    page = await ledger.page(LedgerFilter(model="rare"), limit=50, seconds=30)
    assert (page.next, page.searched_us) == (None, None)


@pytest.mark.parametrize("status", ["error", "cut"])
async def test_rare_answers_of_a_tenant_are_found_in_one_look_at_their_index(
    ledger: Ledger, database: Database, mixed: list[Inference], status: Literal["error", "cut"]
) -> None:
    where = LedgerFilter(status=status, tenant="a", model="common")
    asked: list[tuple[str, dict[str, Any]]] = []

    def look(connection: Connection) -> tuple[list[Inference], str]:
        class Watched:
            def rows(self, sql: str, **parameters: Any) -> list[Row]:
                asked.append((sql, parameters))
                return connection.rows(sql, **parameters)

        found, _ = queries.page(cast("Connection", Watched()), where, limit=500, before=None)
        ((sql, parameters),) = asked
        explain = "EXPLAIN QUERY PLAN " if connection.dialect == "sqlite" else "EXPLAIN "
        return found, str(connection.rows(explain + sql, **parameters))

    found, plan = await database.read(look)
    assert {row.id for row in found} == {row.id for row in mixed if passes(row, where)}
    # With a few hundred rows Postgres may as well read them all; SQLite decides by what indexes there are.
    if database.dialect == "sqlite":
        assert f"ix_inferences_{'failed' if status == 'error' else 'cut'}" in plan


async def test_usage_is_the_sum_over_the_rows(ledger: Ledger, mixed: list[Inference]) -> None:
    until = now_us() + 60_000_000
    since = (until - 40 * HOUR_US) // 60_000_000 * 60_000_000
    inside = [row for row in mixed if row.received_us >= since]
    for by, column in (
        (None, None),
        ("model", "model"),
        ("provider", "provider"),
        ("route", "route"),
        ("tenant", "tenant"),
        ("feature", "feature"),
    ):
        for tenant in (None, "a"):
            rows = [row for row in inside if tenant in {None, row.tenant}]
            expected = Counter(getattr(row, column) if column else None for row in rows)
            usage = await ledger.usage(by=by, since_us=since, until_us=until, tenant=tenant)  # type: ignore[arg-type] # a literal from the table above
            assert {row.group: row.requests for row in usage if row.requests} == expected
            assert sum(row.cost_nusd for row in usage) == sum(row.cost_nusd or 0 for row in rows)
            assert sum(row.unpriced for row in usage) == sum(row.cost_nusd is None for row in rows)
            assert sum(row.errors for row in usage) == sum(
                row.status >= 400 or row.error is not None for row in rows
            )
            assert [row.requests for row in usage] == sorted((row.requests for row in usage), reverse=True)
            assert all(row.p50_ms is not None for row in usage if row.requests)
            assert sum(row.attempts for row in usage) == len(rows)


async def test_times_to_the_first_token_have_percentiles_where_they_are_wanted(ledger: Ledger) -> None:
    rows = [answer(ago_seconds=n, stream=n % 2 == 0) for n in range(1, 21)]
    await record(ledger, rows)
    until = now_us() + 60_000_000
    for by, first_tokens in ((None, True), ("model", True), ("model", False)):
        (row,) = await ledger.usage(
            by=by,  # type: ignore[arg-type] # one of the literals
            since_us=until - HOUR_US,
            until_us=until,
            first_tokens=first_tokens,
        )
        assert row.p95_ms == pytest.approx(100, rel=0.6)
        assert row.attempts == 20
        assert row.first_token_mean_ms == pytest.approx(40)
        if first_tokens:
            assert row.first_token_p95_ms == pytest.approx(40, rel=0.6)
        else:
            assert row.first_token_p95_ms is None
    series = await ledger.series(
        since_us=until - HOUR_US, until_us=until, step_seconds=3600, first_tokens=True
    )
    assert all(row.first_token_p50_ms == pytest.approx(40, rel=0.6) for row in series)


async def test_usage_by_user_and_key_counts_whole_days(ledger: Ledger, mixed: list[Inference]) -> None:
    day = 86_400_000_000
    oldest = min(row.received_us for row in mixed) // day * day
    for by, column in (("user", "user"), ("key", "key_id")):
        usage = await ledger.usage(by=by, since_us=oldest + day + 1, until_us=now_us())  # type: ignore[arg-type] # one of the literals
        expected = Counter(getattr(row, column) for row in mixed if row.received_us >= oldest + day)
        assert {row.group: row.requests for row in usage} == expected
        assert all(row.p50_ms is None for row in usage)


@pytest.mark.parametrize("step", [60, 900, 3600, 21_600, 86_400])
async def test_a_series_is_the_sum_over_the_rows(ledger: Ledger, mixed: list[Inference], step: int) -> None:
    since, until = min(row.received_us for row in mixed), now_us()
    step_us = step * 1_000_000
    for only in ({}, {"tenant": "b"}, {"model": "common"}):
        series = await ledger.series(since_us=since, until_us=until, step_seconds=step, **only)
        expected = Counter(
            row.received_us // step_us * step_us
            for row in mixed
            if all(getattr(row, name) == value for name, value in only.items())
        )
        assert {row.bucket_us: row.requests for row in series} == expected
        assert [row.bucket_us for row in series] == sorted(expected)


async def test_an_empty_interval_has_no_usage(ledger: Ledger) -> None:
    assert await ledger.usage(by=None, since_us=0, until_us=HOUR_US) == []
    assert await ledger.series(since_us=0, until_us=HOUR_US, step_seconds=60) == []


@pytest.mark.parametrize("step", [0, -60, 1, 90])
async def test_a_step_is_a_whole_number_of_minutes(ledger: Ledger, step: int) -> None:
    with pytest.raises(InvalidRequest):
        await ledger.series(since_us=0, until_us=HOUR_US, step_seconds=step)


async def test_feedback_hangs_on_its_answer(ledger: Ledger) -> None:
    [row] = await record(ledger, [answer()])
    given = [
        Feedback(
            id=new_id(),
            request_id=row.id,
            created_us=now_us(),
            tenant="acme",
            name="score",
            value=value,
            comment=c,
        )
        for value, c in ((0.25, None), (True, "nice \0 touch"), ("good", None), (None, "only words"))
    ]
    for feedback in given:
        await ledger.add_feedback(feedback)
    found = await ledger.feedback(row.id)
    assert [item.value for item in found] == [0.25, True, "good", None]
    assert found[1].value is True
    assert [item.id for item in found] == [item.id for item in given]
    for tenant, request_id in (("other", row.id), ("acme", new_id())):
        with pytest.raises(NotFound):
            await ledger.add_feedback(
                Feedback(
                    id=new_id(), request_id=request_id, created_us=1, tenant=tenant, name="score", value=1.0
                )
            )
    assert await ledger.feedback("nothing") == []


async def test_a_configuration_is_kept_once(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.record_config("abc", b'{"a": 1}') for _ in range(5)))
    await ledger.record_config("abc", b"something else")
    assert await ledger.config("abc") == b'{"a": 1}'
    assert await ledger.config("nothing") is None


async def test_the_tail_shows_what_comes_in_the_order_in_which_it_ended(database_url: str) -> None:
    """Also what other processes record: here another connection."""
    here, there = await open_database(database_url), await open_database(database_url)
    ledgers = [
        Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=16)
        for database in (here, there)
    ]
    await ledgers[0].append(answer(tenant="watched"))
    tail = ledgers[0].tail(LedgerFilter(tenant="watched"))
    first = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.3)
    rows = [answer(tenant="watched" if n % 3 else "other") for n in range(30)]
    # Received in one order, ended in another.
    random.Random(3).shuffle(rows)
    for n, row in enumerate(rows):
        await ledgers[n % 2].append(row)
    seen = [await asyncio.wait_for(first, 10)]
    while len(seen) < 20:
        seen.append(await asyncio.wait_for(anext(tail), 10))
    assert [row.id for row in seen] == [row.id for row in rows if row.tenant == "watched"]
    await here.close()
    with pytest.raises(StoreUnavailable):
        await anext(tail)
    await there.close()


async def test_the_tail_waits_for_a_number_that_commits_late(postgres_url: str) -> None:
    """A transaction of another process takes a number, others commit past it, then it commits."""
    import psycopg  # noqa: PLC0415 - only where Postgres is tested

    database = await open_database(postgres_url)
    ledger = Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=16)
    await ledger.append(answer())
    tail = aiter(ledger.tail(LedgerFilter()))
    coming = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.3)
    late = new_id()
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute(
            "INSERT INTO inferences (id, received_us, done_us, tenant, dialect, requested_model, status, input_tokens,"
            " cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, stream, cut, cache, config_hash,"
            " request_bytes, response_bytes) SELECT %s, received_us, done_us, tenant, dialect, requested_model, status,"
            " 0, 0, 0, 0, 0, stream, cut, cache, config_hash, 0, 0 FROM inferences",
            (late,),
        )
        row = answer()
        await ledger.append(row)
        assert (await asyncio.wait_for(coming, 10)).id == row.id
        coming = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0.3)
    assert (await asyncio.wait_for(coming, 10)).id == late
    await database.close()
