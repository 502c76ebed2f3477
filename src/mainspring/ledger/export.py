"""Writes answers to a file: Parquet for analytics, or one JSON object a line.

The file appears under its name once it is complete: it is written beside it first.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from mainspring.base.errors import ConfigError
from mainspring.ledger.tables import INFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mainspring.ledger.service import Ledger
    from mainspring.ledger.types import Inference, LedgerFilter

#: Columns whose values are JSON documents; in Parquet they are text.
_DOCUMENTS = ("tags", "attempts", "extra")


class _File(Protocol):
    def write(self, rows: list[Inference]) -> None: ...

    def close(self) -> None: ...


async def export(
    ledger: Ledger,
    where: LedgerFilter,
    path: Path,
    *,
    format: Literal["parquet", "jsonl"],  # noqa: A002 - the name of the command's option
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write every answer that passes a filter, oldest first.

    Args:
        ledger: where they are.
        where: which ones.
        path: the file; one that is there is replaced.
        format: `parquet` needs the extra of that name. Its columns are the fields of `Inference`, times as integers
            of Unix microseconds, costs as nano-dollars; tags, attempts and extra are JSON text.
        progress: called with the number of rows written so far, after each batch.

    Returns:
        How many rows were written.

    Raises:
        ConfigError: Parquet was asked for and pyarrow is not installed.
        OSError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    opener = _ParquetFile if format == "parquet" else _LinesFile
    file: _File = await asyncio.to_thread(opener, part)
    count = 0
    try:
        async for rows in ledger.export(where):
            await asyncio.to_thread(file.write, rows)
            count += len(rows)
            if progress is not None:
                progress(count)
        await asyncio.to_thread(file.close)
        part.replace(path)
    except BaseException:  # also when it is cancelled: half a file helps nobody
        with suppress(OSError):
            file.close()
            part.unlink(missing_ok=True)
        raise
    return count


class _LinesFile:
    """One JSON object a line, with the field names of `Inference`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, rows: list[Inference]) -> None:
        self._file.write(msgspec.json.Encoder().encode_lines(rows))

    def close(self) -> None:
        self._file.close()


class _ParquetFile:
    """One row group a batch, compressed with zstd."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra, and large
            from pyarrow import parquet  # noqa: PLC0415 - see above
        except ImportError as error:
            raise ConfigError(
                "Writing Parquet needs pyarrow.",
                remedy="Install the extra `parquet` (`.venv/bin/pip install -e '.[parquet]'` in a clone), or export as jsonl.",
            ) from error
        kinds = {"text": pa.string(), "integer": pa.int64(), "boolean": pa.bool_()}
        self._arrow: Any = pa
        self._schema = pa.schema([(name, kinds[kind]) for name, kind in INFERENCES.columns])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: list[Inference]) -> None:
        columns: dict[str, list[Any]] = {
            name: [getattr(row, name) for row in rows] for name, _ in INFERENCES.columns
        }
        for name in _DOCUMENTS:
            columns[name] = [
                None if value is None else msgspec.json.encode(value).decode() for value in columns[name]
            ]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
