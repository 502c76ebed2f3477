"""Errors as problem documents, the reference, health and metrics."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from mainspring.base.ids import new_id
from mainspring.web.management import create_api, glossary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from httpx2 import AsyncClient

    from mainspring.web.runtime import Runtime


def _is_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    "path", ["keys", "ledger", "ledger/x", "ledger/tail", "usage", "feedback?request_id=x"]
)
async def test_without_a_key_nothing_is_told(nobody: AsyncClient, path: str) -> None:
    answer = await nobody.get(f"/api/v1/{path}")
    _is_problem(answer, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    wrong = await nobody.get(f"/api/v1/{path}", headers={"x-api-key": "ms-wrong"})
    _is_problem(wrong, 401, "invalid_api_key")


async def test_either_header_will_do(nobody: AsyncClient, runtime: Runtime) -> None:
    _, secret = await runtime.keys.create(name="a", tenant="t")
    for headers in ({"x-api-key": secret}, {"authorization": f"bearer {secret}"}):
        assert (await nobody.get("/api/v1/ledger", headers=headers)).status_code == 200


async def test_every_refusal_is_a_problem(admin: AsyncClient) -> None:
    _is_problem(await admin.get("/api/v1/nothing"), 404, "not_found")
    _is_problem(await admin.get("/nothing"), 404, "not_found")
    short = _is_problem(await admin.post("/chat/completions", json={}), 404, "not_found")
    assert "a base_url that ends in /v1" in short["detail"]
    not_allowed = await admin.put("/api/v1/keys", json={})
    _is_problem(not_allowed, 405, "method_not_allowed")
    assert not_allowed.headers["allow"] == "GET, POST"
    _is_problem(await admin.get("/api/v1/ledger", params={"limit": 0}), 422, "invalid_request")
    _is_problem(await admin.get("/api/v1/ledger", params={"limit": "x"}), 422, "invalid_request")
    _is_problem(await admin.get("/api/v1/ledger?user=%00"), 400, "invalid_request")
    _is_problem(await admin.get("/api/v1/ledger/%00"), 400, "invalid_request")
    _is_problem(await admin.post("/api/v1/keys", content=b"{}"), 415, "unsupported_media_type")
    kind = {"content-type": "application/json"}
    for broken in (
        b"",
        b"{",
        b"\xff",
        b'{"name":"\xff"}',
        b'{"name": "\\ud800", "tenant": "t"}',
    ):
        _is_problem(await admin.post("/api/v1/keys", content=broken, headers=kind), 400, "invalid_request")
    deep = await admin.post("/api/v1/keys", content=b"[" * 100_000, headers=kind)
    _is_problem(deep, 422, "invalid_request")  # a list is refused at its first bracket
    large = await admin.post("/api/v1/keys", content=b'{"name":"' + b"a" * (1 << 20) + b'"}', headers=kind)
    _is_problem(large, 413, "request_too_large")


async def test_a_bug_of_ours_tells_nothing_about_the_inside(
    runtime: Runtime, answered: Callable[..., Awaitable[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_api(runtime)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the inside")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        answer = await client.get("/broken")
    _is_problem(answer, 500, "internal_error")
    assert "inside Mainspring" in answer.text
    assert "the inside" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_answers_are_not_kept_and_not_sniffed(admin: AsyncClient) -> None:
    answer = await admin.get("/api/v1/ledger")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


async def test_the_document_describes_every_path_and_shape(nobody: AsyncClient) -> None:
    document = (await nobody.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/api/v1/alerts",
        "/api/v1/alerts/messages",
        "/api/v1/alerts/test",
        "/api/v1/alerts/{id}",
        "/api/v1/alerts/{id}/acknowledge",
        "/api/v1/alerts/{id}/silence",
        "/api/v1/budgets",
        "/api/v1/budgets/{id}",
        "/api/v1/feedback",
        "/api/v1/keys",
        "/api/v1/keys/{id}",
        "/api/v1/keys/{id}/rotate",
        "/api/v1/ledger",
        "/api/v1/ledger/tail",
        "/api/v1/ledger/{id}",
        "/api/v1/limits",
        "/api/v1/providers",
        "/api/v1/providers/{name}",
        "/api/v1/providers/{name}/drain",
        "/api/v1/providers/{name}/keys/{label}/drain",
        "/api/v1/providers/{name}/keys/{label}/undrain",
        "/api/v1/providers/{name}/undrain",
        "/api/v1/routes",
        "/api/v1/usage",
    }
    text = (await nobody.get("/openapi.json")).text
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"], name
    assert "HTTPValidationError" not in text
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
            assert "401" in operation["responses"]


async def test_the_reference_needs_nobody_else(nobody: AsyncClient) -> None:
    page = await nobody.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "//" not in re.sub(r"https?://", "", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/api/v1/ledger/{id}" in page.text
    assert len(gzip.compress(page.content)) < 20_000
    assert page.headers["content-encoding"] == "gzip"
    assert (
        "content-encoding" not in (await nobody.get("/docs", headers={"accept-encoding": "identity"})).headers
    )
    for target in re.findall(r'href="#([\w-]+)"', page.text):
        assert f'id="{target}"' in page.text, target
    assert (await nobody.get("/docs/style.css")).headers["content-type"].startswith("text/css")


async def test_people_land_in_the_console(nobody: AsyncClient) -> None:
    answer = await nobody.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    assert (await nobody.get("/console/sign-in")).status_code == 200


async def test_health(nobody: AsyncClient, runtime: Runtime) -> None:
    assert (await nobody.get("/healthz")).json() == {"status": "ok"}
    assert (await nobody.head("/healthz")).status_code == 200
    ready = await nobody.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "serving": "ok"})
    runtime.draining = True
    draining = await nobody.get("/readyz")
    assert (draining.status_code, draining.json()["checks"]["serving"]) == (503, "draining")
    assert (await nobody.get("/healthz")).status_code == 200, "a draining process is alive"


async def test_metrics_may_be_kept_from_the_public(
    nobody: AsyncClient, admin: AsyncClient, runtime: Runtime
) -> None:
    public = await nobody.get("/metrics")
    assert public.status_code == 200
    assert public.headers["content-type"].startswith("text/plain")
    assert re.search(r"^mainspring_ledger_queue_rows \d+\.0$", public.text, re.MULTILINE)
    section = runtime.settings.telemetry.model_copy(update={"metrics_public": False})
    runtime.settings = runtime.settings.model_copy(update={"telemetry": section})
    assert (await nobody.get("/metrics")).status_code == 401
    assert (await admin.get("/metrics")).status_code == 200


async def test_every_name_in_the_document_says_what_it_means(nobody: AsyncClient) -> None:
    document = (await nobody.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    silent = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, of in schema.get("properties", {}).items()
        if not of["description"]
    ]
    operations = [one for path in document["paths"].values() for one in path.values()]
    silent += [
        f"{operation['operationId']}({parameter['name']})"
        for operation in operations
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    assert not silent
    known = {field for schema in schemas.values() for field in schema.get("properties", {})}
    known |= {f"{name}.{field}" for name, schema in schemas.items() for field in schema.get("properties", {})}
    assert not set(glossary.FIELDS) - known, "lines about nothing"
    assert set(glossary.EXAMPLES) <= set(schemas)
    identifiers = [operation["operationId"] for operation in operations]
    assert sorted(set(identifiers)) == sorted(identifiers)
    assert all(re.fullmatch("[a-z_]+", one) for one in identifiers)


async def test_every_answer_in_the_document_has_a_shape(nobody: AsyncClient) -> None:
    document = (await nobody.get("/openapi.json")).json()
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                (content,) = answer["content"].values()
                assert content["schema"], (operation["operationId"], status)
                assert answer["description"] not in {"Done", "Successful Response"}
    tail = document["paths"]["/api/v1/ledger/tail"]["get"]["responses"]["200"]["content"]
    assert tail == {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Answer"}}}
    assert "anything" not in (await nobody.get("/docs")).text.split('id="shapes"')[0]


@pytest.mark.parametrize(
    ("method", "path", "shape", "status"),
    [
        ("POST", "/api/v1/keys", "KeyRequest", 201),
        ("POST", "/api/v1/keys/{key}/rotate", "RotateRequest", 201),
        ("POST", "/api/v1/budgets", "BudgetRequest", 201),
        ("PATCH", "/api/v1/budgets/{budget}", "BudgetChange", 200),
        ("POST", "/api/v1/providers/local/drain", "DrainRequest", 200),
        ("POST", "/api/v1/feedback", "FeedbackRequest", 404),
        ("POST", "/api/v1/alerts/none/silence", "SilenceRequest", 404),
        ("POST", "/api/v1/alerts/test", "TestRequest", 404),
    ],
)
async def test_an_example_of_the_document_is_understood(
    admin: AsyncClient, method: str, path: str, shape: str, status: int
) -> None:
    """404 is that the server understood it, and has no such answer, alert or channel."""
    key = (await admin.post("/api/v1/keys", json=glossary.EXAMPLES["KeyRequest"])).json()["id"]
    budget = (await admin.post("/api/v1/budgets", json=glossary.EXAMPLES["BudgetRequest"])).json()["id"]
    answer = await admin.request(method, path.format(key=key, budget=budget), json=glossary.EXAMPLES[shape])
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("/api/v1/ledger?users=ann", "Did you mean user?"),
        ("/api/v1/usage?modle=x", "There are: by, since, until, step, tenant."),
        ("/api/v1/keys?Tenant=acme", "Did you mean tenant?"),
        ("/api/v1/routes?name=default", "There are: none."),
    ],
)
async def test_a_parameter_that_there_is_not_is_no_filter(
    admin: AsyncClient, address: str, remedy: str
) -> None:
    """It would be taken for one, and everything for what it found."""
    told = _is_problem(await admin.get(address), 422, "invalid_request")
    assert remedy in told["detail"]
    assert told["param"] == address.partition("?")[2].partition("=")[0]


async def test_every_list_takes_what_lists_take(admin: AsyncClient) -> None:
    for path in ("keys", "budgets", "providers", "routes", "ledger", "usage", "alerts"):
        assert (await admin.get(f"/api/v1/{path}?limit=1")).status_code == 200, path


@pytest.mark.parametrize("path", ["keys", "budgets", "ledger", "alerts", "alerts/messages"])
async def test_a_page_goes_on_after_an_id_only(admin: AsyncClient, path: str) -> None:
    told = _is_problem(await admin.get(f"/api/v1/{path}?after=2"), 422, "invalid_request")
    assert told["detail"] == "after is not written as it must be. The API reference is at /docs."
    assert (await admin.get(f"/api/v1/{path}?after={new_id()}")).status_code == 200
