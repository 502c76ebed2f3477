"""`mainspring usage`: what was asked, how fast it went and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest
from mainspring.base.money import dollars
from mainspring.cli.options import Config, Json, Tenant, instant_of
from mainspring.cli.output import print_json, print_table
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.ledger import UsageRow
    from mainspring.web.runtime import Runtime

By = Literal["model", "provider", "route", "tenant", "feature", "user", "key"]
_GROUPS: tuple[By, ...] = ("model", "provider", "route", "tenant", "feature", "user", "key")


def usage(
    *,
    by: Annotated[
        str, typer.Option("--by", help=f"Groups, with commas for one table each: {', '.join(_GROUPS)}.")
    ] = "model",
    since: Annotated[str, typer.Option("--since", help="From when: 7d, 12h, or a date.")] = "7d",
    until: Annotated[
        str | None, typer.Option("--until", help="To when: 1d (ago), or a date; by default now.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Rows of each table, the busiest first; 0 shows all.")
    ] = 20,
    tenant: Tenant = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show requests, errors, tokens, cost and latency by model, tenant, feature, user and more."""
    groups = [_group(name.strip()) for name in by.split(",")]
    since_us = instant_of(since, "--since")
    until_us = now_us() if until is None else instant_of(until, "--until")

    async def ask(runtime: Runtime) -> dict[str, list[UsageRow]]:
        return {
            group: await runtime.ledger.usage(
                by=group, since_us=since_us, until_us=until_us, tenant=tenant, first_tokens=json
            )
            for group in groups
        }

    found = with_runtime(config, ask)
    if json:
        from mainspring.web.management.views import usage_view  # noqa: PLC0415 - with the rooms, only when it runs

        views = {
            group: {"items": [usage_view(row) for row in rows], "next": None} for group, rows in found.items()
        }
        print_json(views if len(groups) > 1 else views[groups[0]])
        return
    for number, (group, rows) in enumerate(found.items()):
        if number:
            typer.echo()
        _print(group, rows, limit)


def _group(name: str) -> By:
    for known in _GROUPS:
        if known == name:
            return known
    raise InvalidRequest(
        f"--by: there is no group {name!r}.", remedy=f"Known are {', '.join(_GROUPS)}.", param="--by"
    )


def _print(group: str, rows: list[UsageRow], limit: int) -> None:
    if not rows:
        typer.echo(f"No answers by {group} in this time.")
        return
    headers = (group.upper(), "REQUESTS", "ERRORS", "INPUT", "OUTPUT", "COST", "P50 MS", "P95 MS")
    print_table(headers, [_line(row) for row in rows[: limit or None]], right=headers[1:])
    if limit and len(rows) > limit:
        typer.echo(f"And {len(rows) - limit} more: --limit 0 shows all.")
    if any(row.unpriced for row in rows[: limit or None]):
        typer.echo(
            '? there is no price for some of these answers: [models."PROVIDER/MODEL"] in the file gives one.'
        )


def _line(row: UsageRow) -> tuple[Any, ...]:
    unpriced = "+?" if row.unpriced and row.cost_nusd else ""
    return (
        row.group or "-",
        row.requests,
        row.errors,
        row.input_tokens + row.cache_read_tokens + row.cache_write_tokens,
        row.output_tokens + row.reasoning_tokens,
        "?" if row.unpriced and not row.cost_nusd else dollars(row.cost_nusd) + unpriced,
        None if row.p50_ms is None else round(row.p50_ms),
        None if row.p95_ms is None else round(row.p95_ms),
    )
