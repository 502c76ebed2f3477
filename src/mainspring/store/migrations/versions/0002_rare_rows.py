"""The indexes of failed and of cut answers say whose they are, so that those of one tenant or model are found in them.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RARE = {"failed": "status >= 400 OR error IS NOT NULL", "cut": "cut"}
#: What an answer is told apart by. Behind the id they narrow a search without a look at the rows; most answers are in
#: neither index and cost nothing.
DIMENSIONS = ("tenant", "feature", "route", "provider", "model")


def upgrade() -> None:
    """Make both indexes wider."""
    _replace("id", *DIMENSIONS)


def downgrade() -> None:
    """Make them as narrow as they were."""
    _replace("id")


def _replace(*columns: str) -> None:
    for name, condition in RARE.items():
        rows = sa.text(condition)
        op.drop_index(f"ix_inferences_{name}", "inferences")
        op.create_index(
            f"ix_inferences_{name}", "inferences", [*columns], sqlite_where=rows, postgresql_where=rows
        )
