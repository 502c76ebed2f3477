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
from typing import Any, Literal, Self, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from mainspring.base.errors import ConfigError

DEFAULT_FILE = Path("mainspring.toml")
PREFIX = "MAINSPRING_"
#: Variables with our prefix that are not settings, and who reads them.
OTHER_VARIABLES = {
    "MAINSPRING_CONFIG": "every command: the configuration file",
    "MAINSPRING_KEY": "mainspring chat: the key to ask with",
    "MAINSPRING_URL": "mainspring chat: the server to ask",
}
#: What our own test suite is told.
TEST_PREFIX = "MAINSPRING_TEST_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """`[server]`: where the process listens."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(default=8080, ge=0, le=65535, description="0 picks a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Processes on the one port.")
    max_body_mb: int = Field(
        default=32, ge=1, le=1024, description="Larger request bodies are refused with 413."
    )
    drain_seconds: float = Field(
        default=30, ge=0, description="How long a stopping server lets open answers finish."
    )
    keepalive_seconds: float = Field(
        default=15, gt=0, description="A silent stream gets a keepalive this often."
    )


class StorageSettings(_Section):
    """`[storage]`: where state lives. Growing means changing these URLs."""

    database: str = Field(
        default="sqlite:///.mainspring/mainspring.db",
        description="sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    shared: str = Field(default="memory://", description="Nothing is shared yet; only memory:// is known.")
    blobs: str = Field(
        default="file://.mainspring/blobs",
        description="Where large payloads go: file://PATH or s3://BUCKET/PREFIX.",
    )
    sync: Literal["normal", "full"] = Field(
        default="normal",
        description="SQLite: `full` also survives a power cut, at one disk flush per group of rows.",
    )


class LedgerSettings(_Section):
    """`[ledger]`: how answers are recorded."""

    durability: Literal["strict", "relaxed"] = Field(
        default="strict", description="`strict`: the row is committed before the answer's last byte leaves."
    )
    payloads: bool = Field(
        default=True, description="Keep requests and answers; a key or a route may switch this off."
    )
    queue_rows: int = Field(
        default=10_000, ge=1, description="Rows waiting for the writer; a full queue slows callers."
    )
    inline_kb: int = Field(
        default=1024, ge=1, description="Larger payloads (compressed) go to the blob store."
    )
    wait_seconds: float = Field(
        default=10, gt=0, description="How long an answer waits for a database that is away."
    )


class ProviderSettings(_Section):
    """`[providers.NAME]`: one upstream."""

    api: Literal["openai", "anthropic", "local"] = Field(default="openai", description="Its wire protocol.")
    base_url: str | None = Field(default=None, description="Its address; known names have one.")
    api_keys: list[str] = Field(default_factory=list, description="References: env:NAME or file:PATH.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call.")
    operations: list[str] | None = Field(
        default=None, description="What it serves natively, if not what its wire protocol usually does."
    )
    connections: int = Field(default=0, ge=0, description="Most connections at once; 0 is no limit.")

    @field_validator("api_keys")
    @classmethod
    def _references(cls, keys: list[str]) -> list[str]:
        """A reference of a kind that is not read here would be sent to the provider as if it were the key."""
        for key in keys:
            if key.startswith(("vault:", "aws:")):
                raise ValueError(
                    f"{key.partition(':')[0]}: is not read by this version; use env:NAME or file:PATH"
                )
        return keys


class ModelSettings(_Section):
    """`[models."provider/model"]`: prices and limits that override the built-in table."""

    input_usd_per_mtok: float | None = Field(default=None, ge=0, description="Dollars per million tokens.")
    output_usd_per_mtok: float | None = Field(default=None, ge=0, description="The same, of the answer.")
    cache_read_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="The same, read from the provider's prompt cache."
    )
    cache_write_usd_per_mtok: float | None = Field(default=None, ge=0, description="The same, written to it.")
    path: str | None = Field(default=None, description="For a local model: the GGUF file.")
    context_tokens: int | None = Field(
        default=None,
        ge=1,
        description="For a local model: tokens of a chat, in place of `local.context_tokens`.",
    )


class TimeoutSettings(_Section):
    """`[routes.NAME.timeouts]`, in seconds."""

    connect: float = Field(default=5, gt=0, description="To connect to a target.")
    first_token: float = Field(
        default=60, gt=0, description="To the first content of a stream, for each target."
    )
    idle: float = Field(default=60, gt=0, description="Between two pieces of a stream.")
    total: float = Field(default=600, gt=0, description="For the whole request, all targets together.")


