"""Budgets: what they are, what was spent, what processes hold of them; and the first ancestor of a rotated key.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Text that sorts by code point on both databases, so that counters lock in one order.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

#: Every key that took the place of another has the same first ancestor as that one.
ANCESTORS = """
WITH RECURSIVE chain (id, origin) AS (
    SELECT id, id FROM keys WHERE id NOT IN (SELECT replaced_by FROM keys WHERE replaced_by IS NOT NULL)
    UNION ALL
    SELECT keys.replaced_by, chain.origin FROM chain JOIN keys ON keys.id = chain.id
    WHERE keys.replaced_by IS NOT NULL
)
UPDATE keys SET origin = (SELECT chain.origin FROM chain WHERE chain.id = keys.id)
"""


def upgrade() -> None:
    """Make the tables of the budgets room; find the ancestors of keys."""
    op.add_column("keys", sa.Column("origin", TEXT))
    op.execute(ANCESTORS)
    _budgets()
    _counters()


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    for table in ("budget_crossings", "budget_holders", "budget_leases", "budget_spent", "budgets"):
        op.drop_table(table)
    op.drop_column("keys", "origin")


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        # key, tenant, user, feature or model, and which one.
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        # Whose answers count; NULL is everybody's.
        sa.Column("tenant", TEXT),
        # The caps: nano-dollars and tokens; NULL is none.
        sa.Column("nusd", sa.BigInteger),
        sa.Column("tokens", sa.BigInteger),
        # day, month, rolling or total; the length of a rolling one.
        sa.Column("window", TEXT, nullable=False),
        sa.Column("period_us", sa.BigInteger),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("step_down", TEXT),
        sa.Column("queue_seconds", sa.Double, nullable=False),
        # Per cent, as JSON.
        sa.Column("thresholds", TEXT, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        # Answers from this instant on count.
        sa.Column("starts_us", sa.BigInteger, nullable=False),
        sa.Column("deleted_us", sa.BigInteger),
        # Changes with every grant, whose transactions wait here for each other.
        sa.Column("grants", sa.BigInteger, nullable=False),
        # How often somebody found too little left and asked the others for what they do not need.
        sa.Column("recalls", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_budgets_tenant", "budgets", ["tenant", "id"])


def _counters() -> None:
    op.create_table(
        "budget_spent",
        sa.Column("budget_id", TEXT, primary_key=True),
        # Where the slice of the window begins that the answers belong to.
        sa.Column("bucket_us", sa.BigInteger, primary_key=True),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "budget_leases",
        sa.Column("budget_id", TEXT, primary_key=True),
        # Where the window begins that the lease is a part of; 0 for rolling and total ones.
        sa.Column("room_us", sa.BigInteger, primary_key=True),
        sa.Column("holder", TEXT, primary_key=True),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_budget_leases_holder", "budget_leases", ["holder"])
    op.create_table(
        "budget_holders",
        sa.Column("id", TEXT, primary_key=True),
        # The machine (its boot and its name space of processes), and the process there.
        sa.Column("host", TEXT, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("started", TEXT, nullable=False),
        # Grows while the process holds something: whoever sees it stand still for long enough may take that back.
        sa.Column("beat", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "budget_crossings",
        sa.Column("budget_id", TEXT, primary_key=True),
        sa.Column("window_us", sa.BigInteger, primary_key=True),
        # Per cent of the cap.
        sa.Column("threshold", sa.BigInteger, primary_key=True),
        sa.Column("crossed_us", sa.BigInteger, nullable=False),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
