"""Whether this process lives, whether it should be sent requests, and its numbers for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from mainspring.base.errors import MainspringError
from mainspring.web.asgi import secret_of

if TYPE_CHECKING:
    from mainspring.web.runtime import Runtime

router = APIRouter(include_in_schema=False)

#: A database that takes longer than this to say anything is not there.
_PATIENCE_SECONDS = 2.0


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def alive() -> Response:
    """The process is there and its loop turns."""
    return _answer({"status": "ok"}, 200)


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def ready(request: Request) -> Response:
    """Whether requests should be sent here: 200, or 503 with the check that says no."""
    runtime: Runtime = request.app.state.runtime
    checks = {"database": await _database(runtime), "serving": "draining" if runtime.draining else "ok"}
    # No reason to send requests elsewhere: they are answered, with limits kept by each process for its part.
    shared = runtime.limits.status().shared
    away = shared.kind == "redis" and not shared.working
    detail = {"limits": f"redis {shared.reason}"} if away else {}
    good = all(result == "ok" for result in checks.values())
    return _answer(
        {"status": "ok" if good else "unavailable", "checks": checks | detail}, 200 if good else 503
    )


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request) -> Response:
    """The numbers of all workers of this server, for Prometheus.

    Raises:
        AuthenticationFailed: the settings keep them from the public, and there is no key.
    """
    runtime: Runtime = request.app.state.runtime
    if not runtime.settings.telemetry.metrics_public:
        runtime.keys.check(secret_of(dict(request.scope["headers"])) or "")
    body, media_type = await asyncio.to_thread(runtime.meter.render)
    return Response(body, headers={"content-type": media_type})


async def _database(runtime: Runtime) -> str:
    try:
        await asyncio.wait_for(runtime.database.ping(), _PATIENCE_SECONDS)
    except MainspringError as error:
        return error.code
    except TimeoutError:
        return "silent"
    return "ok"


def _answer(document: object, status: int) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
