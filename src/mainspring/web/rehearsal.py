"""Building what a configuration describes, without opening or starting any of it.

What cannot be is found here before a database is touched, by `mainspring check` as by the start of a server. What can
be, but is probably not meant, is told as a doubt. Nothing here talks to the network.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.errors import ConfigError, Mistakes
from mainspring.base.secrets import Secrets
from mainspring.base.sentry import check_dsn
from mainspring.base.settings import located
from mainspring.gateway.fallback import Fallback
from mainspring.gateway.upstreams import Upstreams
from mainspring.keys import ADMIN_KEY_FILE, check_admin_key
from mainspring.providers import Providers
from mainspring.providers.configured import configurations
from mainspring.providers.known import KNOWN
from mainspring.providers.local.catalog import IN_THE_BOX
from mainspring.routing import Health, Router
from mainspring.store import check_database_url, open_blobs, open_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from mainspring.base.settings import Settings


class Doubt(NamedTuple):
    """Something that works, but is probably not meant."""

    place: str
    detail: str
    remedy: str


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


def doubts(settings: Settings) -> Iterator[Doubt]:
    """What is probably not meant."""
    providers = {*configurations(settings), *KNOWN}
    for name, model in settings.models.items():
        provider = name.partition("/")[0]
        if provider not in providers:
            yield Doubt(
                f"models.{name}",
                f"there is no provider {provider!r}, so it has no effect.",
                _meant(provider, providers) or "Add the provider, or set its key.",
            )
        elif model.path is not None and provider != "local":
            yield Doubt(f"models.{name}.path", "only a local model has a file.", "Take it out.")
        elif model.path is not None and not Path(model.path).is_file():
            yield Doubt(f"models.{name}.path", f"there is no file {model.path}.", "Correct the path.")
    directory = Path(settings.local.directory)
    if directory.exists() and not directory.is_dir():
        yield Doubt("local.directory", f"{directory} is a file.", "Name a folder.")
    routes = {*settings.routes, "default"}
    for name, rule in settings.alerts.rules.items():
        for key, known in (("provider", providers), ("route", routes)):
            value = getattr(rule, key)
            if value is not None and value not in known:
                yield Doubt(
                    f"alerts.rules.{name}.{key}",
                    f"there is no {key} {value!r}, so the rule never fires.",
                    _meant(value, known) or f"There are: {', '.join(sorted(known))}.",
                )
    if settings.server.workers > 1 and settings.storage.shared.startswith("memory:"):
        yield Doubt(
            "storage.shared",
            f"each of {settings.server.workers} workers lets only its part of every limit through,"
            f" 1/{settings.server.workers}.",
            "Name a Redis or Valkey, and limits hold exactly across all of them.",
        )


def read_at_start_only(started_with: Settings, now: Settings) -> list[str]:
    """The settings that differ, and are in force only after a restart."""
    before, after = started_with.at_start(), now.at_start()
    return [place for place, value in after.items() if value != before[place]]


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def _check_preload(settings: Settings) -> None:
    own = [name.partition("/")[2] for name in settings.models if name.startswith("local/")]
    known = [*IN_THE_BOX, *own]
    for name in settings.local.preload:
        if name not in known:
            raise ConfigError(
                f"local.preload: there is no model {name!r} in the box.",
                remedy=_meant(name, known) or f"There are: {', '.join(known)}.",
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
