"""`mainspring routes`: where a call may go, and where one would go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from mainspring.base.errors import InvalidRequest
from mainspring.cli.options import Config, Json  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json, print_table
from mainspring.cli.session import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mainspring.routing import Router
    from mainspring.web.management.route_views import Route, RouteTarget

app = typer.Typer(
    help="List routes, and see where a request would go.", no_args_is_help=True, rich_markup_mode=None
)

_CAN: tuple[Literal["tools", "vision", "json_schema"], ...] = ("tools", "vision", "json_schema")


@app.command("list", short_help="List routes with their targets and rules.")
def list_(*, config: Config = None, json: Json = False) -> None:
    """List the routes of the configuration with their targets and rules.

    What a running server knows from its calls (breakers) is at /api/v1/routes and /api/v1/providers.
    """
    from mainspring.web.management.route_views import route_views  # noqa: PLC0415 - with the rooms, only when it runs

    views = route_views(_router(config), ())
    if json:
        print_json({"items": views, "next": None})
        return
    lines = [line for view in views for line in _lines(view)]
    print_table(("ROUTE", "STRATEGY", "TARGET", "WEIGHT", "CONTEXT", "TOOLS", "VISION", "SCHEMA"), lines)


@app.command(short_help="Say which targets a request would ask, and why.")
def explain(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="A route, or `provider/model`.")],
    *,
    tools: Annotated[bool, typer.Option("--tools", help="The request offers tools.")] = False,
    vision: Annotated[bool, typer.Option("--vision", help="It has an image.")] = False,
    json_schema: Annotated[bool, typer.Option("--json-schema", help="It asks for a JSON schema.")] = False,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Its tokens.")] = 100,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="The most tokens of the answer, if it says so.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="It is streamed.")] = False,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", help="`key=value` of its metadata; may be repeated.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="`key=value`; may be repeated.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Its user.")] = None,
    feature: Annotated[str | None, typer.Option("--feature", help="Its feature.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant of its key.")] = "default",
    config: Config = None,
    json: Json = False,
) -> None:
    """Say which targets a request would ask, in which order and why, as if all of them were well."""
    from mainspring.routing import Wanted  # noqa: PLC0415 - with the rooms, only when it runs
    from mainspring.web.console.formatting import routing_note  # noqa: PLC0415 - as above
    from mainspring.web.management.route_views import explanation  # noqa: PLC0415 - as above

    asked = {"tools": tools, "vision": vision, "json_schema": json_schema}
    told = _pairs(metadata, "--metadata")
    needs = Wanted(
        input_tokens=tokens,
        output_tokens=max_tokens,
        kinds=frozenset(kind for kind in _CAN if asked[kind]),
        stream=stream,
        tenant=tenant,
        user=user,
        feature=feature,
        metadata={key: _value(text) for key, text in told.items()},
        tags={**told, **_pairs(tag, "--tag")},
    )
    found = explanation(_router(config).explain(route, needs))
    if json:
        print_json(found)
        return
    typer.echo(found.why)
    rows: list[tuple[Any, ...]] = [
        (number, line["target"], routing_note(line))
        for number, line in enumerate(found.detail["candidates"], 1)
    ]
    rows += [
        ("-", line["target"], f"passed over: {line['note']}") for line in found.detail.get("passed_over", ())
    ]
    print_table(("", "TARGET", "NOTE"), rows)


def _router(config: Path | None) -> Router:
    """The routes of the configuration, with everything that the price table knows.

    Raises:
        ConfigError: a route cannot be.
    """
    from mainspring.base.errors import ConfigError  # noqa: PLC0415 - with the rooms below, only when it runs
    from mainspring.base.settings import located  # noqa: PLC0415 - as above
    from mainspring.providers import Providers  # noqa: PLC0415 - as above
    from mainspring.routing import Health, Router  # noqa: PLC0415 - as above

    settings = read_settings(config)
    providers = Providers(settings)
    providers.prices.warm()
    try:
        return Router(settings, providers, Health())
    except ConfigError as error:
        raise located(error, config) from None


def _lines(view: Route) -> list[tuple[Any, ...]]:
    lines = [(view.name, view.strategy, *_cells(target)) for target in view.targets]
    for rule in view.rules:
        lines.append((f"  {rule.rule}", rule.strategy, *_cells(rule.targets[0])))
        lines += [("", "", *_cells(target)) for target in rule.targets[1:]]
    first = len(view.targets)
    return [lines[0], *(("", "", *line[2:]) for line in lines[1:first]), *lines[first:]]


def _cells(target: RouteTarget) -> tuple[Any, ...]:
    weight = None if target.weight is None else f"{target.weight:g}"
    can = (target.tools, target.vision, target.json_schema)
    return (target.target, weight, target.context_tokens, *(_yes(some) for some in can))


def _yes(known: bool | None) -> str | None:
    return None if known is None else "yes" if known else "no"


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise InvalidRequest(
                f"{option}: {text!r} is not a pair.", remedy="Write key=value.", param=option
            )
        pairs[key] = value
    return pairs


def _value(text: str) -> str | bool | float:
    """A value of metadata as JSON would have it."""
    import msgspec  # noqa: PLC0415 - only when it runs

    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return cast("str | bool | float", value) if isinstance(value, str | bool | int | float) else text
