"""Following what other processes change: a look at the database every half second, for as long as the process serves.

It does not know what is looked at. Most looks read one number, a version that every change counts up, and find it as
it was. A database that is away is told of once, and what was known last stays in force until it is back.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from mainspring.base.errors import StoreError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: How often changes are looked for.
LOOK_SECONDS = 0.5
#: Processes that started together do not look together for ever.
_JITTER = 0.1

_log = get_logger(__name__)


class Follower:
    """One look after the other, until `close`. Nothing that a look raises ends it.

    Args:
        what: follows, as the log and the task name it.
        look: takes over what has changed; raises `StoreError` while the database is away.
        seconds: how long to wait before the next look.

    Attributes:
        away: whether the last look found the database away. Whoever finds out sooner may set it.
    """

    def __init__(
        self,
        what: str,
        look: Callable[[], Awaitable[None]],
        seconds: Callable[[], float] = lambda: LOOK_SECONDS,
    ) -> None:
        self.away = False
        self._what = what
        self._look = look
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self, *, at_once: bool = False) -> None:
        """Begin. The first look is one interval from now, unless it is to be at once."""
        self._task = asyncio.create_task(self._run(at_once=at_once), name=self._what)

    async def close(self) -> None:
        """Look no more. A look under way is broken off."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self, *, at_once: bool) -> None:
        while True:
            if not at_once:
                await asyncio.sleep(self._seconds() * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret
            at_once = False
            try:
                await self._look()
            except StoreError as error:
                if not self.away:
                    _log.warning(
                        f"{self._what}: the database cannot be followed; what was known last stays in force",
                        why=str(error),
                    )
                self.away = True
            except Exception as error:  # noqa: BLE001 - a bug of ours in one look must not be the last look
                _log.exception("unexpected_error", what=self._what, error=type(error).__name__)
            else:
                if self.away:
                    _log.info(f"{self._what}: the database is followed again")
                self.away = False
