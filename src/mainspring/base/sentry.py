"""Our unexpected errors to Sentry, without anything that a caller said or sent."""

from __future__ import annotations

import sys
from typing import Any

from mainspring.base import logging
from mainspring.base.errors import ConfigError

__all__ = ["start_sentry"]


def start_sentry(dsn: str, *, release: str) -> None:
    """Send unexpected errors to Sentry: where they happened, never local variables, bodies, headers or people.

    Raises:
        ConfigError: the extra is not installed, or the DSN is not one.
    """
    try:
        import sentry_sdk  # noqa: PLC0415 - costs 0.2 s; only where a DSN is set
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError(
            "telemetry.sentry_dsn is set, but sentry-sdk is not installed.",
            remedy="Run: pip install 'mainspring[sentry]'.",
        ) from None
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
        raise ConfigError(
            "telemetry.sentry_dsn is not a Sentry DSN.",
            remedy="Copy it from the project's settings in Sentry.",
        ) from None
    logging.error_listeners.append(_report)


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
