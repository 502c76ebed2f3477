"""The whole configuration: reading it, and saying what is wrong with it."""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any, Self

import msgspec
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from mainspring.base.errors import ConfigError
from mainspring.base.settings.alerts import AlertsSettings
from mainspring.base.settings.limits import LimitsSettings
from mainspring.base.settings.places import line_of, walk, written
from mainspring.base.settings.process import (
    LedgerSettings,
    LocalSettings,
    LoggingSettings,
    ServerSettings,
    StorageSettings,
    TelemetrySettings,
)
from mainspring.base.settings.providers import ModelSettings, ProviderSettings, SecretsSettings
from mainspring.base.settings.routes import DefaultsSettings, RouteSettings
from mainspring.base.settings.secrets import redact, without_password

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
    limits: LimitsSettings = LimitsSettings()
    local: LocalSettings = LocalSettings()
    logging: LoggingSettings = LoggingSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    alerts: AlertsSettings = AlertsSettings()
    secrets: SecretsSettings = SecretsSettings()
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
        for channel in document["alerts"]["channels"].values():
            for name in ("url", "secret", "password"):
                channel[name] = channel[name] and redact(channel[name])
        document["storage"] = {
            name: without_password(value) if isinstance(value, str) else value
            for name, value in document["storage"].items()
        }
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
    text = ""
    file = path or DEFAULT_FILE
    if path is not None and not file.exists():
        raise ConfigError(
            f"There is no configuration file {file}.", remedy="Name an existing file with --config."
        )
    if file.exists():
        try:
            text = file.read_text("utf-8")
            document = tomllib.loads(text)
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
            _explain(error, file, text), remedy="docs/reference/configuration.md lists every key."
        ) from None
    except SettingsError as error:
        field = str(error).partition('"')[2].partition('"')[0]
        raise ConfigError(
            f"The environment variable {PREFIX}{field.upper()} is not JSON.",
            remedy="Write JSON into it, or set single keys with __ between the parts of the name.",
        ) from None


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


def _explain(error: ValidationError, file: Path, text: str) -> str:
    """The first thing wrong: who said it, where, and for a misspelt key its nearest neighbour."""
    first = error.errors(include_url=False, include_input=False)[0]
    location, shapes = walk(Settings, first["loc"])
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    key, colon, rest = message.partition(": ")
    if colon and any(key in getattr(shape, "model_fields", ()) for shape in shapes):
        location, message = (*location, key), rest  # a check of several keys says which of them is wrong
    place = written(location)
    variable = _variable_for(location)
    source = f"The environment variable {variable}" if variable else _with_line(file, text, location)
    if first["type"] == "extra_forbidden":
        _, shapes = walk(Settings, first["loc"][:-1])
        known = [name for shape in shapes for name in getattr(shape, "model_fields", ())]
        return f"{source}: {place} is not a setting.{_nearest(str(location[-1]), known)}"
    return f"{source}: {place}: {message}." if place else f"{source}: {message}."


def located(error: ConfigError, file: Path | None) -> ConfigError:
    """An error that names its place in the file by its line too, where the file has it."""
    file = file or DEFAULT_FILE
    try:
        text = file.read_text("utf-8") if error.place else ""
    except (OSError, UnicodeDecodeError):
        return error
    line = line_of(text, error.place)
    if line is None or error.message.startswith(f"{file}, line"):
        return error
    return ConfigError(f"{file}, line {line}: {error.message}", remedy=error.remedy)


def _with_line(file: Path, text: str, location: tuple[str | int, ...]) -> str:
    line = line_of(text, location)
    return f"{file}, line {line}" if line is not None else str(file)


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
