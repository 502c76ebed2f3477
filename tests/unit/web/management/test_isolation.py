"""A member's key against everything that is another tenant's: every address of the API and of the console, with ids that
are there. Whatever is the rival's has a mark in it, and no answer may hold the mark.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from mainspring.alerts import Alert, queries
from mainspring.base.clock import now_us
from mainspring.base.errors import RateLimited
from mainspring.base.ids import new_id
from mainspring.budgets import NewBudget
from mainspring.ledger import Feedback
from mainspring.web.console.sessions import COOKIE, open_session, read_session
from mainspring.web.management import create_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from mainspring.ledger import Inference
    from mainspring.web.runtime import Runtime

    Answered = Callable[..., Awaitable[Inference]]

MARK = "zqrival"
#: Pages that have no end.
ENDLESS = {"/api/v1/ledger/tail", "/console/ledger/tail"}
#: What a member may send, and to whom it is no harm: it is about themselves.
OWN = {"/console/sign-in", "/console/sign-out", "/console/playground"}
#: Bodies that the API would take from an admin.
BODIES: Mapping[str, dict[str, Any]] = {
    "/api/v1/keys": {"name": "a", "tenant": MARK},
    "/api/v1/budgets": {"scope": {"tenant": MARK}, "usd": 1, "window": "day"},
    "/api/v1/budgets/{id}": {"usd": 9},
    "/api/v1/alerts/test": {"channel": "ops"},
    "/api/v1/alerts/{id}/silence": {"duration": "1h"},
}


class Rival(NamedTuple):
    """Ids of what the other tenant has, by the name of the parameter in an address."""

    answer: str
    key: str
    budget: str
    alert: str
    config: str

    def of(self, path: str) -> str:
        """An address with an id in it."""
        kind = next((name for name in ("keys", "budgets", "alerts") if f"/{name}/" in path), "ledger")
        found = {"keys": self.key, "budgets": self.budget, "alerts": self.alert, "ledger": self.answer}[kind]
        path = path.replace("{config_hash}", self.config).replace("{side}", "request")
        path = path.replace("{name}", "openai").replace("{label:path}", "x").replace("{number}", "0")
        return re.sub(r"\{\w+\}", found, path)


#: The parameters that might lead to somebody else's, each by itself, for no address takes one that it does not know.
QUERIES: tuple[dict[str, str], ...] = (
    {}, {"tenant": MARK}, {"request_id": "ANSWER"}, {"payload": "true"}, {"by": "user"}, {"by": "user", "tenant": MARK},
)  # fmt: skip


@pytest.fixture
async def rival(runtime: Runtime, answered: Answered) -> Rival:
    """A tenant that has one of everything."""
    key, _ = await runtime.keys.create(name=f"{MARK}-key", tenant=MARK)
    named = {name: f"{MARK}-{name}" for name in ("user", "feature", "session", "route", "provider", "model")}
    row = await answered(
        tenant=MARK, key_id=key.id, **named, requested_model=f"{MARK}-wanted", config_hash=f"{MARK}hash",
        tags={"a": f"{MARK}-tag"}, error_message=f"{MARK}-message", why=f"{MARK}-why",
        payload=(f'{{"messages":[{{"role":"user","content":"{MARK}-asked"}}]}}'.encode(), f"{MARK}-said".encode()),
    )  # fmt: skip
    denied = {"status": 429, "error": RateLimited.code, "extra": {"limit": "rps_per_user"}}
    await answered(tenant=MARK, key_id=key.id, **named, **denied)
    said = Feedback(
        id=new_id(), request_id=row.id, created_us=now_us(), tenant=MARK, name="n", comment=f"{MARK}-comment"
    )
    await runtime.ledger.add_feedback(said)
    await runtime.ledger.record_config(f"{MARK}hash", f'{{"routes":{{"{MARK}-route":{{}}}}}}'.encode())
    budget = await runtime.budgets.create(
        NewBudget(scope={"user": f"{MARK}-user"}, tenant=MARK, usd=1, window="day", name=f"{MARK}-budget")
    )
    alert = Alert(
        id=new_id(), rule="spend", subject=f"tenant={MARK}", window_us=now_us(), tenant=MARK, metric="spend",
        severity="warning", summary=f"{MARK}-summary", threshold=1, value=2, peak=2, opened_us=now_us(),
    )  # fmt: skip
    await runtime.database.write(lambda c: queries.add(c, alert))
    return Rival(row.id, key.id, budget.id, alert.id, f"{MARK}hash")


def addresses(routes: list[Any], under: str = "") -> Iterator[tuple[str, str]]:
    """Every method and path."""
    for route in routes:
        if isinstance(route, Mount):
            yield from addresses(route.routes or [], f"{under}{route.path}")
        elif hasattr(route, "original_router"):  # FastAPI keeps what was included as a router of its own
            yield from addresses(route.original_router.routes, under)
        elif isinstance(route, APIRoute):
            yield from ((method, f"{under}{route.path}") for method in sorted(route.methods))


async def asked_by(runtime: Runtime, rival: Rival, role: str) -> dict[tuple[str, str], list[httpx2.Response]]:
    """What each address answers to somebody of the tenant acme, with and without asking for the rival's."""
    key, secret = await runtime.keys.create(name="attacker", tenant="acme", role=role)
    app = create_api(runtime)
    cookie = open_session(key)
    form = {"csrf": read_session(cookie, runtime).csrf, "name": "n", "value": "1", "channel": "ops"}
    found: dict[tuple[str, str], list[httpx2.Response]] = {}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://test",
        headers={"x-api-key": secret, "cookie": f"{COOKIE}={cookie}"},
    ) as client:
        for method, path in addresses(app.router.routes):
            if path in ENDLESS | OWN or path in {"/metrics", "/console/static/{name}"}:
                continue
            address = rival.of(path)
            for wanted in QUERIES:
                query = {name: value.replace("ANSWER", rival.answer) for name, value in wanted.items()}
                if method in {"GET", "HEAD"}:
                    answer = await client.request(method, address, params=query)
                elif path.startswith("/console"):
                    answer = await client.request(method, address, params=query, data=form)
                else:
                    body = BODIES.get(
                        path, {"request_id": rival.answer, "name": "n"} if "feedback" in path else {}
                    )
                    answer = await client.request(method, address, params=query, json=body)
                found.setdefault((method, path), []).append(answer)
    return found


