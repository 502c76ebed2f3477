"""`mainspring ledger`: the answers, one row each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from msgspec import to_builtins

from mainspring.base.errors import InvalidRequest, NotFound
from mainspring.base.money import format_usd
from mainspring.cli.options import Config, Json, Tenant, instant_of
from mainspring.cli.output import print_json, short_time
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.ledger import Inference, LedgerFilter
    from mainspring.web.management.views import FullAnswer
    from mainspring.web.runtime import Runtime

app = typer.Typer(
    help="Follow, look up and export answers: one row each, under the id that the client got as x-request-id.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

User = Annotated[str | None, typer.Option("--user", help="Only this user.")]
Feature = Annotated[str | None, typer.Option("--feature", help="Only this feature.")]
Model = Annotated[str | None, typer.Option("--model", help="Only answers of this model.")]
Status = Annotated[str | None, typer.Option("--status", help="Only ok, error or cut.")]
_FORMATS: tuple[Literal["parquet", "jsonl"], ...] = ("parquet", "jsonl")
_STATUSES: tuple[Literal["ok", "error", "cut"], ...] = ("ok", "error", "cut")


@app.command()
def tail(
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=1000, help="Show so many older ones first.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for new ones until Ctrl-C.")
    ] = True,
    tenant: Tenant = None,
    user: User = None,
    feature: Feature = None,
    model: Model = None,
    status: Status = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show the last answers, and new ones as they complete."""
    where = _where(tenant=tenant, user=user, feature=feature, model=model, status=status)

    async def work(runtime: Runtime) -> None:
        if lines:
            page = await runtime.ledger.page(where, limit=lines)
            for row in reversed(page.items):
                _print_row(row, json=json)
            if not page.items:
                typer.echo("No such answers yet.", err=True)
        if follow:
            async for row in runtime.ledger.tail(where):
                _print_row(row, json=json)

    with_runtime(config, work)


@app.command(short_help="Show one answer by its id.")
def show(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The x-request-id of the answer.")],
    *,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show what was asked and answered, too.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show one answer: who asked, which attempts were made, tokens, cost and feedback."""
    from mainspring.web.management.views import full_answer_view  # noqa: PLC0415 - with the rooms

    async def work(runtime: Runtime) -> FullAnswer:
        row = await runtime.ledger.get(request_id)
        if row is None:
            raise NotFound(
                f"There is no answer {request_id!r}.", remedy="`mainspring ledger tail` shows the last ones."
            )
        kept = await runtime.ledger.payload(request_id) if payload else None
        return full_answer_view(row, await runtime.ledger.feedback(request_id), kept)

    view = with_runtime(config, work)
    if json:
        print_json(view)
        return
    for name, value in to_builtins(view).items():
        if value not in (None, [], {}):
            _print_field(name, value)


def _print_routing(routing: dict[str, Any]) -> None:
    """The targets in the order in which they were to be asked, with what decided about each."""
    from mainspring.web.console.formatting import routing_note  # noqa: PLC0415 - with the rooms, only when it runs

    typer.echo(f"routing: {routing['strategy']}" + (f", {routing['rule']}" if "rule" in routing else ""))
    for number, line in enumerate(routing["candidates"], 1):
        note = routing_note(line)
        typer.echo(f"  {number}. {line['target']}" + (f": {note}" if note else ""))
    for line in routing.get("passed_over", ()):
        typer.echo(f"  -. {line['target']}: passed over, {line['note']}")


@app.command()
def export(
    path: Annotated[
        Path | None, typer.Argument(help="The file to write; by default ledger.parquet or ledger.jsonl here.")
    ] = None,
    *,
    since: Annotated[str, typer.Option("--since", help="From when: 7d, 12h, or a date.")] = "30d",
    until: Annotated[
        str | None, typer.Option("--until", help="To when: 1d (ago), or a date; by default now.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="parquet or jsonl; by default as the file is called, else parquet."),
    ] = None,
    tenant: Tenant = None,
    config: Config = None,
) -> None:
    """Write answers to a Parquet or JSON Lines file."""
    from mainspring.ledger.export import export as write  # noqa: PLC0415 - with the rooms, only when it runs

    called = path.suffix.removeprefix(".") if path is not None else ""
    wanted = form or (called if called in _FORMATS else "parquet")
    kind = next((known for known in _FORMATS if known == wanted), None)
    if kind is None:
        raise InvalidRequest(
            f"--format: there is no format {form!r}.", remedy="Use parquet or jsonl.", param="--format"
        )
    target = path or Path(f"ledger.{kind}")
    where = _where(tenant=tenant, since=since, until=until)
    try:
        rows = with_runtime(
            config, lambda runtime: write(runtime.ledger, where, target, format=kind, progress=_progress)
        )
    except OSError as error:
        raise InvalidRequest(
            f"{target} cannot be written: {error.strerror}.", remedy="Name another file.", param="path"
        ) from None
    if sys.stderr.isatty():
        sys.stderr.write("\r")
    typer.echo(f"{rows} answers written to {target}.")


def _where(
    *,
    tenant: str | None = None,
    user: str | None = None,
    feature: str | None = None,
    model: str | None = None,
    status: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> LedgerFilter:
    from mainspring.ledger.types import LedgerFilter  # noqa: PLC0415 - with the rooms, only when it runs

    if status is not None and status not in _STATUSES:
        raise InvalidRequest(
            f"--status: there is no {status!r}.", remedy="Use ok, error or cut.", param="--status"
        )
    return LedgerFilter(
        tenant=tenant,
        user=user,
        feature=feature,
        model=model,
        status=next((known for known in _STATUSES if known == status), None),
        since_us=None if since is None else instant_of(since, "--since"),
        until_us=None if until is None else instant_of(until, "--until"),
    )


def _print_row(row: Inference, *, json: bool) -> None:
    """One line for an answer, written at once so that a pipe sees it too."""
    if json:
        from mainspring.web.management.views import answer_view  # noqa: PLC0415 - with the rooms

        print_json(answer_view(row), indent=0)
    else:
        outcome = f"{row.status}{' cut' if row.cut else ''}{f' {row.error}' if row.error else ''}"
        cost = f"${format_usd(row.cost_nusd)}" if row.cost_nusd is not None else "$?"
        tokens = f"{row.input_tokens + row.cache_read_tokens + row.cache_write_tokens} in {row.output_tokens + row.reasoning_tokens} out"
        model = f"{row.provider}/{row.model}" if row.provider else row.requested_model
        who = f"{row.tenant}/{row.user}" if row.user else row.tenant
        took = f"{(row.done_us - row.received_us) / 1000:.0f} ms"
        typer.echo(
            f"{short_time(row.received_us)}  {row.id}  {outcome}  {model}  {who}  {tokens}  {cost}  {took}"
        )
    sys.stdout.flush()


def _print_field(name: str, value: Any) -> None:
    if isinstance(value, list):
        typer.echo(f"{name}:")
        for item in value:
            typer.echo(
                "  " + ", ".join(f"{key} {_figure(part)}" for key, part in item.items() if part is not None)
            )
    elif isinstance(value, dict):
        parts = dict(value)
        if name == "extra" and (routing := parts.pop("routing", None)):
            _print_routing(routing)
        if parts:
            typer.echo(f"{name}:")
        for key, part in parts.items():
            typer.echo(f"  {key}: {part}")
    else:
        typer.echo(f"{name}: {_figure(value)}")


def _figure(value: Any) -> Any:
    """A value as people write it: no exponents, `yes` and `no`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _progress(rows: int) -> None:
    """A line that counts on a terminal; nothing in a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{rows} answers")
        sys.stderr.flush()
