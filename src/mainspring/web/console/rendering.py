"""Templates into pages: one Jinja environment with autoescape, and what every template may use."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from mainspring.base.clock import now_us
from mainspring.web.console import formatting

if TYPE_CHECKING:
    from starlette.requests import Request

    from mainspring.web.console.sessions import Visitor

#: Files that pages load, with their media types. Nothing else is served.
STATIC = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}


@cache
def static_file(name: str) -> bytes:
    """One of the files in `static/`."""
    return resources.files(__package__).joinpath("static", name).read_bytes()


@cache
def packed_file(name: str) -> bytes:
    """The same, compressed by gzip."""
    return gzip.compress(static_file(name), 9, mtime=0)


@cache
def version() -> str:
    """A short hash of all static files: it is in their address, so that browsers may keep them for ever."""
    return hashlib.sha256(b"".join(static_file(name) for name in STATIC)).hexdigest()[:10]


@cache
def environment() -> Environment:
    """The templates; made once."""
    made = Environment(
        loader=PackageLoader("mainspring.web.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        count=formatting.count,
        usd=formatting.usd,
        duration=formatting.duration,
        size=formatting.size,
        day=formatting.day,
        moment=formatting.moment,
        stamp=formatting.stamp,
        routing_note=formatting.routing_note,
    )
    made.globals.update(
        none_sign=formatting.NONE,
        percent=formatting.percent,
        change=formatting.change,
        ago=formatting.ago,
        version=version(),
    )
    return made


def fragment(template: str, /, **values: Any) -> str:
    """A piece of a page as text. Every template gets `now`, Unix microseconds."""
    return environment().get_template(template).render(now=now_us(), **values)


def page(
    request: Request, template: str, visitor: Visitor | None, /, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page.

    Args:
        request: its mount point is the `base` of all links.
        template: the file name.
        visitor: who is signed in, or None.
        status: the HTTP status.
        **values: what the template shows.
    """
    alerts = request.app.state.runtime.alerts
    open_alerts = alerts.open_count(visitor.scope) if visitor is not None else 0
    text = fragment(template, base=base(request), visitor=visitor, open_alerts=open_alerts, **values)
    return HTMLResponse(text, status)


def base(request: Request) -> str:
    """Where the console is mounted: `/console`, or longer behind a proxy that says so."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")
