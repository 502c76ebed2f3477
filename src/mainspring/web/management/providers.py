"""`/api/v1/providers`: who answers, how they are, and taking them out of use. For admins only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from msgspec import Meta
from starlette.responses import Response  # noqa: TC002 - FastAPI reads annotations

from mainspring.base.errors import NotFound
from mainspring.providers.drains import LONGEST_REASON
from mainspring.web.management.access import NO_NUL, AskingAdmin, body_of, json, runtime_of
from mainspring.web.management.provider_views import Provider, provider_views
from mainspring.web.management.reference import described

if TYPE_CHECKING:
    from mainspring.web.runtime import Runtime

router = APIRouter(prefix="/api/v1/providers", tags=["providers"])

Name = Annotated[str, Path(max_length=200, pattern=NO_NUL)]
Label = Annotated[str, Path(max_length=500, pattern=NO_NUL, description="A key's label; write # as %23.")]


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Why something is taken out of use, for those who find it so."""

    reason: Annotated[str, Meta(max_length=LONGEST_REASON, pattern=NO_NUL)] | None = None


@router.get("", **described("List providers", list[Provider], refusals=(403,)))
async def list_providers(request: Request, _: AskingAdmin) -> Response:
    """Every provider with its keys and the models that were called. What rests is known to the process that answers."""
    return json({"items": _views(runtime_of(request)), "next": None})


@router.get("/{name}", **described("Look a provider up", Provider, refusals=(403, 404)))
async def get_provider(request: Request, _: AskingAdmin, name: Name) -> Response:
    """One provider."""
    return json(_view(runtime_of(request), name))


@router.post(
    "/{name}/drain",
    **described("Take a provider out of use", Provider, body=DrainRequest, refusals=(403, 404)),
)
async def drain_provider(request: Request, principal: AskingAdmin, name: Name) -> Response:
    """No new call goes to it, in every process within a second, until it is taken back; calls under way finish."""
    wanted = await body_of(request, DrainRequest)
    return await _drain(runtime_of(request), name, "", principal.name, wanted.reason)


@router.post("/{name}/undrain", **described("Take a provider back", Provider, refusals=(403, 404)))
async def undrain_provider(request: Request, _: AskingAdmin, name: Name) -> Response:
    """It is called again."""
    return await _undrain(runtime_of(request), name, "")


@router.post(
    "/{name}/keys/{label:path}/drain",
    **described("Take a key out of use", Provider, body=DrainRequest, refusals=(403, 404)),
)
async def drain_provider_key(request: Request, principal: AskingAdmin, name: Name, label: Label) -> Response:
    """The same for one of its keys; the others go on."""
    wanted = await body_of(request, DrainRequest)
    return await _drain(runtime_of(request), name, label, principal.name, wanted.reason)


@router.post(
    "/{name}/keys/{label:path}/undrain", **described("Take a key back", Provider, refusals=(403, 404))
)
async def undrain_provider_key(request: Request, _: AskingAdmin, name: Name, label: Label) -> Response:
    """It is used again."""
    return await _undrain(runtime_of(request), name, label)


def check_known(runtime: Runtime, name: str, label: str) -> None:
    """See whether there is such a provider, and such a key of it.

    Raises:
        NotFound: there is none.
    """
    view = _view(runtime, name)
    labels = [key.label for key in view.keys]
    if label and label not in labels:
        raise NotFound(
            f"The provider {name!r} has no key {label!r}.",
            remedy=f"Its keys are: {', '.join(labels)}." if labels else "It has none.",
        )


async def _drain(runtime: Runtime, name: str, label: str, by: str, reason: str | None) -> Response:
    check_known(runtime, name, label)
    await runtime.drains.drain(name, label, by=by, reason=reason)
    return json(_view(runtime, name))


async def _undrain(runtime: Runtime, name: str, label: str) -> Response:
    check_known(runtime, name, label)
    await runtime.drains.undrain(name, label)
    return json(_view(runtime, name))


def _views(runtime: Runtime) -> list[Provider]:
    return provider_views(runtime.providers, runtime.ages, runtime.health.entries())


def _view(runtime: Runtime, name: str) -> Provider:
    for view in _views(runtime):
        if view.name == name:
            return view
    raise NotFound(
        f"There is no provider {name!r} here.",
        remedy=f"There are: {', '.join(view.name for view in _views(runtime))}.",
    )
