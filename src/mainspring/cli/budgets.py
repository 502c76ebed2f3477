"""`mainspring budgets`: caps on money and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.base.errors import InvalidRequest
from mainspring.cli.options import Config, Json, Limit, Tenant  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json, print_table
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.budgets import Standing
    from mainspring.web.runtime import Runtime

app = typer.Typer(
    help="Make, list, show, change and delete budgets.", no_args_is_help=True, rich_markup_mode=None
)

BudgetId = Annotated[
    str, typer.Argument(metavar="ID", help="The budget's id, as `mainspring budgets list` shows it.")
]
Usd = Annotated[str | None, typer.Option("--usd", help="Dollars in each window; 0 lets nothing through.")]
Tokens = Annotated[int | None, typer.Option("--tokens", help="Tokens in each window, of all kinds together.")]
Name = Annotated[str | None, typer.Option("--name", help="What people call it.")]
Policy = Annotated[
    str | None,
    typer.Option("--policy", help="At the cap: refuse, step_down or queue. By default refuse."),
]
StepDown = Annotated[
    str | None, typer.Option("--step-down", help="The route to go to at the cap, with --policy step_down.")
]
Queue = Annotated[
    float | None, typer.Option("--queue-seconds", help="How long to wait for room, with --policy queue.")
]
Thresholds = Annotated[
    str | None, typer.Option("--thresholds", help="Per cent at which a crossing is noted: '50,80,100'.")
]


@app.command()
def create(
    scope: Annotated[
        str,
        typer.Argument(
            metavar="SCOPE",
            help="What it is about: tenant=acme, key=ID, user=ann, feature=chat, model=openai/gpt-5-mini.",
        ),
    ],
    *,
    usd: Usd = None,
    tokens: Tokens = None,
    window: Annotated[str, typer.Option("--window", help="day, month, rolling or total.")] = "total",
    period: Annotated[
        str | None, typer.Option("--period", help="Length of a rolling window: 7d, 12h.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Only this tenant's users, features or models.")
    ] = None,
    name: Name = None,
    policy: Policy = None,
    step_down: StepDown = None,
    queue_seconds: Queue = None,
    thresholds: Thresholds = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a budget. Returns when it is in force in every server process."""
    from mainspring.budgets import NewBudget  # noqa: PLC0415 - with the rooms below, only when it runs

    kind, equals, subject = scope.partition("=")
    if not equals:
        raise InvalidRequest(
            f"{scope!r} is no scope.", remedy="Write tenant=acme, user=ann or model=openai/gpt-5-mini."
        )
    wanted = NewBudget(
        scope={kind: subject},
        usd=usd,
        tokens=tokens,
        window=window,
        period=period,
        tenant=tenant,
        name=name,
        policy=policy or "refuse",
        step_down=step_down,
        queue_seconds=queue_seconds,
        thresholds=_numbers(thresholds),
    )

    async def work(runtime: Runtime) -> Standing:
        made = await runtime.budgets.create(wanted, routes=_routes(runtime))
        return await runtime.budgets.get(made.id)

    _show(with_runtime(config, work), json=json)