class RouteSettings(_Section):
    """`[routes.NAME]`: what `model = "NAME"` means."""

    targets: list[str] = Field(
        min_length=1, description="`provider/model`, in the order in which they are asked."
    )
    strategy: Literal["failover"] = Field(
        default="failover", description="The next target when one cannot answer."
    )
    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )


class DefaultsSettings(_Section):
    """`[defaults]`: applies to every call that names no route, or whose route is silent."""

    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )


class LocalSettings(_Section):
    """`[local]`: the models in the box."""

    directory: str = Field(default=".mainspring/models", description="Where `local pull` puts the files.")
    threads: int | None = Field(default=None, ge=1, description="Default: cores minus one, at least one.")
    parallel: int = Field(default=2, ge=1, description="Chats that one model answers at once; others wait.")
    queue: int = Field(default=16, ge=0, description="Chats that may wait; more are refused with 503.")
    context_tokens: int = Field(default=4096, ge=256, description="Per chat.")
    preload: list[str] = Field(default_factory=list, description="Loaded at start, for example ['small'].")


class LoggingSettings(_Section):
    """`[logging]`: what the process says of itself."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is told.")
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto` is for people on a terminal and JSON otherwise."
    )


class TelemetrySettings(_Section):
    """`[telemetry]`: where errors of ours go. Contents of conversations never do."""

    sentry_dsn: str | None = Field(default=None, description="A reference, or the DSN itself.", repr=False)
    metrics_public: bool = Field(default=True, description="Whether /metrics answers without a key.")


class Settings(BaseSettings):
    """The whole configuration, read once at start and again when the file or the environment changes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
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
    admin_key: str | None = Field(
        default=None, repr=False, description="The first admin key; made and kept if absent."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all of them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.routes:
            if "/" in name:
                raise ValueError(
                    f"routes.{name}: a route name has no slash; `provider/model` names a model directly"
                )
        for name in self.models:
            if "/" not in name:
                raise ValueError(f'models.{name}: write it as "provider/model"')
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
            provider["base_url"] = provider["base_url"] and without_password(provider["base_url"])
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
        raise ConfigError(
            f"There is no configuration file {file}.", remedy="Name an existing file with --config."
        )
    if file.exists():
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file} is not valid TOML: {error}.", remedy="Mend that line.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{file} cannot be read: {error}.", remedy="Check its permissions and encoding."
            ) from error
    _check_environment()
    try:
        return Settings(**document)
    except ValidationError as error:
        raise ConfigError(
            _explain(error, file), remedy="docs/reference/configuration.md lists every key."
        ) from None
    except SettingsError as error:
        field = str(error).partition('"')[2].partition('"')[0]
        raise ConfigError(
            f"The environment variable {PREFIX}{field.upper()} is not JSON.",
            remedy="Write JSON into it, or set single keys with __ between the parts of the name.",
        ) from None


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
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for variable in os.environ:
        head = variable.split("__", 1)[0].upper()
        if (
            not head.startswith(PREFIX)
            or head.startswith(TEST_PREFIX)
            or head in known
            or head in OTHER_VARIABLES
        ):
            continue
        raise ConfigError(
            f"The environment variable {variable} is not a setting.{_nearest(head, [*known, *OTHER_VARIABLES])}",
            remedy="Unset or rename it.",
        )


def _explain(error: ValidationError, file: Path) -> str:
    """The first thing wrong: who said it, where, and for a misspelt key its nearest neighbour."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    variable = _variable_for(first["loc"])
    source = f"The environment variable {variable}" if variable else str(file)
    if first["type"] == "extra_forbidden":
        return f"{source}: {place} is not a setting.{_nearest(str(first['loc'][-1]), _names_at(first['loc'][:-1]))}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{source}: {place}: {message}." if place else f"{source}: {message}."


def _nearest(name: str, known: list[str]) -> str:
    """A sentence that helps: the nearest name, or all there are."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known here: {', '.join(sorted(known))}." if known else ""


def _variable_for(location: tuple[str | int, ...]) -> str | None:
    """The environment variable that set this place, or a place around or inside it; the environment wins."""
    path = [str(part).upper() for part in location]
    for variable in os.environ:
        parts = variable.upper().removeprefix(PREFIX).split("__")
        length = min(len(parts), len(path))
        if path and variable.upper().startswith(PREFIX) and parts[:length] == path[:length]:
            return variable
    return None


def _names_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys that exist at a place in the file."""
    shape: Any = Settings
    for part in location:
        if get_origin(shape) in {dict, list}:  # the part is a name that the user chose, or an index
            shape = get_args(shape)[-1]
            continue
        fields = getattr(shape, "model_fields", {})
        shape = fields[part].annotation if part in fields else None
    return list(getattr(shape, "model_fields", {}))
