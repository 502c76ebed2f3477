"""`mainspring keys`: who may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.base.clock import now_us
from mainspring.base.errors import InvalidRequest
from mainspring.cli.options import Config, Json, Limit, Tenant, seconds_of
from mainspring.cli.output import print_json, print_table, short_time
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.keys import Key

app = typer.Typer(help="Create, list, revoke and rotate keys.", no_args_is_help=True, rich_markup_mode=None)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `mainspring keys list` shows it.")]


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "key",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose data it sees.")] = "default",
    role: Annotated[
        str, typer.Option("--role", help="member, or admin: sees all tenants and manages keys.")
    ] = "member",
    models: Annotated[
        str | None,
        typer.Option("--models", help="Routes and models it may use, with commas: 'default,local/small'."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="How long it works: 90d, 12h. By default for ever.")
    ] = None,
    rps: Annotated[
        float | None, typer.Option("--rps", help="Requests a second, in place of limits.rps_per_key.")
    ] = None,
    tpm: Annotated[
        int | None,
        typer.Option("--tpm", help="Tokens a minute, in place of limits.tokens_per_minute_per_key."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", help="Requests at once, in place of limits.concurrency_per_key."),
    ] = None,
    budget_usd: Annotated[
        str | None, typer.Option("--budget-usd", help="Dollars per window, such as 5/day: makes a budget.")
    ] = None,
    payloads: Annotated[
        bool | None,
        typer.Option(
            "--payloads/--no-payloads", help="Keep what is asked and answered; by default as configured."
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key and show its secret, this once."""
    limits = {"rps": rps, "tokens_per_minute": tpm, "concurrency": concurrency}
    settings: dict[str, object] = {name: limit for name, limit in limits.items() if limit is not None}
    if budget_usd is not None:
        settings["budget"] = _budget(budget_usd)
    expires_us = None if expires is None else now_us() + int(seconds_of(expires, "--expires") * 1_000_000)
    key, secret = with_runtime(
        config,
        lambda runtime: runtime.keys.create(
            name=name,
            tenant=tenant,
            role=role,
            models=None
            if models is None
            else [model.strip() for model in models.split(",") if model.strip()],
            payloads=payloads,
            expires_us=expires_us,
            settings=settings or None,
        ),
    )
    _show_secret(key, secret, json=json)


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
    """List keys, newest first; revoked and expired ones too."""
    from mainspring.web.management.views import key_view  # noqa: PLC0415 - with the rooms below, only when it runs

    page = with_runtime(config, lambda runtime: runtime.keys.list(tenant=tenant, limit=limit, after=after))
    if json:
        print_json({"items": [key_view(key) for key in page.items], "next": page.next})
        return
    if not page.items:
        typer.echo(
            "No keys. `mainspring keys create` makes one; `mainspring serve` makes the first admin key."
        )
        return
    headers = ("ID", "NAME", "TENANT", "ROLE", "KEY", "STATE", "EXPIRES", "LAST USED")
    print_table(headers, [_line(key) for key in page.items])
    if page.next:
        typer.echo(f"There are more: --after {page.next}")


@app.command()
def revoke(key_id: KeyId, *, config: Config = None, json: Json = False) -> None:
    """Stop a key for good, in every server process within a second."""
    from mainspring.web.management.views import key_view  # noqa: PLC0415 - as above

    key = with_runtime(config, lambda runtime: runtime.keys.revoke(key_id))
    if json:
        print_json(key_view(key))
    else:
        typer.echo(f"The key {key.name!r} (...{key.last4}) of {key.tenant} is revoked.")


@app.command(short_help="Make a key that takes the place of another.")
def rotate(
    key_id: KeyId,
    *,
    overlap: Annotated[
        str, typer.Option("--overlap", help="How long the old key still works: 24h, 0s.")
    ] = "24h",
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key that takes the place of another, and show its secret, this once."""
    seconds = seconds_of(overlap, "--overlap")
    key, secret = with_runtime(config, lambda runtime: runtime.keys.rotate(key_id, overlap_seconds=seconds))
    _show_secret(key, secret, json=json)
    if not json:
        typer.echo(f"The old key works for {overlap} more.")


def _show_secret(key: Key, secret: str, *, json: bool) -> None:
    if json:
        from mainspring.web.management.views import new_key_view  # noqa: PLC0415 - as above

        print_json(new_key_view(key, secret))
        return
    typer.echo(
        f"{secret}\n\nThis is shown once. It is the key {key.name!r} of {key.tenant} ({key.role}), id {key.id}."
    )


def _line(key: Key) -> tuple[Any, ...]:
    now = now_us()
    expired = key.expires_us is not None and key.expires_us <= now
    state = (
        "revoked" if key.revoked_us else "expired" if expired else "rotated" if key.replaced_by else "active"
    )
    return (
        key.id,
        key.name,
        key.tenant,
        key.role,
        f"...{key.last4}",
        state,
        short_time(key.expires_us) or "never",
        short_time(key.last_used_us) or "never",
    )


def _budget(text: str) -> dict[str, object]:
    amount, _, window = text.partition("/")
    try:
        return {"usd": float(amount), "window": window or "total"}
    except ValueError:
        raise InvalidRequest(
            f"--budget-usd: {text!r} is not a budget.",
            remedy="Write 5/day, 100/month or 20/total.",
            param="--budget-usd",
        ) from None
