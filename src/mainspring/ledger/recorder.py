"""Turns answers into rows. Runs on the database's writer thread, for a whole group at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from mainspring.ledger import queries
from mainspring.ledger.rollups import collect
from mainspring.ledger.tables import INFERENCES, PAYLOADS
from mainspring.ledger.types import Inference, Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zstandard import ZstdCompressor

    from mainspring.store.types import Connection, Sheet

    #: Counters of other rooms that go with a row, or what finds them in its transaction.
    Counters = (
        Sequence[tuple[Sheet, tuple[Any, ...]]]
        | Callable[[Connection], Sequence[tuple[Sheet, tuple[Any, ...]]]]
    )

_JSON = tuple(INFERENCES.columns.index((name, "text")) for name in ("tags", "attempts", "extra"))
#: The fastest level: the next one is a third slower and saves three percent.
LEVEL = 1


class Record(NamedTuple):
    """An answer to be written.

    `packed` is its payload where it was compressed already, `blob` the name under which the packed bytes were put.
    `counters` are what other rooms count of it, or what finds out in the transaction.
    """

    row: Inference
    payload: Payload | None = None
    packed: bytes | None = None
    blob: str | None = None
    counters: Counters = ()


class LedgerRecorder:
    """Writes rows, payloads and rollups in one transaction."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._compressor: ZstdCompressor | None = None

    def write(self, connection: Connection, items: Sequence[Record], /) -> None:
        """See `Recorder.write`."""
        counters = _sums(connection, items)
        rows = [item.row for item in items]
        connection.insert(INFERENCES, [self.values(row) for row in rows])
        payloads = [self.packed(item, item.payload) for item in items if item.payload is not None]
        if payloads:
            connection.insert(PAYLOADS, payloads)
        for sheet, sums in collect(rows):
            connection.add(sheet, sums)
        for sheet, sums in counters:
            connection.add(sheet, sums)

    def present(self, connection: Connection, items: Sequence[Record], /) -> list[bool]:
        """See `Recorder.present`."""
        return [queries.exists(connection, item.row.id) for item in items]

    def values(self, row: Inference) -> list[Any]:
        """A row for `INFERENCES`."""
        values = list(astuple(row))
        for index in _JSON:
            if values[index] is not None:
                values[index] = self._encode(values[index]).decode()
        return values

    def packed(self, item: Record, payload: Payload) -> tuple[Any, ...]:
        """A row for `PAYLOADS`: request and answer in one compressed frame, or where it was put."""
        response = payload.response
        data = item.packed
        if data is None and item.blob is None:
            if self._compressor is None:
                self._compressor = compressor()
            data = self._compressor.compress(payload.request + response if response else payload.request)
        return (
            payload.id,
            len(payload.request),
            None if response is None else len(response),
            data,
            item.blob,
        )


def _sums(connection: Connection, items: Sequence[Record]) -> list[tuple[Sheet, list[list[Any]]]]:
    """All counters of a group, each key once, in the order in which every process locks them."""
    sheets: dict[str, tuple[Sheet, dict[tuple[Any, ...], list[Any]]]] = {}
    for item in items:
        counters = item.counters
        if not counters:
            continue
        for sheet, row in counters(connection) if callable(counters) else counters:
            known = sheets.get(sheet.name)
            if known is None:
                known = sheets[sheet.name] = sheet, {}
            sums, keys = known[1], sheet.keys
            key = row[:keys]
            sum_ = sums.get(key)
            if sum_ is None:
                sums[key] = list(row)
            else:
                for index in range(keys, len(row)):
                    sum_[index] += row[index]
    return [(sheet, [sums[key] for key in sorted(sums)]) for _, (sheet, sums) in sorted(sheets.items())]


def compressor() -> ZstdCompressor:
    """A compressor of payloads, for one thread."""
    from zstandard import ZstdCompressor  # noqa: PLC0415 - only where payloads are kept

    return ZstdCompressor(level=LEVEL, write_checksum=False)


def unpack(data: bytes, request_id: str, request_bytes: int, response_bytes: int | None) -> Payload:
    """A payload from its packed form: request and answer in one frame."""
    from zstandard import ZstdDecompressor  # noqa: PLC0415 - only where payloads are read

    plain = ZstdDecompressor().decompress(data)
    response = None if response_bytes is None else plain[request_bytes:]
    return Payload(id=request_id, request=plain[:request_bytes], response=response)
