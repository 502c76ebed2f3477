"""The sections about the process itself: where it listens, keeps its state, and what it says of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainspring.base.settings.section import AT_START, Section


class ServerSettings(Section):
    """`[server]`: where the process listens."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 for all.",
        json_schema_extra=AT_START,
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="0 picks a free one.", json_schema_extra=AT_START
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="Processes on the one port.", json_schema_extra=AT_START
    )
    max_body_mb: int = Field(
        default=32, ge=1, le=1024, description="Larger request bodies are refused with 413."
    )
    notice_seconds: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="How long a server that was told to stop (SIGTERM) still takes requests, with /readyz at 503.",
        json_schema_extra=AT_START,
    )
    drain_seconds: float = Field(
        default=30,
        ge=0,
        description="How long a stopping server lets open answers finish.",
        json_schema_extra=AT_START,
    )
    keepalive_seconds: float = Field(
        default=15, gt=0, description="A silent stream gets a keepalive this often."
    )


class StorageSettings(Section):
    """`[storage]`: where state lives. Growing means changing these URLs."""

    database: str = Field(
        default="sqlite:///.mainspring/mainspring.db",
        description="sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME.",
        json_schema_extra=AT_START,
    )
    shared: str = Field(
        default="memory://",
        description="What processes share of limits: memory:// for one process, or redis://[:PASSWORD@]HOST[:PORT][/DATABASE],"
        " with rediss:// for TLS.",
        json_schema_extra=AT_START,
    )
    shared_timeout_ms: float = Field(
        default=50,
        gt=0,
        le=10_000,
        description="A Redis that takes longer to answer is as good as away: each process then lets its part through.",
        json_schema_extra=AT_START,
    )
    blobs: str = Field(
        default="file://.mainspring/blobs",
        description="Where large payloads go: file://PATH or s3://BUCKET/PREFIX.",
        json_schema_extra=AT_START,
    )
    sync: Literal["normal", "full"] = Field(
        default="normal",
        description="SQLite: `full` also survives a power cut, at one disk flush per group of rows.",
        json_schema_extra=AT_START,
    )


class LedgerSettings(Section):
    """`[ledger]`: how answers are recorded."""

    durability: Literal["strict", "relaxed"] = Field(
        default="strict",
        description="`strict`: the row is committed before the answer's last byte leaves.",
        json_schema_extra=AT_START,
    )
    payloads: bool = Field(
        default=True, description="Keep requests and answers; a key or a route may switch this off."
    )
    queue_rows: int = Field(
        default=10_000,
        ge=1,
        description="Rows waiting for the writer; a full queue slows callers.",
        json_schema_extra=AT_START,
    )
    inline_kb: int = Field(
        default=1024,
        ge=1,
        description="Larger payloads (compressed) go to the blob store.",
        json_schema_extra=AT_START,
    )
    wait_seconds: float = Field(
        default=10,
        gt=0,
        description="How long an answer waits for a database that is away.",
        json_schema_extra=AT_START,
    )


class LocalSettings(Section):
    """`[local]`: the models in the box."""

    directory: str = Field(default=".mainspring/models", description="Where `local pull` puts the files.")
    threads: int | None = Field(default=None, ge=1, description="Default: cores minus one, at least one.")
    parallel: int = Field(default=2, ge=1, description="Chats that one model answers at once; others wait.")
    queue: int = Field(default=16, ge=0, description="Chats that may wait; more are refused with 503.")
    context_tokens: int = Field(default=4096, ge=256, description="Per chat.")
    preload: list[str] = Field(default_factory=list, description="Loaded at start, for example ['small'].")


class LoggingSettings(Section):
    """`[logging]`: what the process says of itself."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is told.")
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto` is for people on a terminal and JSON otherwise."
    )


class TelemetrySettings(Section):
    """`[telemetry]`: where errors of ours go. Contents of conversations never do."""

    sentry_dsn: str | None = Field(
        default=None, description="A reference, or the DSN itself.", repr=False, json_schema_extra=AT_START
    )
    metrics_public: bool = Field(default=True, description="Whether /metrics answers without a key.")
