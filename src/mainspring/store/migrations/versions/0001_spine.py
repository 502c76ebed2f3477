"""The spine: inferences, payloads, feedback, usage rollups, configuration snapshots, keys, version counters.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Text that sorts by code point on both databases, so that ids page in one order and keys lock in one order.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
#: Latency histogram buckets of the usage rollups.
BUCKETS = 30


def upgrade() -> None:
    """Create every table of the first release."""
    _inferences()
    _beside_inferences()
    _usage()
    _keys()


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    for table in (
        "versions",
        "keys",
        "usage_by_user",
        "usage_totals",
        "usage_rollups",
        "config_snapshots",
        "feedback",
        "payloads",
        "inferences",
    ):
        op.drop_table(table)


def _inferences() -> None:
    text, integer, flag = TEXT, sa.BigInteger, sa.Boolean
    op.create_table(
        "inferences",
        # The order of commits: what the live tail follows. SQLite's own row number; an identity on Postgres.
        sa.Column("seq", integer().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("id", text, nullable=False, unique=True),
        sa.Column("received_us", integer, nullable=False),
        sa.Column("first_byte_us", integer),
        sa.Column("done_us", integer, nullable=False),
        sa.Column("tenant", text, nullable=False),
        sa.Column("key_id", text),
        sa.Column("user", text),
        sa.Column("feature", text),
        sa.Column("session", text),
        sa.Column("tags", text),
        sa.Column("dialect", text, nullable=False),
        sa.Column("route", text),
        sa.Column("requested_model", text, nullable=False),
        sa.Column("provider", text),
        sa.Column("model", text),
        sa.Column("attempts", text),
        sa.Column("why", text),
        sa.Column("status", integer, nullable=False),
        sa.Column("error", text),
        sa.Column("error_message", text),
        sa.Column("finish_reason", text),
        sa.Column("input_tokens", integer, nullable=False),
        sa.Column("cache_read_tokens", integer, nullable=False),
        sa.Column("cache_write_tokens", integer, nullable=False),
        sa.Column("output_tokens", integer, nullable=False),
        sa.Column("reasoning_tokens", integer, nullable=False),
        sa.Column("usage_source", text),
        sa.Column("cost_nusd", integer),
        sa.Column("stream", flag, nullable=False),
        sa.Column("cut", flag, nullable=False),
        sa.Column("cache", text, nullable=False),
        sa.Column("config_hash", text, nullable=False),
        sa.Column("trace_id", text),
        sa.Column("parent_span_id", text),
        sa.Column("request_bytes", integer, nullable=False),
        sa.Column("response_bytes", integer, nullable=False),
        sa.Column("extra", text),
    )
    # Only what picks few rows out of many has an index; tenant, feature, route, provider and model are narrowed
    # through the rollups. Rows without a value stay out of an index, so that they cost nothing to write.
    for name in ("key_id", "user", "session"):
        given = sa.column(name).is_not(None)
        op.create_index(
            f"ix_inferences_{name}", "inferences", [name, "id"], sqlite_where=given, postgresql_where=given
        )
    failed = sa.text("status >= 400 OR error IS NOT NULL")
    op.create_index(
        "ix_inferences_failed", "inferences", ["id"], sqlite_where=failed, postgresql_where=failed
    )
    cut = sa.text("cut")
    op.create_index("ix_inferences_cut", "inferences", ["id"], sqlite_where=cut, postgresql_where=cut)


def _beside_inferences() -> None:
    op.create_table(
        "payloads",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("request_bytes", sa.BigInteger, nullable=False),
        sa.Column("response_bytes", sa.BigInteger),
        sa.Column("data", sa.LargeBinary),
        sa.Column("blob", TEXT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feedback",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT),
        sa.Column("comment", TEXT),
        sa.Column("key_id", TEXT),
    )
    op.create_index("ix_feedback_request_id", "feedback", ["request_id", "id"])
    op.create_table(
        "config_snapshots",
        sa.Column("config_hash", TEXT, primary_key=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )


def _usage() -> None:
    def keys(*names: str) -> list[sa.Column[str]]:
        return [sa.Column(name, TEXT, primary_key=True) for name in names]

    def sums() -> list[sa.Column[int]]:
        names = (
            "requests", "errors", "cut", "streams",
            "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
            "cost_nusd", "unpriced", "latency_us", "first_tokens", "first_token_us",
        )  # fmt: skip
        return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]

    def histogram() -> list[sa.Column[int]]:
        return [sa.Column(f"h{n:02d}", sa.BigInteger, nullable=False) for n in range(BUCKETS)]

    def squares(*names: str) -> list[sa.Column[float]]:
        return [sa.Column(name, sa.Double, nullable=False) for name in names]

    # Rows are found by key and updated often: stored in order of their key, with room to be updated in place.
    options: dict[str, Any] = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 70}}
    op.create_table(
        "usage_rollups",
        sa.Column("grain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bucket_us", sa.BigInteger, primary_key=True, autoincrement=False),
        *keys("tenant", "feature", "route", "provider", "model"),
        *sums(),
        *squares("latency_sq"),
        *histogram(),
        *squares("first_token_sq", "output_tokens_sq", "cost_sq"),
        **options,
    )
    # Written once for a new bucket, not again when its sums grow.
    for name in ("tenant", "feature", "route", "provider", "model"):
        op.create_index(f"ix_usage_rollups_{name}", "usage_rollups", ["grain", name, "bucket_us"])
    op.create_table(
        "usage_totals",
        sa.Column("grain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bucket_us", sa.BigInteger, primary_key=True, autoincrement=False),
        *keys("tenant"),
        *sums(),
        *squares("latency_sq"),
        *histogram(),
        **options,
    )
    op.create_table(
        "usage_by_user",
        sa.Column("bucket_us", sa.BigInteger, primary_key=True, autoincrement=False),
        *keys("tenant", "key_id", "user"),
        *sums(),
        *squares("latency_sq"),
        **options,
    )


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("last4", TEXT, nullable=False),
        sa.Column("models", TEXT),
        sa.Column("payloads", sa.Boolean),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("revoked_us", sa.BigInteger),
        sa.Column("replaced_by", TEXT),
        sa.Column("last_used_us", sa.BigInteger),
        sa.Column("settings", TEXT),
        # The version at which the row last changed, so that processes read only what is new to them.
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_keys_tenant", "keys", ["tenant", "id"])
    op.create_index("ix_keys_changed", "keys", ["changed", "id"])
    op.create_table(
        "versions",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
