"""Sums of attempts and a histogram of times to the first token, beside the sums that there are.

Earlier rows hold nothing of either. A release that does not know the columns leaves them as they are.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("usage_rollups", "usage_totals")
COLUMNS = ("attempts", "attempt_errors", *(f"f{n:02d}" for n in range(30)))


def upgrade() -> None:
    """Add the columns; with a constant as their default, no row is touched."""
    for table in TABLES:
        for name in COLUMNS:
            op.add_column(table, sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        for name in COLUMNS:
            op.drop_column(table, name)
