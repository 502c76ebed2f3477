"""The configuration: `mainspring.toml` under git, with the environment on top.

Every key is optional. An environment variable `MAINSPRING_STORAGE__DATABASE` overrides `[storage] database`.
A key that does not exist is an error that names the nearest one that does. Secrets are held as references
(`env:NAME`, `vault:PATH#FIELD`) and resolved where they are used, so that printing the settings never prints a secret.

This package knows the shape of the file. What a provider, route or model means is known in the rooms above.
"""

from __future__ import annotations

from mainspring.base.settings.alerts import AlertsSettings, ChannelSettings, RuleSettings
from mainspring.base.settings.document import OTHER_VARIABLES, Settings, load
from mainspring.base.settings.limits import LimitsSettings
from mainspring.base.settings.mistakes import DEFAULT_FILE, PREFIX, located
from mainspring.base.settings.process import (
    LedgerSettings,
    LocalSettings,
    LoggingSettings,
    ServerSettings,
    StorageSettings,
    TelemetrySettings,
)
from mainspring.base.settings.providers import ModelSettings, ProviderSettings, SecretsSettings
from mainspring.base.settings.routes import (
    QUANTILES,
    ConditionSettings,
    DefaultsSettings,
    FallbackSettings,
    HedgeSettings,
    RetrySettings,
    RouteSettings,
    TimeoutSettings,
)
from mainspring.base.settings.secrets import redact, without_password

__all__ = [
    "DEFAULT_FILE",
    "OTHER_VARIABLES",
    "PREFIX",
    "QUANTILES",
    "AlertsSettings",
    "ChannelSettings",
    "ConditionSettings",
    "DefaultsSettings",
    "FallbackSettings",
    "HedgeSettings",
    "LedgerSettings",
    "LimitsSettings",
    "LocalSettings",
    "LoggingSettings",
    "ModelSettings",
    "ProviderSettings",
    "RetrySettings",
    "RouteSettings",
    "RuleSettings",
    "SecretsSettings",
    "ServerSettings",
    "Settings",
    "StorageSettings",
    "TelemetrySettings",
    "TimeoutSettings",
    "load",
    "located",
    "redact",
    "without_password",
]
