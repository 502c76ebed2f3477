"""Everything one process needs, opened in order and closed in the reverse order."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.alerts import Alerts, Sources, states
from mainspring.base.errors import ConfigError, StoreError
from mainspring.base.logging import configure, get_logger
from mainspring.base.secrets import Secrets
from mainspring.base.settings import load, located
from mainspring.base.telemetry import Meter
from mainspring.budgets import Budgets
from mainspring.gateway import Gateway
from mainspring.keys import ADMIN_KEY_FILE, KeyRing
from mainspring.ledger import Ledger
from mainspring.limits import Limits
from mainspring.providers import Ages, Drains, Providers, measure_keys, references
from mainspring.routing import Health, measure_targets
from mainspring.store import BlobStore, Database, Shared, open_blobs, open_database, open_shared
from mainspring.web.doubts import doubts
from mainspring.web.following import keep
from mainspring.web.rehearsal import read_at_start_only, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mainspring.base.settings import Settings
    from mainspring.providers.pool import KeyPool

#: How long a process that ends waits until it has told the others so.
_LAST_WORDS_SECONDS = 3.0

_log = get_logger(__name__)


class Runtime:
    """The rooms of one process, wired together. Made by `open`; the attributes are read by handlers and commands.

    `providers` and `gateway` are there only where the process serves. A reload replaces both, and `settings` with
    them; exchanges under way finish on the ones that they began with.
    """

    providers: Providers
    gateway: Gateway
    limits: Limits

    def __init__(self, settings: Settings, database: Database, blobs: BlobStore, file: Path | None) -> None:
        self.settings = settings
        self.file = file
        #: Where a copy of the last good configuration is kept, if somebody wants one.
        self.kept: Path | None = None
        self.config_hash, self._document = settings.snapshot()
        self.database = database
        self.blobs = blobs
        self.ledger = Ledger(
            database, blobs, durability=settings.ledger.durability, inline_kb=settings.ledger.inline_kb
        )
        self.keys = KeyRing(database)
        self.budgets = Budgets(database, self.keys)
        #: What references stand for, as it is now.
        self.secrets = Secrets(settings.secrets.reread_seconds)
        self.drains = Drains(database)
        self.ages = Ages(database, settings.secrets.old_days)
        self.meter = Meter()
        self.alerts = Alerts(database, self.meter, settings.alerts, self.secrets)
        #: How the targets are: it outlives reloads.
        self.health = Health()
        #: Readiness is false while this is set.
        self.draining = False
        self._shared: Shared | None = None
        self._reloading = asyncio.Lock()
        self._started_with = settings
        #: Whether the file holds something that was refused.
        self._refused = False
        self._serves = False
        self._tasks: set[asyncio.Task[None]] = set()
        #: What reloads have replaced and exchanges under way still use.
        self._replaced: list[tuple[Gateway, Providers]] = []

    @classmethod
    async def open(cls, settings: Settings, *, serve: bool = True, file: Path | None = None) -> Runtime:
        """Open everything.

        Args:
            settings: the configuration.
            serve: whether this process answers requests; a command needs only database, ledger and keys.
            file: where the settings were read, for `reload`.

        Raises:
            ConfigError: something in the settings cannot be.
            StoreError: the database cannot be opened.
        """
        if serve:
            rehearse(settings, file)
        database = await open_database(
            settings.storage.database,
            sync=settings.storage.sync,
            queue_rows=settings.ledger.queue_rows,
            wait_seconds=settings.ledger.wait_seconds,
        )
        runtime = cls(settings, database, open_blobs(settings.storage.blobs), file)
        try:
            if serve:
                await runtime._start()
        except BaseException:  # whatever stopped the start, the database must not stay open
            await runtime.close()
            raise
        return runtime

    async def reload(self) -> bool:
        """Read the configuration again and put it in force. A broken one changes nothing and is logged.

        Returns:
            Whether a new configuration is in force.
        """
        async with self._reloading:
            return await self._reload()

    async def _reload(self) -> bool:
        try:
            settings = load(self.file)
            if settings == self.settings:  # not by the hash, which leaves out secrets that stand in the file
                await self.secrets.reread()
                if self._refused:
                    self._refused = False
                    _log.info("configuration_good_again", config_hash=self.config_hash)
                return False
            rehearse(settings, self.file)
            config_hash, document = settings.snapshot()
            await self._put_in_force(settings, config_hash, document)
        except (ConfigError, StoreError) as error:
            _log.error("configuration_kept", reason=str(error), config_hash=self.config_hash)
            self._refused = True
            return False
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the following of the file
            _log.exception("configuration_kept", reason=type(error).__name__, config_hash=self.config_hash)
            self._refused = True
            return False
        self._refused = False
        configure(settings.logging.level, settings.logging.format)
        _log.info("configuration_reloaded", config_hash=config_hash)
        self._tell(settings)
        if self.kept is not None:
            keep(self.file, self.kept, settings)
        return True

    def _tell(self, settings: Settings) -> None:
        """Say what is in force but doubtful, and what is not in force yet."""
        for doubt in doubts(settings):
            _log.warning(
                "configuration_doubtful", place=doubt.place, reason=doubt.detail, remedy=doubt.remedy
            )
        waiting = read_at_start_only(self._started_with, settings)
        if waiting:
            _log.warning(
                "configuration_needs_restart",
                settings=waiting,
                remedy="Restart the server to put them in force.",
            )

    async def close(self) -> None:
        """Close everything; the ledger's queue is written to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._serves:
            self._replaced.append((self.gateway, self.providers))
        for gateway, providers in self._replaced:
            await gateway.close()
            await providers.close()
        if self._shared is not None:
            await self._shared.close()
        # Several have a last word for the database. Nothing is lost with it: leases of a process that is gone end by
        # themselves. So one that is away is not waited for as it is for rows.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await asyncio.gather(
                    self.alerts.close(),
                    self.secrets.close(),
                    self.drains.close(),
                    self.keys.close(),
                    self.budgets.close(),
                )
        await self.database.close(self._started_with.ledger.wait_seconds)
        self.meter.close()

    async def _start(self) -> None:
        settings = self.settings
        self._shared = open_shared(
            settings.storage.shared,
            workers=settings.server.workers,
            timeout_seconds=settings.storage.shared_timeout_ms / 1000,
        )
        self.limits = Limits(self._shared, settings.limits, self.meter)
        await self._shared.start()
        await self.drains.start()
        await self._put_in_force(settings, self.config_hash, self._document)
        await self.budgets.start()
        await self.keys.bootstrap(settings.admin_key, ADMIN_KEY_FILE)
        await self.keys.start()
        self.drains.on_change = lambda: self.providers.apply(self.drains)
        self.secrets.start()
        self._tell(settings)
        self._spawn(lambda: self.ages.follow(self._pools))
        self.alerts.start()
        self.meter.gauge("ledger_queue_rows", "Rows waiting for the writer.", lambda: self.database.depth)
        measure_keys(self.meter, self._pools)
        measure_targets(self.health, self.meter)
        self.budgets.measure(self.meter)
        self.meter.gauge("open_exchanges", "Requests under way.", lambda: len(self.gateway.watch))
        self.meter.gauge(
            "configuration_refused",
            "1 while the file holds a configuration that was refused, and an older one is in force.",
            lambda: float(self._refused),
        )
        self.meter.gauge(
            "limits_shared",
            "1 while limits are decided on what all processes share, 0 while each has its part.",
            lambda: float(self.limits.status().shared.working),
        )

    def _pools(self) -> list[KeyPool]:
        return self.providers.pools()

    def _sources(self) -> Sources:
        """What rules of alerts read."""
        return Sources(
            self.ledger,
            {
                "budget": lambda: states.budgets(self.budgets),
                "database_queue": lambda: states.database_queue(self.database),
                "provider_health": lambda: states.provider_health(self.health),
                "secret_age": lambda: states.secret_age(self.ages, self._pools()),
            },
        )

    async def _put_in_force(self, settings: Settings, config_hash: str, document: bytes) -> None:
        """Build what the settings describe and, only when all of it is there, use it."""
        await self.secrets.load(references(settings))
        providers = Providers(settings, self.secrets)
        try:
            gateway = Gateway(
                settings,
                config_hash,
                self.keys,
                providers,
                self.ledger,
                self.meter,
                self.limits,
                health=self.health,
                budgets=self.budgets,
            )
        except ConfigError as error:
            raise located(error, self.file) from None
        await self.ledger.record_config(config_hash, document)
        await providers.start()
        gateway.start()
        before = (self.gateway, self.providers) if self._serves else None
        if before is not None:
            providers.adopt(before[1])
            gateway.adopt(before[0])
        providers.apply(self.drains)
        self.secrets.reread_seconds, self.ages.old_days = (
            settings.secrets.reread_seconds,
            settings.secrets.old_days,
        )
        self.settings, self.config_hash = settings, config_hash
        self.providers, self.gateway, self._serves = providers, gateway, True
        self.limits.configure(settings.limits)
        self.alerts.configure(settings.alerts, self._sources(), old_days=settings.secrets.old_days)
        self._spawn(providers.warm)
        if before is not None:
            self._replaced.append(before)
            self._spawn(lambda: self._retire(before))

    async def _retire(self, replaced: tuple[Gateway, Providers]) -> None:
        """Close what a reload replaced, once the exchanges that use it are done."""
        gateway, providers = replaced
        while len(gateway.watch):  # noqa: ASYNC110 - the set of open exchanges has no event, and nobody waits for this
            await asyncio.sleep(1)
        self._replaced.remove(replaced)
        await gateway.close()
        await providers.close()

    def _spawn(self, work: Callable[[], object]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work())  # type: ignore[arg-type] # both callers return coroutines without a result
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
