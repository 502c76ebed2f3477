"""One life for everything that follows the database: outages and bugs pass, and the log is told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from mainspring.base.errors import StoreUnavailable
from mainspring.store import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_it_goes_on_whatever_a_look_raises() -> None:
    away = StoreUnavailable("The database is away.")
    outcomes: Iterator[Exception | None] = iter([None, away, away, RuntimeError("a bug"), away, None, away])
    seen: list[bool] = []
    done = asyncio.Event()

    async def look() -> None:
        await asyncio.sleep(0)
        seen.append(follower.away)
        outcome = next(outcomes, None)
        if len(seen) == 9:
            done.set()
        if outcome is not None:
            raise outcome

    follower = Follower("keys", look, lambda: 0)
    with capture_logs() as log:
        follower.start()
        await done.wait()
        await follower.close()
    assert seen == [False, False, True, True, True, True, False, True, False]
    assert [event["log_level"] for event in log] == ["warning", "error", "info", "warning", "info"]
    assert "stays in force" in log[0]["event"]


async def test_the_first_look_is_at_once_where_it_is_to_be() -> None:
    looked = asyncio.Event()

    async def look() -> None:
        await asyncio.sleep(0)
        looked.set()

    follower = Follower("alerts", look, lambda: 3600)
    follower.start(at_once=True)
    await asyncio.wait_for(looked.wait(), 10)
    await follower.close()
    await follower.close()
