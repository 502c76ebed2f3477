"""A command's way to the rooms: the configuration read, the database opened, and closed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mainspring.base.settings import Settings
    from mainspring.web.runtime import Runtime

T = TypeVar("T")


def read_settings(config: Path | None) -> Settings:
    """The configuration, with logging set so that only warnings disturb a command's output.

    Raises:
        ConfigError: it cannot be used.
    """
    from mainspring.base import logging  # noqa: PLC0415 - structlog and pydantic are not for --help
    from mainspring.base.settings import load  # noqa: PLC0415 - as above

    settings = load(config)
    logging.configure("warning", settings.logging.format)
    return settings


def with_runtime(config: Path | None, work: Callable[[Runtime], Awaitable[T]]) -> T:
    """Open the instance that the configuration names, without serving, and do something with it.

    A server may be running on the same database at the same time.
    """
    import asyncio  # noqa: PLC0415 - with what follows, only when something is done

    from mainspring.web.runtime import Runtime  # noqa: PLC0415 - loads the database

    settings = read_settings(config)

    async def session() -> T:
        runtime = await Runtime.open(settings, serve=False)
        try:
            return await work(runtime)
        finally:
            await runtime.close()

    return asyncio.run(session())