@app.command("list")
def list_(
    *,
    tenant: Tenant = None,
    limit: Limit = 50,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this id: `next` of the page before.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List budgets, newest first, with what is spent of each."""
    from mainspring.web.management.budget_views import budget_view  # noqa: PLC0415 - as above

    page = with_runtime(config, lambda runtime: runtime.budgets.list(tenant=tenant, limit=limit, after=after))
    if json:
        print_json({"items": [budget_view(item) for item in page.items], "next": page.next})
        return
    if not page.items:
        typer.echo("No budgets. Make one: mainspring budgets create tenant=default --usd 5 --window day")
        return
    print_table(("ID", "NAME", "ABOUT", "SPENT", "OF", "WINDOW", "AT THE CAP"), list(map(_line, page.items)))
    if page.next:
        typer.echo(f"There are more: --after {page.next}")


@app.command()
def show(budget_id: BudgetId, *, config: Config = None, json: Json = False) -> None:
    """Show a budget and how it stands."""
    _show(with_runtime(config, lambda runtime: runtime.budgets.get(budget_id)), json=json)


@app.command(short_help="Change caps, policy, thresholds or name.")
def change(
    budget_id: BudgetId,
    *,
    usd: Usd = None,
    tokens: Tokens = None,
    name: Name = None,
    policy: Policy = None,
    step_down: StepDown = None,
    queue_seconds: Queue = None,
    thresholds: Thresholds = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Change caps, policy, thresholds or name; in force in every server process within half a second."""
    given = {
        "usd": usd,
        "tokens": tokens,
        "name": name,
        "policy": policy,
        "step_down": step_down,
        "queue_seconds": queue_seconds,
        "thresholds": _numbers(thresholds),
    }
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise InvalidRequest("Nothing is to be changed.", remedy="Give --usd, --tokens or another option.")
    _show(
        with_runtime(
            config, lambda runtime: runtime.budgets.change(budget_id, changes, routes=_routes(runtime))
        ),
        json=json,
    )


@app.command()
def delete(budget_id: BudgetId, *, config: Config = None, json: Json = False) -> None:
    """Delete a budget: it counts and refuses no more."""
    from mainspring.web.management.budget_views import budget_view  # noqa: PLC0415 - as above

    async def work(runtime: Runtime) -> Standing:
        standing = await runtime.budgets.get(budget_id)
        await runtime.budgets.delete(budget_id)
        return standing

    standing = with_runtime(config, work)
    if json:
        print_json(budget_view(standing))
    else:
        typer.echo(f"The budget {standing.budget.name!r} is deleted.")


def _routes(runtime: Runtime) -> list[str]:
    return sorted({"default", *runtime.settings.routes})


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InvalidRequest(
            f"--thresholds: {text!r} are no numbers.", remedy="Write '50,80,100'.", param="--thresholds"
        ) from None


def _show(standing: Standing, *, json: bool) -> None:
    from mainspring.base.money import dollars  # noqa: PLC0415 - as above
    from mainspring.budgets.refusals import frees, window  # noqa: PLC0415 - as above
    from mainspring.web.management.budget_views import budget_view, scope_text  # noqa: PLC0415 - as above

    if json:
        print_json(budget_view(standing))
        return
    budget = standing.budget
    typer.echo(f"{budget.name} ({budget.id})\n")
    typer.echo(f"About       {scope_text(budget)}, {window(budget)}")
    if budget.nusd is not None:
        typer.echo(
            f"Dollars     {dollars(standing.nusd)} of {dollars(budget.nusd)} spent,"
            f" {dollars(standing.held_nusd)} held by server processes"
        )
    if budget.tokens is not None:
        typer.echo(
            f"Tokens      {standing.tokens:,} of {budget.tokens:,} used, {standing.held_tokens:,} held by server processes"
        )
    policy = {
        "refuse": "requests are refused",
        "step_down": f"requests go to the route {budget.step_down}",
        "queue": f"requests wait up to {budget.queue_seconds:g} s for room",
    }[budget.policy]
    typer.echo(f"At the cap  {policy}. {frees(budget, standing.ends_us)}")
    if standing.crossed:
        typer.echo(f"Crossed     {', '.join(f'{one}%' for one in standing.crossed)}")


def _line(standing: Standing) -> tuple[Any, ...]:
    from mainspring.base.money import dollars  # noqa: PLC0415 - as above
    from mainspring.budgets.refusals import window  # noqa: PLC0415 - as above
    from mainspring.web.management.budget_views import scope_text  # noqa: PLC0415 - as above

    budget = standing.budget
    spent, caps = [], []
    if budget.nusd is not None:
        spent.append(dollars(standing.nusd))
        caps.append(dollars(budget.nusd))
    if budget.tokens is not None:
        spent.append(f"{standing.tokens:,} tokens")
        caps.append(f"{budget.tokens:,} tokens")
    at_cap = f"go to {budget.step_down}" if budget.policy == "step_down" else budget.policy
    return (
        budget.id,
        budget.name,
        scope_text(budget),
        ", ".join(spent),
        ", ".join(caps),
        window(budget),
        at_cap,
    )
