"""Where the rooms hang their tables: one SQLAlchemy `MetaData` for the whole schema.

Only migrations and tests import it. A running server speaks SQL text through `Connection`, since importing
SQLAlchemy would cost a third of its start and fifteen megabytes; the schema of an empty database is the SQL that
the migrations print (`migrations/sqlite.sql`, `migrations/postgresql.sql`), kept true by a test.
"""

from __future__ import annotations

from sqlalchemy import MetaData

metadata = MetaData()

__all__ = ["metadata"]
