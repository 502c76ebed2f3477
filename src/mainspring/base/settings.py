"""The configuration: `mainspring.toml` under git, with the environment on top.

Every key is optional. An environment variable `MAINSPRING_STORAGE__DATABASE` overrides `[storage] database`.
A key that does not exist is an error that names the nearest one that does. Secrets are held as references
(`env:NAME`, `file:PATH`) and resolved where they are used, so that printing the settings never prints a secret.

This module knows the shape of the file. What a provider, route or model means is known in the rooms above.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mainspring.base.errors import ConfigError

DEFAULT_FILE = Path("mainspring.toml")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """`[server]`: where the process listens."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=256)
    max_body_mb: int = Field(32, ge=1, le=1024, description="Larger request bodies are refused with 413.")
    drain_seconds: float = Field(30, ge=0, description="How long a stopping server lets open answers finish.")
    keepalive_seconds: float = Field(15, gt=0, description="A silent stream gets a keepalive this often.")


class StorageSettings(_Section):
    """`[storage]`: where state lives. Growing means changing these URLs."""

    database: str = "sqlite:///.mainspring/mainspring.db"
    shared: str = "memory://"
    blobs: str = "file://.mainspring/blobs"
    sync: Literal["normal", "full"] = Field(
        "normal", description="SQLite: `full` also survives a power cut, at one disk flush per group of rows."
    )


class LedgerSettings(_Section):
    """`[ledger]`: how answers are recorded."""

    durability: Literal["strict", "relaxed"] = Field(
        "strict", description="`strict`: the row is committed before the answer's last byte leaves."
    )
    payloads: bool = Field(True, description="Keep requests and answers; a key or a route may switch this off.")
    queue_rows: int = Field(10_000, ge=1, description="Rows waiting for the writer; a full queue slows callers.")
    inline_kb: int = Field(1024, ge=1, description="Larger payloads (compressed) go to the blob store.")
    wait_seconds: float = Field(10, gt=0, description="How long an answer waits for a database that is away.")


class ProviderSettings(_Section):
    """`[providers.NAME]`: one upstream."""

    api: Literal["openai", "anthropic", "local"] = "openai"
    base_url: str | None = None
    api_keys: list[str] = Field(default_factory=list, description="References: env:NAME or file:PATH.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call.")
    operations: list[str] | None = Field(
        None, description="What it serves natively, if not what its wire protocol usually does."
    )
    connections: int = Field(0, ge=0, description="Most connections at once; 0 is no limit.")

    @field_validator("api_keys")
    @classmethod
    def _references(cls, keys: list[str]) -> list[str]:
        return keys


class ModelSettings(_Section):
    """`[models."provider/model"]`: prices and limits that override the built-in table."""

    input_usd_per_mtok: float | None = Field(None, ge=0)
    output_usd_per_mtok: float | None = Field(None, ge=0)
    cache_read_usd_per_mtok: float | None = Field(None, ge=0)
    cache_write_usd_per_mtok: float | None = Field(None, ge=0)
    path: str | None = Field(None, description="For a local model: the GGUF file.")
    context_tokens: int | None = Field(None, ge=1)


class TimeoutSettings(_Section):
    """`[routes.NAME.timeouts]`, in seconds."""

    connect: float = Field(5, gt=0)
    first_token: float = Field(60, gt=0)
    idle: float = Field(60, gt=0)
    total: float = Field(600, gt=0)


class RouteSettings(_Section):
    """`[routes.NAME]`: what `model = "NAME"` means."""

    targets: list[str] = Field(min_length=1)
    strategy: Literal["failover"] = "failover"
    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = None


class DefaultsSettings(_Section):
    """`[defaults]`: applies to every call that names no route, or whose route is silent."""

    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = None


class LocalSettings(_Section):
    """`[local]`: the models in the box."""

    directory: str = ".mainspring/models"
    threads: int | None = Field(None, ge=1, description="Default: cores minus one, at least one.")
    parallel: int = Field(2, ge=1, description="Chats that one model answers at once; others wait.")
    queue: int = Field(16, ge=0, description="Chats that may wait; more are refused with 503.")
    context_tokens: int = Field(4096, ge=256, description="Per chat.")
    preload: list[str] = Field(default_factory=list, description="Loaded at start, for example ['small'].")


