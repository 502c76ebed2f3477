"""`/api/v1/routes`: for admins, with what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.settings import Settings
from mainspring.providers import Providers
from mainspring.routing import Router, target

if TYPE_CHECKING:
    import httpx2

    from mainspring.web.runtime import Runtime


class Serving:
    """As much of a gateway as the list needs."""

    def __init__(self, planner: Router) -> None:
        self.planner = planner

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_list(runtime: Runtime, admin: httpx2.AsyncClient, member: httpx2.AsyncClient) -> None:
    settings = Settings(
        providers={"a": {"base_url": "http://127.0.0.1:9/v1"}},  # type: ignore[dict-item] # pydantic reads it
        routes={
            "x": {
                "targets": ["a/m", "a/n"],
                "hedge": {"after": "p95"},
                "fallback": {"route": "default", "message": "Later."},
            }  # type: ignore[dict-item] # as above
        },
    )
    runtime.gateway = Serving(Router(settings, Providers(settings), runtime.health))  # type: ignore[assignment] # see Serving
    runtime.health.began(target("a", "m"))
    assert (await member.get("/api/v1/routes")).status_code == 403
    page = (await admin.get("/api/v1/routes")).json()
    assert page["next"] is None
    default, x = page["items"]
    assert (default["name"], default["hedge"], default["fallback"]) == ("default", None, [])
    assert (x["strategy"], x["hedge"], x["resume"]) == ("failover", "p95", False)
    assert x["fallback"] == ["route default", "message"]
    assert [(t["target"], t["breaker"]) for t in x["targets"]] == [("a/m", "closed"), ("a/n", None)]
