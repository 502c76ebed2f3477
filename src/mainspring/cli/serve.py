"""`mainspring serve`: run the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import Config  # noqa: TC001 - Typer reads it

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mainspring.base.settings import Settings


def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Server processes on the one port.")
    ] = None,
) -> None:
    """Run the server: the OpenAI and Anthropic surfaces, the management API and the console.

    SIGTERM and Ctrl-C let open answers finish; SIGHUP, or a change of the file, reads the configuration again.
    """
    from mainspring.base.settings import load  # noqa: PLC0415 - pydantic is not for --help
    from mainspring.cli.banner import Banner  # noqa: PLC0415 - with uvicorn, 0.2 s that only this command needs
    from mainspring.cli.process import bind, run_process  # noqa: PLC0415 - as above

    load(config)  # what is wrong in the file is told also where an option stands in for it
    if workers is not None:
        # As a setting, it is known wherever settings are read again: limits are shared by so many.
        os.environ["MAINSPRING_SERVER__WORKERS"] = str(workers)
    settings = prepare(config)
    count = settings.server.workers
    with bind(host or settings.server.host, settings.server.port if port is None else port) as listener:
        banner = Banner(settings, listener, count)
        if count == 1:
            run_process(settings, config, listener, on_ready=banner.show)
            return
        from mainspring.cli.supervisor import Supervisor, WorkerFailed  # noqa: PLC0415 - only for several workers

        try:
            Supervisor(settings, listener, config, banner.show).run()
        except WorkerFailed as failure:  # it has said why
            raise typer.Exit(failure.code if failure.code > 0 else 1) from None


def prepare(config: Path | None, started_with: Mapping[str, object] | None = None) -> Settings:
    """Read the configuration and set up logging and error tracking for a process that serves.

    Args:
        config: the file.
        started_with: what the other processes of this server read when they started, which is this one's too.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    from mainspring.base import logging  # noqa: PLC0415 - structlog and pydantic are not for --help
    from mainspring.base.settings import load, located  # noqa: PLC0415 - as above

    settings = load(config)
    if started_with is not None:
        settings = settings.started_with(started_with)
    logging.configure(settings.logging.level, settings.logging.format)
    if settings.telemetry.sentry_dsn:
        from mainspring import __version__  # noqa: PLC0415 - as below
        from mainspring.base.errors import ConfigError, SecretError  # noqa: PLC0415 - as below
        from mainspring.base.secrets import fetch  # noqa: PLC0415 - as below
        from mainspring.base.sentry import start_sentry  # noqa: PLC0415 - 0.2 s, only where it is switched on

        try:
            dsn = fetch(settings.telemetry.sentry_dsn).value
        except SecretError as error:  # a place to report errors to is not worth an outage
            logging.get_logger(__name__).warning("sentry_off", reason=error.message, remedy=error.remedy)
        else:
            try:
                start_sentry(dsn, release=__version__)
            except ConfigError as error:
                raise located(error, config) from None
    return settings
