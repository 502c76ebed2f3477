"""The stores that the configuration names, and what they hold: keys, drains, budgets, alerts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError, MainspringError
from mainspring.base.ids import new_id
from mainspring.base.settings import without_password
from mainspring.cli.checking.findings import Finding, absent, doubtful, failed, good, refused
from mainspring.cli.checking.governing import alerts, budgets
from mainspring.cli.providers import views_of
from mainspring.keys import ADMIN_KEY_FILE
from mainspring.store import check_database_url, open_shared
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.base.settings import Settings
    from mainspring.web.management.provider_views import Drain, Provider


async def stores(settings: Settings, *, usable: bool) -> tuple[list[Finding], list[Finding]]:
    """Use each of them. Returns what is to be said of themselves, and of what they hold that governs.

    Args:
        settings: the configuration.
        usable: whether all of it can be; if not, only stores with an address that can be are looked at.
    """
    governed: list[Finding] = []
    found = await _database(settings, governed, usable=usable)
    with suppress(ConfigError):  # told already
        found.insert(1, await _shared(settings))
    return found, governed


async def _database(settings: Settings, governed: list[Finding], *, usable: bool) -> list[Finding]:
    where = without_password(settings.storage.database)
    try:
        check_database_url(settings.storage.database)
        runtime = await Runtime.open(settings, serve=False)
    except MainspringError as error:
        return [] if isinstance(error, ConfigError) else [_away("database", where, error)]  # told already
    try:
        await runtime.ledger.must_be_writable()
        found = [good("database", where)]
        if usable:
            found += [*await _keys(runtime), await _blobs(runtime, settings)]
            governed += [*await budgets(runtime), *await alerts(runtime)]
    except MainspringError as error:
        return [_away("database", where, error)]
    finally:
        await runtime.close()
    return found


async def _keys(runtime: Runtime) -> list[Finding]:
    keys = await runtime.keys.list(limit=1)
    found = list(_of_providers(await views_of(runtime)))
    if not keys.items:
        found.append(absent("keys", "none yet", f"`mainspring serve` makes one in {ADMIN_KEY_FILE}."))
    return found


async def _blobs(runtime: Runtime, settings: Settings) -> Finding:
    where, name = without_password(settings.storage.blobs), f"check-{new_id()}"
    try:
        await runtime.blobs.put(name, b"check")
        await runtime.blobs.delete(name)
    except MainspringError as error:
        return refused("blobs", error)
    return good("blobs", where)


async def _shared(settings: Settings) -> Finding:
    shared = open_shared(settings.storage.shared, timeout_seconds=settings.storage.shared_timeout_ms / 1000)
    await shared.start()
    try:
        status = shared.status()
    finally:
        await shared.close()
    if status.kind == "memory":
        return good("shared state", "in the memory of the server")
    if status.working:
        return good("shared state", f"{status.kind} at {status.place} answers")
    return failed(
        "shared state",
        f"{status.kind} at {status.place} {status.reason}; until then every process keeps its part of each limit",
        status.remedy,
    )


def _of_providers(views: list[Provider]) -> Iterator[Finding]:
    """What is to be said of providers and keys beside whether they answer."""
    for view in views:
        if view.drain is not None:
            yield _drained(f"provider {view.name}", view.drain, f"mainspring providers undrain {view.name}")
        for key in view.keys:
            subject = f"provider {view.name}, {key.label}"
            if key.state == "duplicate":
                yield failed(subject, key.problem or "", "Leave one of the two out.")
            if key.drain is not None:
                undrain = f"mainspring providers undrain {view.name} --key {key.label!r}"
                yield _drained(subject, key.drain, undrain)
            if key.old:
                remedy = "Make a new key at the provider and put it in this one's place."
                yield doubtful(subject, f"in use for {key.age_days} days", remedy)


def _drained(subject: str, drain: Drain, command: str) -> Finding:
    why = f": {drain.reason}" if drain.reason else ""
    return doubtful(subject, f"taken out of use by {drain.by}{why}", f"`{command}` takes it back.")


def _away(subject: str, where: str, error: MainspringError) -> Finding:
    return failed(subject, f"{where}: {error.message}", error.remedy)
