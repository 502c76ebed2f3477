"""Who asks, what they may see, and the parameters that lists share."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Path, Query, Request
from starlette.responses import Response

from mainspring.base.durations import parse_instant
from mainspring.base.errors import PayloadTooLarge, PermissionDenied
from mainspring.keys import Principal
from mainspring.web.asgi import secret_of
from mainspring.web.management.problems import Unprocessable, Unreadable, UnsupportedMediaType
from mainspring.web.management.reference import document

if TYPE_CHECKING:
    from mainspring.web.runtime import Runtime

T = TypeVar("T")
#: No body of this API is long.
LARGEST_BODY = 1 << 20
#: Taken everywhere, also by lists that are short and have no second page.
_OF_EVERY_LIST = ("limit", "after")


def runtime_of(request: Request) -> Runtime:
    """The rooms of this process."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def asking(request: Request) -> Principal:
    """Dependency: who holds the key of this request.

    Raises:
        AuthenticationFailed: nobody.
        Unprocessable: the query has a parameter that there is not: a filter that is misspelt would find everything.
    """
    principal = _holder(request)
    _check_names(request)
    return principal


def asking_admin(request: Request) -> Principal:
    """Dependency: who asks, an admin.

    Raises:
        AuthenticationFailed: nobody.
        PermissionDenied: a member.
        Unprocessable: as for `asking`.
    """
    principal = _holder(request)
    if principal.role != "admin":
        raise PermissionDenied("This needs an admin key.", remedy="Ask with a key whose role is admin.")
    _check_names(request)
    return principal


def _holder(request: Request) -> Principal:
    return runtime_of(request).keys.check(secret_of(dict(request.scope["headers"])) or "")


def _check_names(request: Request) -> None:
    if not request.query_params:
        return
    route = request.scope["route"]
    operation = document(request.app)["paths"][route.path_format][request.method.lower()]
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in request.query_params:
        if name not in known and name not in _OF_EVERY_LIST:
            near = get_close_matches(name, known, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}."
            raise Unprocessable(f"There is no parameter {name[:100]!r}.", remedy=remedy, param=name[:100])


def scope_of(principal: Principal, tenant: str | None) -> str | None:
    """The tenant whose data is asked for: an admin's choice or None for all, a member's own.

    Raises:
        PermissionDenied: a member asks for another tenant's.
    """
    if principal.role == "admin":
        return tenant
    if tenant not in {None, principal.tenant}:
        raise PermissionDenied(
            "This key sees only its own tenant.", remedy="Leave tenant out.", param="tenant"
        )
    return principal.tenant


async def body_of(request: Request, shape: type[T]) -> T:
    """The body of a request, decoded and checked.

    Raises:
        UnsupportedMediaType: it does not say that it is JSON.
        PayloadTooLarge: it is longer than a body of this API can be.
        Unreadable: it is not JSON.
        Unprocessable: it is JSON of another shape; `param` names the field.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("The body must be JSON.", remedy="Send content-type: application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise PayloadTooLarge("The body is larger than 1 MB.", remedy="Send less.")
    try:
        return msgspec.json.decode(bytes(body), type=shape)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        raise Unprocessable(
            f"The body is not as it must be: {text}.",
            remedy=f"{shape.__name__} at /docs is what it may hold.",
            param=where.strip(".`") or None,
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"The body is not valid JSON: {error}.", remedy="Send one JSON object.") from None


def instant(text: str | None, param: str, *, ahead: bool = False) -> int | None:
    """Unix microseconds of a time in a query or a body.

    Raises:
        Unprocessable: it is none.
    """
    if text is None:
        return None
    try:
        return parse_instant(text, ahead=ahead)
    except ValueError as error:
        raise Unprocessable(
            f"{param}: {error}.", remedy="Write 7d, 12h or 2026-11-21T09:00:00Z.", param=param
        ) from None


def json(value: Any, status: int = 200) -> Response:
    """A value as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


Asking = Annotated[Principal, Depends(asking)]
AskingAdmin = Annotated[Principal, Depends(asking_admin)]
#: No text that we keep has a NUL in it, see `edge`.
NO_NUL = "^[^\\x00]*$"
Id = Annotated[str, Path(max_length=64, pattern=NO_NUL)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many items at most.")]
#: Every `next` is an id. Any other text would be taken for a place in the list, and the wrong page be given.
_ID_PATTERN = "^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$"
After = Annotated[str | None, Query(pattern=_ID_PATTERN, description="`next` of the page before.")]
Tenant = Annotated[
    str | None,
    Query(max_length=200, pattern=NO_NUL, description="Only this tenant. A member sees only its own anyway."),
]
#: What the document says of a time. It is read more leniently: any RFC 3339 time, and sums such as `1d12h`.
_DATE = (
    r"(?:19[7-9]\d|2\d{3})-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
)
_CLOCK = r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-2]):[0-5]\d)"
TIME_PATTERN = rf"^(?:[1-9][0-9]{{0,2}}[smhdw]|{_DATE}(?:{_CLOCK})?)$"
Since = Annotated[
    str | None,
    Query(
        description="From when: how long ago (`7d`, `12h`) or a time (RFC 3339).",
        json_schema_extra={"pattern": TIME_PATTERN},
    ),
]
Until = Annotated[
    str | None,
    Query(
        description="To when, exclusive: as `since`; by default now.",
        json_schema_extra={"pattern": TIME_PATTERN},
    ),
]
