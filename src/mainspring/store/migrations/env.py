"""Alembic's entry point: it hands us a connection (or, to print SQL, the name of a dialect)."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes.get("connection")

if connection is not None:
    context.configure(connection=connection, render_as_batch=connection.dialect.name == "sqlite")
else:
    context.configure(dialect_name=context.config.attributes["dialect"], as_sql=True)
# The caller owns the transaction: it holds the lock that keeps other processes out.
context.run_migrations()
