"""Alerts: what is wrong, whom it was told, and which process watches.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Text that sorts by code point on both databases.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of the alerts room."""
    _alerts()
    _deliveries()
    op.create_table(
        "alert_lease",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("holder", TEXT, nullable=False),
        # Grows with every round of the holder: whoever sees it stand still for long enough may take over.
        sa.Column("beat", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    for table in ("alert_lease", "alert_mentions", "alert_deliveries", "alert_silences", "alerts"):
        op.drop_table(table)


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("rule", TEXT, nullable=False),
        # What the rule found it about, such as `provider=openai`; empty where a rule has one subject only.
        sa.Column("subject", TEXT, nullable=False),
        # What makes this one different from earlier ones of the same subject.
        sa.Column("window_us", sa.BigInteger, nullable=False),
        sa.Column("tenant", TEXT),
        sa.Column("metric", TEXT, nullable=False),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=False),
        # In the metric's unit as a whole number: nano-dollars, microseconds, millionths or a count.
        sa.Column("threshold", sa.BigInteger, nullable=False),
        sa.Column("value", sa.BigInteger),
        sa.Column("peak", sa.BigInteger),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("clear_us", sa.BigInteger),
        sa.Column("resolved_us", sa.BigInteger),
        sa.Column("resolution", TEXT),
        sa.Column("acknowledged_us", sa.BigInteger),
        sa.Column("acknowledged_by", TEXT),
        sa.Column("told", TEXT),
        sa.Column("told_us", sa.BigInteger),
    )
    is_open = sa.text("resolved_us IS NULL")
    op.create_index("ix_alerts_window", "alerts", ["rule", "subject", "window_us"], unique=True)
    op.create_index(
        "ix_alerts_open",
        "alerts",
        ["rule", "subject"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("ix_alerts_tenant", "alerts", ["tenant", "id"])
    op.create_table(
        "alert_silences",
        sa.Column("rule", TEXT, primary_key=True),
        # `*` silences every subject of the rule.
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("created_by", TEXT),
    )


def _deliveries() -> None:
    op.create_table(
        "alert_deliveries",
        # The id that receivers drop doubles by.
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("alerts", sa.BigInteger, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("attempted_us", sa.BigInteger),
        sa.Column("refused", sa.Boolean, nullable=False),
        sa.Column("error", TEXT),
    )
    waiting = sa.text("state = 'pending'")
    op.create_index(
        "ix_alert_deliveries_pending",
        "alert_deliveries",
        ["channel", "due_us"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("ix_alert_deliveries_channel", "alert_deliveries", ["channel", "id"])
    op.create_table(
        "alert_mentions",
        sa.Column("alert_id", TEXT, primary_key=True),
        sa.Column("delivery_id", TEXT, primary_key=True),
        sa.Column("event", TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alert_mentions_delivery_id", "alert_mentions", ["delivery_id"])
