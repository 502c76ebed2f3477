"""`mainspring check`: what works, what does not, and what to do about it."""

from __future__ import annotations

import typer

from mainspring.cli.options import Config, Json  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json
from mainspring.cli.session import read_settings


def check(*, config: Config = None, json: Json = False) -> None:
    """Check the configuration, the stores, the providers and the models in the box; exit code 1 if something fails."""
    from mainspring.cli.examination import examine  # noqa: PLC0415 - every room, only when they are looked at

    findings = examine(config, read_settings(config))
    if json:
        print_json({"items": findings, "next": None})
    else:
        for finding in findings:
            mark = {True: "ok     ", False: "FAILS  ", None: "absent "}[finding.works]
            if finding.warns:
                mark = "warns  "
            typer.echo(f"{mark} {finding.subject}: {finding.detail}")
            if finding.remedy:
                typer.echo(f"        {finding.remedy}")
    if any(finding.works is False for finding in findings):
        raise typer.Exit(1)
