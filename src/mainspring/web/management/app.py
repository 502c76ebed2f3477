"""The app for every path that is not a protocol surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.responses import RedirectResponse

from mainspring.web import health
from mainspring.web.console import create_console
from mainspring.web.management import (
    alerts,
    budgets,
    feedback,
    keys,
    ledger,
    limits,
    providers,
    reference,
    routes,
    usage,
)
from mainspring.web.management.edge import Edge
from mainspring.web.management.problems import add_handlers

if TYPE_CHECKING:
    from mainspring.web.runtime import Runtime


def create_api(runtime: Runtime) -> FastAPI:
    """Put the routers together; see the package."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runtime = runtime
    for module in (
        keys,
        budgets,
        providers,
        routes,
        ledger,
        limits,
        usage,
        feedback,
        alerts,
        reference,
        health,
    ):
        # Flat, so that a refused method can be told every other one of its address.
        app.router.routes.extend(module.router.routes)
    app.add_api_route("/", _home, include_in_schema=False)
    app.mount("/console", create_console(runtime))
    add_handlers(app)
    app.add_middleware(Edge)
    return app


async def _home() -> RedirectResponse:
    """People who type the address land in the console."""
    return RedirectResponse("/console/", 303)