async def test_no_address_shows_a_member_what_is_anothers(runtime: Runtime, rival: Rival) -> None:
    found = await asked_by(runtime, rival, "member")
    assert len(found) > 60
    for (method, path), answers in found.items():
        for answer in answers:
            assert answer.status_code < 500, (method, path, answer.text)
            if answer.status_code in {403, 404}:
                continue
            assert MARK not in answer.text, (method, path, answer.status_code)
            assert rival.budget not in answer.text, (method, path)
            assert method in {"GET", "HEAD"} or answer.status_code == 422, (method, path, answer.status_code)


async def test_the_attack_would_find_something(runtime: Runtime, rival: Rival) -> None:
    """The same as an admin: what a member must not see is there."""
    found = await asked_by(runtime, rival, "admin")
    leaks = {path for (_, path), answers in found.items() if any(MARK in answer.text for answer in answers)}
    assert leaks >= {
        "/api/v1/ledger", "/api/v1/ledger/{id}", "/api/v1/usage", "/api/v1/feedback", "/api/v1/keys",
        "/api/v1/budgets", "/api/v1/budgets/{id}", "/api/v1/alerts", "/api/v1/alerts/{id}", "/api/v1/limits",
        "/console/", "/console/ledger", "/console/ledger/{request_id}", "/console/ledger/{request_id}/{side}.txt",
        "/console/config/{config_hash}", "/console/budgets", "/console/alerts", "/console/keys", "/console/limits",
        "/console/playground/facts/{request_id}",
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(ENDLESS))
async def test_what_a_member_follows_is_its_tenants(runtime: Runtime, answered: Answered, path: str) -> None:
    key, secret = await runtime.keys.create(name="watcher", tenant="acme")
    cookie = f"{COOKIE}={open_session(key)}".encode()
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": b"", "root_path": "", "scheme": "http",
        "query_string": b"", "headers": [(b"x-api-key", secret.encode()), (b"cookie", cookie)], "client": None,
        "server": None, "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive() -> dict[str, Any]:
        return await asyncio.Future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            parts.put_nowait(message["body"])

    task = asyncio.create_task(create_api(runtime)(scope, receive, send))
    await asyncio.wait_for(parts.get(), 30)
    await asyncio.sleep(0.3)
    await answered(tenant=MARK)
    mine = await answered(tenant="acme")
    shown = b""
    while mine.id.encode() not in shown:
        shown += await asyncio.wait_for(parts.get(), 30)
    assert MARK.encode() not in shown
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
