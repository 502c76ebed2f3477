"""`mainspring providers`: who answers, with which keys, and taking them out of use."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.base.errors import NotFound
from mainspring.cli.options import Config, Json  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json, print_table
from mainspring.cli.session import with_runtime

if TYPE_CHECKING:
    from mainspring.web.management.provider_views import Provider, ProviderKey
    from mainspring.web.runtime import Runtime

app = typer.Typer(
    help="List providers and their keys; take them out of use and back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="Its name, as `mainspring providers list` shows it.")
]
KeyLabel = Annotated[
    str, typer.Option("--key", help="Only this key of it, by its label, such as env:OPENAI_API_KEY.")
]


@app.command("list")
def list_(*, config: Config = None, json: Json = False) -> None:
    """List providers with the state and the age of their keys.

    What a running server knows from its calls (rests, headroom, breakers) is at /api/v1/providers and in the console.
    """
    views = with_runtime(config, views_of)
    if json:
        print_json({"items": views, "next": None})
        return
    lines = [line for view in views for line in _lines(view)]
    print_table(("PROVIDER", "STATE", "KEY", "KEY STATE", "AGE", "NOTE"), lines)


@app.command(short_help="Take a provider or one of its keys out of use.")
def drain(
    name: Name,
    *,
    key: KeyLabel = "",
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for those who find it so.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take a provider or one of its keys out of use, in every server process within a second."""

    async def work(runtime: Runtime) -> Provider:
        _known(await views_of(runtime), name, key)
        await runtime.drains.drain(name, key, by=f"{_user()} (command line)", reason=reason)
        return _known(await views_of(runtime), name, key)

    view = with_runtime(config, work)
    if json:
        print_json(view)
    else:
        typer.echo(f"{_what(name, key)} is out of use. Calls under way finish.")


@app.command()
def undrain(name: Name, *, key: KeyLabel = "", config: Config = None, json: Json = False) -> None:
    """Take a provider or one of its keys back into use."""

    async def work(runtime: Runtime) -> Provider:
        _known(await views_of(runtime), name, key)
        await runtime.drains.undrain(name, key)
        return _known(await views_of(runtime), name, key)

    view = with_runtime(config, work)
    if json:
        print_json(view)
    else:
        typer.echo(f"{_what(name, key)} is in use again.")


async def views_of(runtime: Runtime) -> list[Provider]:
    """The providers as the configuration, the sources of secrets and the database have them."""
    from mainspring.base.secrets import Secrets  # noqa: PLC0415 - only when it runs
    from mainspring.providers import Providers, references  # noqa: PLC0415 - as above
    from mainspring.web.management.provider_views import provider_views  # noqa: PLC0415 - as above

    secrets = Secrets(tell=False)
    await secrets.load(references(runtime.settings))
    await runtime.drains.refresh()
    providers = Providers(runtime.settings, secrets)
    try:
        providers.apply(runtime.drains)
        for pool in providers.pools():
            await runtime.ages.learn_all(pool)
        return provider_views(providers, runtime.ages)
    finally:
        await providers.close()


def _known(views: list[Provider], name: str, key: str) -> Provider:
    view = next((view for view in views if view.name == name), None)
    if view is None:
        raise NotFound(
            f"There is no provider {name!r} here.", remedy=f"There are: {', '.join(v.name for v in views)}."
        )
    if key and key not in [one.label for one in view.keys]:
        labels = ", ".join(one.label for one in view.keys) or "none"
        raise NotFound(f"The provider {name!r} has no key {key!r}.", remedy=f"Its keys are: {labels}.")
    return view


def _lines(view: Provider) -> list[tuple[Any, ...]]:
    note = "" if view.drain is None else _drained(view.drain.by, view.drain.reason)
    if not view.keys:
        return [(view.name, view.state, None, None, None, note)]
    lines = [
        (view.name, view.state, key.label, key.state, _age(key), _note(key) or note) for key in view.keys
    ]
    return [lines[0], *(("", "", *line[2:]) for line in lines[1:])]


def _note(key: ProviderKey) -> str:
    if key.drain is not None:
        return _drained(key.drain.by, key.drain.reason)
    if key.problem is not None:
        return key.problem
    return "older than it should be" if key.old else ""


def _drained(by: str, reason: str | None) -> str:
    return f"by {by}: {reason}" if reason else f"by {by}"


def _age(key: ProviderKey) -> str | None:
    return None if key.age_days is None else f"{key.age_days} d"


def _what(name: str, key: str) -> str:
    return f"The key {key} of {name}" if key else f"The provider {name}"


def _user() -> str:
    """Who sits at the terminal, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return "somebody"
