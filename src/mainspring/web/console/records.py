"""The ledger as a list: filters as a form, one page at a time, newest first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request

from mainspring.base.clock import now_us
from mainspring.ledger.types import LedgerFilter
from mainspring.web.console.rendering import page
from mainspring.web.console.sessions import CurrentVisitor  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.responses import Response

    from mainspring.ledger import Ledger
    from mainspring.web.console.sessions import Visitor

router = APIRouter()
_LIMIT = 50
_LONGEST = 200
#: How long a page looks for answers before it shows what it has found, with a way to go on.
_SEARCH_SECONDS = 0.03

#: Filters that are a text to match: name in the address, words.
FIELDS = {
    "model": "Model",
    "provider": "Provider",
    "route": "Route",
    "user": "User",
    "feature": "Feature",
    "session": "Session",
    "tenant": "Tenant",
}
STATUSES = {"": "Any", "ok": "OK", "error": "Error", "cut": "Cut short"}
#: Name in the address, words, seconds back from now.
TIMES = {
    "": ("Any time", 0),
    "15m": ("Last 15 minutes", 900),
    "1h": ("Last hour", 3600),
    "24h": ("Last 24 hours", 86_400),
    "7d": ("Last 7 days", 604_800),
    "30d": ("Last 30 days", 2_592_000),
}


class Wanted(msgspec.Struct, frozen=True):
    """What the form asks for: the values as entered, and the filter they make."""

    values: dict[str, str]
    where: LedgerFilter

    @property
    def query(self) -> str:
        """The form as part of an address."""
        return urlencode(self.values)


def read_form(query: QueryParams, visitor: Visitor) -> Wanted:
    """The filter in an address. What is not a filter is passed over; a member sees only their own tenant."""
    entered = {
        name: query.get(name, "").strip()[:_LONGEST].replace("\0", "") for name in (*FIELDS, "status", "time")
    }
    values = {name: value for name, value in entered.items() if value}
    if not visitor.admin:
        values.pop("tenant", None)
    chosen = values.get("status")
    status = cast("Literal['ok', 'error', 'cut']", chosen) if chosen in STATUSES else None
    _, back = TIMES.get(values.get("time", ""), ("", 0))
    where = LedgerFilter(
        tenant=visitor.scope or values.get("tenant"),
        user=values.get("user"),
        feature=values.get("feature"),
        session=values.get("session"),
        route=values.get("route"),
        provider=values.get("provider"),
        model=values.get("model"),
        status=status,
        since_us=now_us() - back * 1_000_000 if back else None,
    )
    return Wanted(values, where)


@router.get("/ledger")
async def show(request: Request, visitor: CurrentVisitor) -> Response:
    """A page of the ledger."""
    runtime = request.app.state.runtime
    wanted = read_form(request.query_params, visitor)
    after = request.query_params.get("after") or None
    found = await runtime.ledger.page(wanted.where, limit=_LIMIT, after=after, seconds=_SEARCH_SECONDS)
    fields = {name: words for name, words in FIELDS.items() if visitor.admin or name != "tenant"}
    return page(
        request,
        "ledger.html",
        visitor,
        fields=fields,
        statuses=STATUSES,
        times={name: words for name, (words, _) in TIMES.items()},
        wanted=wanted,
        after=after,
        items=found.items,
        next=found.next,
        searched_us=found.searched_us,
        known=await _known(runtime.ledger, visitor),
    )


_SUGGESTED: tuple[Literal["model"], Literal["provider"]] = ("model", "provider")


async def _known(ledger: Ledger, visitor: Visitor) -> dict[str, list[str]]:
    """Names that the last day has seen, offered while typing. Few and from rollups: the list must stay fast."""
    now = now_us()
    since = (now // 3_600_000_000 - 24) * 3_600_000_000
    models, providers = await asyncio.gather(
        *(
            ledger.usage(by=by, tenant=visitor.scope, since_us=since, until_us=now, percentiles=False)
            for by in _SUGGESTED
        )
    )
    return {
        "model": [row.group for row in models if row.group][:20],
        "provider": [row.group for row in providers if row.group][:20],
    }
