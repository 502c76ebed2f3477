"""Building what a configuration describes, without opening or starting any of it.

What cannot be is found here before a database is touched, by `mainspring check` as by the start of a server. Nothing
here talks to the network.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, Mistakes
from mainspring.base.secrets import Secrets
from mainspring.base.sentry import check_dsn
from mainspring.base.settings import located
from mainspring.gateway.fallback import Fallback
from mainspring.gateway.upstreams import Upstreams
from mainspring.keys import ADMIN_KEY_FILE, check_admin_key
from mainspring.providers import Providers
from mainspring.providers.local.catalog import IN_THE_BOX
from mainspring.routing import Health, Router
from mainspring.store import check_database_url, open_blobs, open_shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mainspring.base.settings import Settings


def rehearse(settings: Settings, file: Path | None) -> None:
    """Build it once. Routes are built only where the providers can be, which they lead to.

    Raises:
        ConfigError: the first thing that cannot be, with its line; `others` has the rest.
    """
    steps: tuple[tuple[tuple[str, ...], Callable[[], object]], ...] = (
        (("storage", "database"), lambda: check_database_url(settings.storage.database)),
        (("storage", "shared"), lambda: open_shared(settings.storage.shared)),
        (("storage", "blobs"), lambda: open_blobs(settings.storage.blobs)),
        ((), lambda: check_admin_key(settings.admin_key, ADMIN_KEY_FILE)),
        ((), lambda: check_dsn(settings.telemetry.sentry_dsn)),
        (("local", "preload"), lambda: _check_preload(settings)),
        ((), lambda: _check_routes(settings)),
    )
    mistakes = Mistakes()
    for place, step in steps:
        try:
            step()
        except ConfigError as error:
            if not error.place:
                error.place = place
            mistakes.add(error)
    try:
        mistakes.tell()
    except ConfigError as error:
        raise located(error, file) from None


def read_at_start_only(started_with: Settings, now: Settings) -> list[str]:
    """The settings that differ, and are in force only after a restart."""
    before, after = started_with.at_start(), now.at_start()
    return [place for place, value in after.items() if value != before[place]]


def _check_preload(settings: Settings) -> None:
    own = [name.partition("/")[2] for name in settings.models if name.startswith("local/")]
    known = [*IN_THE_BOX, *own]
    for name in settings.local.preload:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            raise ConfigError(
                f"local.preload: there is no model {name!r} in the box.",
                remedy=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}.",
            )


def _check_routes(settings: Settings) -> None:
    """Providers, routes with their targets, and what stands in for them."""
    providers, health = Providers(settings, Secrets(tell=False)), Health()
    router = Router(settings, providers, health)
    try:
        Fallback(settings, router, Upstreams(providers, health))
    except ConfigError as error:
        error.place = next(
            (
                ("routes", name, "fallback", "heuristic")
                for name, route in settings.routes.items()
                if route.fallback
                and route.fallback.heuristic
                and repr(route.fallback.heuristic) in error.message
            ),
            ("defaults", "fallback", "heuristic"),
        )
        raise
