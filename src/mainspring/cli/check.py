"""`mainspring check`: what works, what does not, and what to do about it."""

from __future__ import annotations

import typer

from mainspring.cli.options import Config, Json  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json


def check(*, config: Config = None, json: Json = False) -> None:
    """Check the configuration and what it names: stores, providers with their keys, routes, limits, budgets, alerts.

    Exit code 1 if something fails. `warns` works, but should be looked at; `absent` need not be there.
    """
    from mainspring.base import logging  # noqa: PLC0415 - structlog is not for --help
    from mainspring.cli.checking import examine  # noqa: PLC0415 - every room, only when they are looked at

    logging.configure("error")  # what would be logged is told below
    findings = examine(config)
    if json:
        print_json({"items": findings, "next": None})
    else:
        for finding in findings:
            typer.echo(f"{finding.mark:<7} {finding.subject}: {finding.detail}")
            if finding.remedy:
                typer.echo(f"        {finding.remedy}")
    if any(finding.works is False for finding in findings):
        raise typer.Exit(1)
