"""The API described: what each handler says of itself, the OpenAPI document, and a page to read it.

The page is ours and static: no script, no other site, so that it works offline and under a strict policy.
"""

from __future__ import annotations

import gzip
import html
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec
from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from mainspring import __version__
from mainspring.web.management.glossary import EXAMPLES, PATHS, line_for
from mainspring.web.management.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

router = APIRouter(include_in_schema=False)

_REF = "#/components/schemas/{name}"
#: Every handler of the API may answer with these.
_ALWAYS = (400, 401, 422, 503)
_BODY_REFUSALS = (413, 415)
_described: set[Any] = {Problem}
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def described(
    summary: str,
    shape: Any,
    status: int = 200,
    *,
    body: type | None = None,
    media_type: str = "application/json",
    refusals: tuple[int, ...] = (),
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a route decorator is told, so that the document says what the handler really takes and returns.

    Args:
        summary: a few words.
        shape: the struct that is returned; `list[...]` is a page of it.
        status: of success.
        body: the struct that is taken.
        media_type: of success.
        refusals: statuses of problems beside those that every handler may answer with.
        more: what a page has beside its items, as properties of a schema.
    """
    refused = sorted({*_ALWAYS, *refusals, *(_BODY_REFUSALS if body else ())})
    problems: dict[int | str, dict[str, Any]] = {
        code: {
            "description": HTTPStatus(code).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
        for code in refused
    }
    content = _schema(shape)
    content.get("properties", {}).update(more or {})
    success = {
        status: {"description": _success(shape, media_type), "content": {media_type: {"schema": content}}}
    }
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(body)}}}
    told: dict[str, Any] = {
        "summary": summary,
        "responses": success | problems,
        "openapi_extra": extra,
        "response_model": None,
    }
    if media_type != "application/json":
        told["response_class"] = Response  # has no media type of its own, which FastAPI would add to ours
    return told


def _success(shape: Any, media_type: str) -> str:
    """What comes back, in a sentence."""
    if get_origin(shape) is list:
        return "A page of them; `next` is null on the last."
    sentence = " ".join(str(shape.__doc__).split()).partition(". ")[0].rstrip(".") + "."
    return f"Server-sent events. The data of each: {sentence}" if "event-stream" in media_type else sentence


def _schema(shape: Any) -> dict[str, Any]:
    """A reference to a struct's schema, which is made when the document is."""
    if get_origin(shape) is list:
        (item,) = get_args(shape)
        return {
            "type": "object",
            "required": ["items", "next"],
            "properties": {
                "items": {"type": "array", "items": _schema(item)},
                "next": {"type": ["string", "null"], "description": "Pass it as `after` for the next page."},
            },
        }
    _described.add(shape)
    return {"$ref": _REF.format(name=shape.__name__)}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; made once, when somebody first wants it."""
    if app.openapi_schema is None:
        for route in app.routes:
            if isinstance(route, APIRoute):
                route.operation_id = route.unique_id = route.name
        made = get_openapi(
            title="Mainspring management API",
            version=__version__,
            description=(
                "Keys, budgets, providers, routes, the ledger, limits, usage, feedback and alerts. Ask with "
                "`Authorization: Bearer ms-...` or `x-api-key: ms-...`, for example "
                '`curl -H "Authorization: Bearer $MAINSPRING_KEY" http://127.0.0.1:8080/api/v1/usage`. '
                "Lists are paged: pass `next` as `after`. Errors are RFC 9457 problem documents. "
                "Chats and embeddings are not here: they speak OpenAI's protocol under `/v1` (for its clients "
                "`base_url=http://127.0.0.1:8080/v1`) and Anthropic's (`base_url=http://127.0.0.1:8080`)."
            ),
            routes=app.routes,
        )
        _, schemas = msgspec.json.schema_components(
            sorted(_described, key=lambda each: str(each.__name__)),
            ref_template="#/components/schemas/{name}",
        )
        for name, schema in schemas.items():
            for field, of in schema.get("properties", {}).items():
                of.setdefault("description", line_for(name, field))
            if name in EXAMPLES:
                schema["examples"] = [EXAMPLES[name]]
        for operation in _operations(made):
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter.setdefault("description", PATHS[operation["tags"][0]])
        made["components"] = {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        }
        made["security"] = [{"bearer": []}, {"x-api-key": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _operations(made: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in made["paths"].values() for operation in methods.values()]


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(msgspec.json.encode(document(request.app)), media_type="application/json")


@router.get("/docs")
async def page(request: Request) -> Response:
    """The document for people."""
    text = _page(document(request.app), request.scope.get("root_path", "")).encode()
    headers = {"content-security-policy": _POLICY, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        text = gzip.compress(text, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(text, media_type="text/html", headers=headers)


@router.get("/docs/style.css")
async def style() -> Response:
    """How the page looks."""
    text = files("mainspring.web.management").joinpath("reference.css").read_text("utf-8")
    return Response(text, media_type="text/css", headers={"cache-control": "public, max-age=3600"})


def _page(made: dict[str, Any], root: str) -> str:
    sections: dict[str, list[str]] = {}
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            sections.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    contents = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in sections)
    body = "".join(
        f'<section><h2 id="{name}">{name}</h2>{"".join(parts)}</section>' for name, parts in sections.items()
    )
    schemas = "".join(_struct(name, schema) for name, schema in made["components"]["schemas"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Mainspring API</title>'
        f'<link rel="stylesheet" href="{html.escape(root)}/docs/style.css"></head><body>'
        f"<header><h1>{html.escape(made['info']['title'])}</h1><p>{_text(made['info']['description'])}</p></header>"
        f'<nav aria-label="Contents"><ul>{contents}<li><a href="#shapes">shapes</a></li>'
        f'<li><a href="{html.escape(root)}/openapi.json">openapi.json</a></li></ul></nav>'
        f'<main>{body}<section><h2 id="shapes">shapes</h2>{schemas}</section></main></body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{html.escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{_type(each['schema'])}</td><td>{_text(_parameter(each))}</td></tr>"
        for each in operation.get("parameters", [])
    )
    table = (
        "<table><thead><tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr></thead>"
        f"<tbody>{parameters}</tbody></table>"
        if parameters
        else ""
    )
    body = operation.get("requestBody")
    takes = f"<p>Takes {_content(body)}.</p>" if body else ""
    answers = ", ".join(
        f"{code} {_content(answer)}" if code.startswith("2") else code
        for code, answer in operation["responses"].items()
    )
    return (
        f'<article><h3><span class="method">{method.upper()}</span> <code>{html.escape(path)}</code></h3>'
        f"<p><strong>{html.escape(operation['summary'])}.</strong> {_text(operation.get('description', ''))}</p>"
        f"{takes}{table}<p>Answers: {answers}.</p></article>"
    )


def _parameter(of: dict[str, Any]) -> str:
    """What a parameter means, and what it is without being given."""
    default = of["schema"].get("default")
    words: str = of.get("description", "")
    if of["in"] == "query" and of.get("required"):
        return f"{words} Required."
    return words if default is None else f"{words} By default `{str(default).lower()}`."


def _struct(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{html.escape(field)}</code></td><td>{_type(of)}</td>"
        f"<td>{'' if field in required else '<i>optional.</i> '}{_text(of['description'])}</td></tr>"
        for field, of in schema.get("properties", {}).items()
    )
    example = "".join(
        f"<pre>{html.escape(msgspec.json.format(msgspec.json.encode(one)).decode())}</pre>"
        for one in schema.get("examples", ())
    )
    return (
        f'<article><h3 id="shape-{name}">{name}</h3><p>{_text(schema.get("description", ""))}</p>'
        f"<table><thead><tr><th>field</th><th>type</th><th>meaning</th></tr></thead><tbody>{rows}</tbody></table>{example}</article>"
    )


def _content(holder: dict[str, Any]) -> str:
    """The shape of a body: the first of its media types."""
    for media_type, content in holder.get("content", {}).items():
        kind = "" if media_type == "application/json" else f" as {media_type}"
        return _type(content["schema"]) + kind
    return ""


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "enum" in schema:
        return " or ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    if "items" in schema.get("properties", {}):
        return f"a page of {_type(schema['properties']['items']['items'])}"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _text(text: str) -> str:
    """Plain text with `code` as HTML."""
    parts = html.escape(" ".join(text.split()), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
