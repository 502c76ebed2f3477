"""Exports hold every row, and nothing appears under the name of an export that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.answers import answer

from mainspring.ledger import Inference, Ledger, LedgerFilter
from mainspring.ledger.export import export
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def ledger(sqlite_url: str) -> AsyncIterator[Ledger]:
    database = await open_database(sqlite_url)
    yield Ledger(database, open_blobs("memory://"), durability="strict", inline_kb=16)
    await database.close()


@pytest.fixture
async def rows(ledger: Ledger) -> list[Inference]:
    made = [
        answer(ago_seconds=1000 - n, tags={"n": str(n)} if n % 2 else None, cost_nusd=n or None)
        for n in range(25)
    ]
    for row in made:
        await ledger.append(row)
    return made


async def test_lines_round_trip(ledger: Ledger, rows: list[Inference], tmp_path: Path) -> None:
    counts: list[int] = []
    path = tmp_path / "answers.jsonl"
    assert await export(ledger, LedgerFilter(), path, format="jsonl", progress=counts.append) == 25
    assert [msgspec.json.decode(line, type=Inference) for line in path.read_bytes().splitlines()] == rows
    assert counts[-1] == 25


async def test_parquet_round_trips(ledger: Ledger, rows: list[Inference], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "answers.parquet"
    assert await export(ledger, LedgerFilter(), path, format="parquet") == 25
    read = parquet.read_table(path).to_pylist()
    assert list(read[0]) == list(Inference.__struct_fields__)
    for fields in read:
        for name in ("tags", "attempts", "extra"):
            fields[name] = None if fields[name] is None else msgspec.json.decode(fields[name])
    assert [msgspec.convert(fields, Inference) for fields in read] == rows


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
async def test_an_empty_export_is_an_empty_file(ledger: Ledger, tmp_path: Path, format_: str) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "none"
    assert await export(ledger, LedgerFilter(tenant="nobody"), path, format=format_) == 0  # type: ignore[arg-type] # one of the literals
    assert path.exists()


async def test_an_export_that_fails_leaves_no_file(
    ledger: Ledger, rows: list[Inference], tmp_path: Path
) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "answers.jsonl"
    path.write_text("the one before")
    with pytest.raises(KeyboardInterrupt):
        await export(ledger, LedgerFilter(), path, format="jsonl", progress=stop)
    assert not path.with_name("answers.jsonl.part").exists()
    assert path.read_text() == "the one before"
