"""Providers: how they and their keys are, and taking them out of use. For admins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from mainspring.web.console.rendering import base, page
from mainspring.web.console.sessions import Admin, FormAdmin  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.management.provider_views import provider_views
from mainspring.web.management.providers import check_known

if TYPE_CHECKING:
    from mainspring.web.management.provider_views import Allowance, ProviderKey
    from mainspring.web.runtime import Runtime

router = APIRouter()
#: What stands in the address after something was done, and what the page then says.
DONE = {
    "drained": "It is out of use everywhere within a second. Calls under way finish.",
    "undrained": "It is in use again, everywhere within a second.",
}
#: How states look: the class of the sign, and the words.
STATES = {
    "ready": ("ok", "ready"),
    "cooling": ("warn", "cooling"),
    "refused": ("bad", "refused"),
    "drained": ("gone", "out of use"),
    "missing": ("bad", "missing"),
    "duplicate": ("warn", "duplicate"),
    "without_key": ("bad", "no key"),
    "closed": ("ok", "well"),
    "open": ("bad", "breaker open"),
    "half-open": ("warn", "breaker half-open"),
}
_SOURCES = {
    "env": "environment",
    "file": "file",
    "vault": "Vault",
    "aws": "AWS Secrets Manager",
    "literal": "configuration file",
}


@router.get("/providers")
async def show(request: Request, visitor: Admin) -> Response:
    """Every provider, with its keys and the models that were called."""
    runtime: Runtime = request.app.state.runtime
    return page(
        request,
        "providers.html",
        visitor,
        items=provider_views(runtime.providers, runtime.ages, runtime.health.entries()),
        done=DONE.get(request.query_params.get("done", "")),
        states=STATES,
        sources=_SOURCES,
        left=left_of,
        old_days=runtime.ages.old_days,
    )


@router.post("/providers/{name}/drain")
async def drain(
    request: Request,
    visitor: FormAdmin,
    name: str,
    key: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Take a provider, or the key that the form names, out of use."""
    runtime: Runtime = request.app.state.runtime
    check_known(runtime, name, key)
    await runtime.drains.drain(name, key, by=visitor.principal.name, reason=reason)
    return RedirectResponse(f"{base(request)}/providers?done=drained", 303)


@router.post("/providers/{name}/undrain")
async def undrain(
    request: Request, _visitor: FormAdmin, name: str, key: Annotated[str, Form()] = ""
) -> Response:
    """Take it back into use."""
    runtime: Runtime = request.app.state.runtime
    check_known(runtime, name, key)
    await runtime.drains.undrain(name, key)
    return RedirectResponse(f"{base(request)}/providers?done=undrained", 303)


def left_of(key: ProviderKey) -> list[tuple[str, str, int | None]]:
    """What is left of a key's limits after its last answer: words, figures, and the share in percent."""
    if not key.headroom:
        return []
    newest = key.headroom[0]
    return [
        (words, _figures(allowance), _share(allowance))
        for words, allowance in (("requests", newest.requests), ("tokens", newest.tokens))
        if allowance is not None
    ]


def _figures(allowance: Allowance) -> str:
    if allowance.limit is None:
        return f"{allowance.remaining:,}"
    return f"{allowance.remaining:,} of {allowance.limit:,}"


def _share(allowance: Allowance) -> int | None:
    if not allowance.limit:
        return None
    return min(100, max(0, round(100 * allowance.remaining / allowance.limit)))
