"""The schema's history, for Alembic, and the same schema as plain SQL for a database that is still empty.

After adding a revision, set `HEAD` in `mainspring.store.migrate` and run `python -m mainspring.store.migrations`,
which prints the revisions as SQL into `sqlite.sql` and `postgresql.sql`.
"""
