"""`mainspring alerts`: what is wrong, and who was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.base.errors import InvalidRequest
from mainspring.cli.options import Config, Json, Limit, Tenant, seconds_of
from mainspring.cli.output import print_json, print_table, short_time
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.alerts import Alert, AlertPage, Delivery, Silence
    from mainspring.alerts.types import Silences
    from mainspring.web.runtime import Runtime

app = typer.Typer(
    help="List, acknowledge and silence alerts; test channels.", no_args_is_help=True, rich_markup_mode=None
)

AlertId = Annotated[
    str, typer.Argument(metavar="ID", help="The alert's id, as `mainspring alerts list` shows it.")
]
#: Who did something from a terminal.
_WHO = "command line"
_STATES = ("open", "resolved", "all")


@app.command("list")
def list_(
    *,
    state: Annotated[str, typer.Option("--state", help="open, resolved or all.")] = "open",
    rule: Annotated[str | None, typer.Option("--rule", help="Only of this rule.")] = None,
    tenant: Tenant = None,
    limit: Limit = 50,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this id: `next` of the page before.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List alerts, newest first; by default the open ones."""
    from mainspring.alerts import AlertFilter  # noqa: PLC0415 - with the rooms below, only when it runs
    from mainspring.web.management.alert_views import alert_view  # noqa: PLC0415 - as above

    if state not in _STATES:
        raise InvalidRequest(
            f"--state: there is no state {state!r}.",
            remedy=f"Known are {', '.join(_STATES)}.",
            param="--state",
        )
    where = AlertFilter(state=None if state == "all" else state, rule=rule, tenant=tenant)  # type: ignore[arg-type] # checked above

    async def ask(runtime: Runtime) -> tuple[AlertPage, Silences]:
        return await runtime.alerts.list(where, limit=limit, after=after), await runtime.alerts.silences()

    page, silences = with_runtime(config, ask)
    if json:
        print_json({"items": [alert_view(a, silences.of(a)) for a in page.items], "next": page.next})
        return
    if not page.items:
        typer.echo("No alerts." if state == "all" else f"No {state} alerts.")
        return
    print_table(
        ("ID", "STATE", "SEVERITY", "RULE", "SINCE", "SUMMARY"),
        [_line(alert, silences.of(alert)) for alert in page.items],
    )
    if page.next:
        typer.echo(f"There are more: --after {page.next}")


@app.command()
def show(alert_id: AlertId, *, config: Config = None, json: Json = False) -> None:
    """Show an alert and the messages about it."""
    from mainspring.web.management.alert_views import full_alert_view  # noqa: PLC0415 - as above

    async def ask(runtime: Runtime) -> tuple[Alert, Silences, list[Delivery]]:
        alerts = runtime.alerts
        alert = await alerts.get(alert_id)
        return alert, await alerts.silences(), (await alerts.deliveries(alert_id=alert_id)).items

    alert, silences, deliveries = with_runtime(config, ask)
    view = full_alert_view(alert, silences.of(alert), deliveries)
    if json:
        print_json(view)
        return
    typer.echo(f"{alert.summary}\n")
    acknowledged = (
        f"{view.acknowledged_by}, {short_time(alert.acknowledged_us)}" if view.acknowledged else "no"
    )
    facts = [
        ("id", alert.id),
        ("state", _state(alert, silences.of(alert))),
        ("rule", alert.rule),
        ("severity", alert.severity),
        ("tenant", alert.tenant),
        ("opened", short_time(alert.opened_us)),
        ("resolved", f"{short_time(alert.resolved_us)}, {alert.resolution}" if alert.resolved_us else None),
        ("acknowledged", acknowledged),
    ]
    print_table(("", ""), facts)
    if deliveries:
        typer.echo()
        print_table(
            ("CHANNEL", "STATE", "ATTEMPTS", "LAST", "ERROR"),
            [(d.channel, d.standing, d.attempts, short_time(d.attempted_us), d.error) for d in deliveries],
            right={"ATTEMPTS"},
        )


@app.command()
def ack(alert_id: AlertId, *, config: Config = None, json: Json = False) -> None:
    """Say that somebody knows: there are no reminders any more."""
    from mainspring.web.management.alert_views import alert_view  # noqa: PLC0415 - as above

    alert = with_runtime(config, lambda runtime: runtime.alerts.acknowledge(alert_id, who=_WHO))
    if json:
        print_json(alert_view(alert, None))
    else:
        typer.echo(f"Acknowledged: {alert.summary}")


@app.command(short_help="Send nothing about an alert for a while.")
def silence(
    alert_id: AlertId,
    *,
    duration: Annotated[str, typer.Option("--for", help="How long: 2h, 7d; 0s ends a silence.")] = "2h",
    whole_rule: Annotated[
        bool, typer.Option("--whole-rule", help="Silence everything that its rule finds.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Send nothing about what an alert is about for a while, also when it opens again."""
    from mainspring.web.management.alert_views import silence_view  # noqa: PLC0415 - as above

    seconds = seconds_of(duration, "--for")
    made: Silence = with_runtime(
        config,
        lambda runtime: runtime.alerts.silence(alert_id, seconds=seconds, who=_WHO, whole_rule=whole_rule),
    )
    if json:
        print_json(silence_view(made))
        return
    about = f"{made.rule} {made.subject}".strip()
    typer.echo(
        f"Silent until {short_time(made.until_us)}: {about}" if seconds else f"Not silent any more: {about}"
    )


@app.command("test")
def send_test(
    channel: Annotated[str, typer.Argument(help="The channel, as in [alerts.channels.NAME].")],
    *,
    config: Config = None,
    json: Json = False,
) -> None:
    """Send a test message through a channel now."""
    from mainspring.web.management.alert_views import message_view  # noqa: PLC0415 - as above

    delivery = with_runtime(config, lambda runtime: runtime.alerts.test(channel))
    if json:
        print_json(message_view(delivery))
    elif delivery.state == "sent":
        typer.echo(f"The channel {channel!r} took the message {delivery.id}.")
    else:
        typer.echo(f"The channel {channel!r} did not take it: {delivery.error}.")
    if delivery.state != "sent":
        raise typer.Exit(1)


def _line(alert: Alert, silence: Silence | None) -> tuple[Any, ...]:
    return (
        alert.id,
        _state(alert, silence),
        alert.severity,
        alert.rule,
        short_time(alert.opened_us),
        alert.summary,
    )


def _state(alert: Alert, silence: Silence | None) -> str:
    if alert.resolved_us is not None:
        return "resolved"
    if silence is not None:
        return "silenced"
    return "acknowledged" if alert.acknowledged_us is not None else "open"
