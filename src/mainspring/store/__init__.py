"""Ports to what keeps state, and the backends behind them: SQLite or Postgres, memory or Redis, a folder or S3.

This room knows dialects, drivers, locks, retries and the schema's migrations; nothing else in the house does. It does
not know what the rows mean: SQL and tables belong to the rooms above, which hand it text, tuples and functions.

    database = await open_database("sqlite:///.mainspring/mainspring.db")
    rows = await database.read(lambda c: c.rows('SELECT id FROM keys WHERE tenant = :tenant', tenant="acme"))
    await database.write(lambda c: c.run("DELETE FROM keys WHERE id = :id", id="..."))
"""

from mainspring.store.blobs import BlobStore, open_blobs
from mainspring.store.database import check_database_url, open_database
from mainspring.store.following import Follower
from mainspring.store.shared import Shared, open_shared
from mainspring.store.types import Connection, Database, Recorder, Sheet

__all__ = [
    "BlobStore",
    "Connection",
    "Database",
    "Follower",
    "Recorder",
    "Shared",
    "Sheet",
    "check_database_url",
    "open_blobs",
    "open_database",
    "open_shared",
]
