"""Our unexpected errors to Sentry, without anything that a caller said or sent."""

from __future__ import annotations

import sys
from typing import Any

from mainspring.base import logging
from mainspring.base.errors import ConfigError
from mainspring.base.settings.secrets import kind_of

__all__ = ["check_dsn", "start_sentry"]


_PLACE = ("telemetry", "sentry_dsn")


def check_dsn(dsn: str | None) -> None:
    """See whether a DSN that stands in the configuration can be one.

    Args:
        dsn: the DSN; nothing is said of a reference, which is read at the start.

    Raises:
        ConfigError: the extra is not installed, or the DSN is not one.
    """
    if dsn is None or kind_of(dsn) != "literal":
        return
    try:
        from sentry_sdk.utils import BadDsn, Dsn  # noqa: PLC0415 - costs 0.2 s; only where a DSN is set
    except ImportError:
        raise _not_installed() from None
    try:
        Dsn(dsn)
    except BadDsn:
        raise _no_dsn() from None


def start_sentry(dsn: str, *, release: str) -> None:
    """Send unexpected errors to Sentry: where they happened, never local variables, bodies, headers or people.

    Raises:
        ConfigError: the extra is not installed, or the DSN is not one.
    """
    try:
        import sentry_sdk  # noqa: PLC0415 - see check_dsn
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415 - as above
    except ImportError:
        raise _not_installed() from None
    try:
        sentry_sdk.init(
            dsn,
            release=f"mainspring@{release}",
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            before_send=_scrub_event,
        )
    except BadDsn:
        raise _no_dsn() from None
    logging.error_listeners.append(_report)


def _not_installed() -> ConfigError:
    return ConfigError(
        "telemetry.sentry_dsn is set, but sentry-sdk is not installed.",
        remedy="Install the extra `sentry`: `.venv/bin/pip install -e '.[sentry]'` in a clone.",
        place=_PLACE,
    )


def _no_dsn() -> ConfigError:
    return ConfigError(
        "telemetry.sentry_dsn is not a Sentry DSN.",
        remedy="Copy it from the project's settings in Sentry.",
        place=_PLACE,
    )


def _report(error: BaseException) -> None:
    sys.modules["sentry_sdk"].capture_exception(error)


def _scrub_event(event: Any, _hint: dict[str, Any]) -> Any:
    """Keep what locates an error: its type, its scrubbed text, its frames."""
    for name in ("request", "user", "extra", "breadcrumbs", "server_name"):
        event.pop(name, None)
    for value in event.get("exception", {}).get("values", []):
        value["value"] = logging.scrub_text(str(value.get("value") or ""))
        for frame in value.get("stacktrace", {}).get("frames", []):
            frame.pop("vars", None)
    identifier = logging.request_id.get()
    if identifier is not None:
        event.setdefault("tags", {})["request_id"] = identifier
    return event
