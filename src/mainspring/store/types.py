"""The database port: what the rooms above ask of a database, whichever one is behind it.

SQL is text in the common subset of SQLite and Postgres, with named parameters (`:name`). What the two do not share
(bulk inserts, locking, retries) is behind methods. Truth values come back from SQLite as 0 and 1: wrap them in `bool`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

Dialect = Literal["sqlite", "postgresql"]
#: What a column holds, as far as moving rows in bulk must know.
Kind = Literal["text", "integer", "real", "boolean", "bytes"]
Row = tuple[Any, ...]

T = TypeVar("T")
Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class Sheet(NamedTuple):
    """A table as bulk writes see it: its name and its columns in the order of the tuples.

    The first `keys` columns are the primary key that `Connection.add` sums by.
    """

    name: str
    columns: tuple[tuple[str, Kind], ...]
    keys: int = 1


class Connection(Protocol):
    """A connection inside a transaction. Used on one thread, until the function that got it returns."""

    dialect: Dialect

    def rows(self, sql: str, /, **parameters: Any) -> list[Row]:
        """All rows of a query, as tuples."""
        ...

    def one(self, sql: str, /, **parameters: Any) -> Row | None:
        """The first row of a query, or None."""
        ...

    def run(self, sql: str, /, **parameters: Any) -> int:
        """Run a statement and return how many rows it changed."""
        ...

    def insert(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows in bulk, in order."""
        ...

    def add(self, sheet: Sheet, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows of counters; where the key is there already, add to what stands there.

        Pass keys sorted, each once: two processes that lock the same rows in one order cannot deadlock.
        """
        ...


class Recorder(Protocol[Item_contra]):
    """How items of one kind become rows. Called on the writer's thread, inside its transaction."""

    def write(self, connection: Connection, items: Sequence[Item_contra], /) -> None:
        """Write all of them. Whatever it raises undoes all of it."""
        ...

    def present(self, connection: Connection, items: Sequence[Item_contra], /) -> list[bool]:
        """Which of them are in the database already.

        Asked when a connection broke during a commit, so that nobody knows whether it happened.
        """
        ...


class Database(Protocol):
    """One database, opened for this process and bound to one event loop.

    Every method raises `StoreUnavailable` when the database cannot be reached, stays locked or is full.
    """

    dialect: Dialect

    @property
    def depth(self) -> int:
        """Items that were appended and are not committed yet."""
        ...

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """Run a function that only reads, on a thread, on one consistent snapshot."""
        ...

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """Run a function in a transaction of its own and commit it.

        It may run again after a conflict or a broken connection; what it writes is there once, also where the connection
        broke during the commit.
        """
        ...

    def append(self, recorder: Recorder[Item], item: Item, /) -> asyncio.Future[None]:
        """Queue an item; the future resolves once its transaction is committed.

        All items that wait when the writer comes free share one transaction. An item that the database refuses
        fails alone, with `StoreError`.
        """
        ...

    def post(self, recorder: Recorder[Item], item: Item, /) -> None:
        """Queue an item that nobody waits for. It is retried for as long as the process lives."""
        ...

    async def room(self) -> None:
        """Return once the queue has room. Call before `append`: a full queue slows callers down, never drops."""
        ...

    async def ping(self) -> None:
        """Make one round trip."""
        ...

    async def close(self, within: float = 10) -> None:
        """Write what is queued, then let go of every connection and thread.

        Args:
            within: seconds for what is queued. What a database that is away or hangs has not taken by then is lost, and
                the log says how much that is. Letting go takes a few seconds more at most.
        """
        ...


__all__ = ["Connection", "Database", "Dialect", "Item", "Kind", "Recorder", "Row", "Sheet"]
