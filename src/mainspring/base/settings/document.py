"""The whole configuration: reading it, and saying what is wrong with it."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Self

import msgspec
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from mainspring.base.errors import ConfigError, Mistakes
from mainspring.base.settings.alerts import AlertsSettings
from mainspring.base.settings.limits import LimitsSettings
from mainspring.base.settings.mistakes import DEFAULT_FILE, PREFIX, not_json, not_valid, unknown_variables
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
from mainspring.base.settings.section import AT_START, Section
from mainspring.base.settings.syntax import not_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Variables with our prefix that are not settings, and who reads them.
OTHER_VARIABLES = {
    "MAINSPRING_CONFIG": "every command: the configuration file",
    "MAINSPRING_KEY": "mainspring chat: the key to ask with",
    "MAINSPRING_URL": "mainspring chat: the server to ask",
}


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
        default=None,
        repr=False,
        description="The first admin key; made and kept if absent.",
        json_schema_extra=AT_START,
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
        for section, what in (("providers", "provider"), ("routes", "route")):
            for name in getattr(self, section):
                if not name.strip():
                    raise ValueError(f"{section}: a {what} has an empty name; give it one")
                if "/" in name:
                    raise ValueError(
                        f"{section}.{name}: the name of a {what} has no slash; rename it,"
                        " since a slash stands between provider and model"
                    )
        for name in self.models:
            provider, _, model = name.partition("/")
            if not provider or not model:
                raise ValueError(
                    f'models.{name}: a model has the name of its provider before it; write [models."provider/model"]'
                )
        return self

    def at_start(self) -> dict[str, object]:
        """What a process reads only when it starts: values by dotted name, secrets among them."""
        found: dict[str, object] = {"admin_key": self.admin_key}
        for name, section in self:
            if isinstance(section, Section):
                found |= {f"{name}.{key}": getattr(section, key) for key in section.read_once()}
        return found

    def started_with(self, values: Mapping[str, object]) -> Self:
        """These settings, but with what a process reads only when it starts as `at_start` said it."""
        changed: dict[str, dict[str, object]] = {}
        for place, value in values.items():
            section, _, key = place.rpartition(".")
            changed.setdefault(section, {})[key] = value
        update = changed.pop("", {})
        for name, keys in changed.items():
            update[name] = getattr(self, name).model_copy(update=keys)
        return self.model_copy(update=update)

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
        ConfigError: the file is missing though it was named, is not TOML, or a key or value is wrong; what else is
            wrong is in `others`, first that of the file from top to bottom and then that of the environment.
    """
    file = path or DEFAULT_FILE
    text = _read(file, named=path is not None)
    mistakes = Mistakes()
    settings = None
    try:
        settings = Settings(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        mistakes.add(not_toml(error, file, text))
    except ValidationError as error:
        mistakes.add(*not_valid(error, Settings, file, text))
    except SettingsError as error:
        field = str(error).partition('"')[2].partition('"')[0]
        mistakes.add(not_json(field, Settings))
    mistakes.add(*unknown_variables(Settings, OTHER_VARIABLES))
    mistakes.tell()
    assert settings is not None, "nothing was wrong"
    return settings


def _read(file: Path, *, named: bool) -> str:
    """The text of the file; empty when there is none and none was named."""
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        if not named:
            return ""
        raise ConfigError(
            f"There is no configuration file {file}.",
            remedy="Name an existing file with --config or MAINSPRING_CONFIG.",
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}, line {line}, is not UTF-8.", remedy="Save the file as UTF-8.") from None
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror or error}.", remedy="Let this user read it as a file."
        ) from None