class LoggingSettings(_Section):
    """`[logging]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class TelemetrySettings(_Section):
    """`[telemetry]`: where errors of ours go. Contents of conversations never do."""

    sentry_dsn: str | None = Field(None, description="A reference, or the DSN itself.", repr=False)
    metrics_public: bool = Field(True, description="Whether /metrics answers without a key.")


class Settings(BaseSettings):
    """The whole configuration, read once at start and again when the file or the environment changes."""

    model_config = SettingsConfigDict(
        env_prefix="MAINSPRING_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    ledger: LedgerSettings = LedgerSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    routes: dict[str, RouteSettings] = {}
    defaults: DefaultsSettings = DefaultsSettings()
    local: LocalSettings = LocalSettings()
    logging: LoggingSettings = LoggingSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    admin_key: str | None = Field(None, repr=False, description="The first admin key; made and kept if absent.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.routes:
            if "/" in name:
                raise ValueError(f"routes.{name}: a route name has no slash; `provider/model` names a model directly")
        for name in self.models:
            if "/" not in name:
                raise ValueError(f"models.{name}: write it as \"provider/model\"")
        return self

    def snapshot(self) -> tuple[str, bytes]:
        """The configuration in force, for the record.

        Returns:
            A hash of 16 hexadecimal digits and the settings as JSON, both without any secret.
        """
        document = self.model_dump(mode="json", exclude={"admin_key": True, "telemetry": {"sentry_dsn"}})
        for provider in document["providers"].values():
            provider["api_keys"] = [redact(key) for key in provider["api_keys"]]
            provider["headers"] = dict.fromkeys(provider["headers"], "set")
        document["storage"] = {k: without_password(v) for k, v in document["storage"].items()}
        text = msgspec.json.encode(document, order="sorted")
        return hashlib.sha256(text).hexdigest()[:16], text


def load(path: Path | None = None) -> Settings:
    """Read the file (if it is there) and the environment.

    Args:
        path: the file; `None` means `mainspring.toml` in the working folder, if it exists.

    Raises:
        ConfigError: the file is missing though it was named, is not TOML, or a key or value is wrong.
    """
    document: dict[str, Any] = {}
    file = path or DEFAULT_FILE
    if path is not None and not file.exists():
        raise ConfigError(f"There is no configuration file {file}.", remedy="Name an existing file with --config.")
    if file.exists():
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file} is not valid TOML: {error}.", remedy="Mend that line.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}.", remedy="Check its permissions and encoding.") from error
    _check_environment()
    try:
        return Settings(**document)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(file)), remedy="See docs/reference/configuration.md.") from None


def resolve(reference: str) -> str | None:
    """The secret behind a reference, or `None` when the variable or file is not there.

    A text without a known prefix is the secret itself.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name) or None
    if kind == "file":
        try:
            return Path(name).read_text("utf-8").strip() or None
        except OSError:
            return None
    return reference


def redact(reference: str) -> str:
    """A reference as it may be shown: names stay, a literal secret becomes `set`."""
    return reference if reference.startswith(("env:", "file:")) else "set"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    head, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return url
    credentials, _, host = rest.rpartition("@")
    return f"{head}://{credentials.split(':', 1)[0]}:***@{host}"


def _check_environment() -> None:
    """pydantic-settings ignores unknown variables with our prefix; a misspelt one must not pass in silence."""
    known = {f"MAINSPRING_{name.upper()}": field.annotation for name, field in Settings.model_fields.items()}
    for variable in os.environ:
        if not variable.startswith("MAINSPRING_"):
            continue
        head = variable.split("__", 1)[0]
        if head.upper() not in known:
            near = difflib.get_close_matches(head.upper(), known, 1, 0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"The environment variable {variable} is not a setting.{hint}", remedy="Unset or rename it.")


def _explain(error: ValidationError, source: str) -> str:
    """The first thing wrong, with the place and, for a misspelt key, its nearest neighbour."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        names = _names_at(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), names, 1, 0.5)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known here: {', '.join(sorted(names))}."
        return f"{source}: {place} is not a setting.{hint}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{source}: {place}: {message}."


def _names_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys that exist at a place in the file."""
    model: Any = Settings
    for part in location:
        fields = getattr(model, "model_fields", None)
        if fields is None:
            continue
        annotation = fields[part].annotation if part in fields else None
        arguments = getattr(annotation, "__args__", ())
        model = arguments[-1] if arguments and isinstance(arguments[-1], type) else annotation
    return list(getattr(model, "model_fields", {}))
