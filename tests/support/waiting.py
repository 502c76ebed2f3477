"""Waiting for what comes about some time: at once on a quiet machine, after a while on one that is busy.

A test says what it waits for, and not how long that takes. The bound is there to end a test whose subject is broken;
what must be quick is shown by the drills, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that suffice for whatever happens at all.
PATIENCE = 30.0


def until(
    condition: Callable[[], Any], seconds: float = PATIENCE, *, told: Callable[[], object] = str
) -> Any:
    """Wait until something is true, in a thread; returns it.

    Args:
        condition: asked again and again.
        seconds: when to give up.
        told: what the error says.

    Raises:
        AssertionError: it is not in time.
    """
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"it did not come about in {seconds:g} s {told()}"
        time.sleep(0.02)
    return found


async def happens(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until something is true, on the loop; returns it. A coroutine is awaited.

    Raises:
        AssertionError: it is not in time.
    """
    limit = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < limit, f"it did not come about in {seconds:g} s"
        await asyncio.sleep(0.005)
