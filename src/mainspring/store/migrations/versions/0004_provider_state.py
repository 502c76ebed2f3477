"""What is kept of providers: which were taken out of use by hand, and since when each value of a secret is in use.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "provider_drains",
        sa.Column("provider", TEXT, primary_key=True),
        # The label of one of its keys; empty for the whole provider.
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("reason", TEXT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secret_ages",
        sa.Column("reference", TEXT, primary_key=True),
        # A keyed hash of the value, and its key. The value itself is nowhere.
        sa.Column("fingerprint", sa.LargeBinary, primary_key=True),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("first_seen_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("secret_ages")
    op.drop_table("provider_drains")
