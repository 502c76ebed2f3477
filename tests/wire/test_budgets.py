"""Budgets as callers, admins and members see them."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.conversations import user
from tests.support.server import RunningServer, provider_config, running
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.provider_server import ProviderServer

CONFIG = """
[models."openai/gpt-5-mini"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
[models."openai/gpt-5-mini+words=4000"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
[models."openai/gpt-5-mini+status=500"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
[models."openai/gpt-5-mini+input=5000"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
[models."openai/gpt-5-mini+pause=1.5"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0
[models."anthropic/claude"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 5.0
[models."openai/free"]
input_usd_per_mtok = 0
output_usd_per_mtok = 0
[models."openai/embed"]
input_usd_per_mtok = 0.02
[routes.cheap]
targets = ["openai/free"]
[routes.two]
targets = ["openai/unpriced", "openai/gpt-5-mini"]
[models."openai/slow+pause=20"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 3.0
[models."openai/breaks+words=30+gap=0.01+cut=content"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 3.0
[routes.hedged]
targets = ["openai/slow+pause=20", "openai/gpt-5-mini"]
hedge = { after = 0.1, max_share = 1.0 }
[routes.resumed]
targets = ["openai/breaks+words=30+gap=0.01+cut=content", "openai/gpt-5-mini"]
resume = true
[models."openai/half+words=30+cut=content"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 3.0
[models."openai/none+words=30+cut=start"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 3.0
[routes.halves]
targets = ["openai/half+words=30+cut=content", "openai/gpt-5-mini"]
[routes.nones]
targets = ["openai/none+words=30+cut=start", "openai/gpt-5-mini"]
[limits]
rps_per_user = 0
"""
MINI = "openai/gpt-5-mini"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    """A server whose models have prices."""
    folder = tmp_path_factory.mktemp("budgets")
    with running(RunningServer(folder, provider_config(provider.url) + CONFIG)) as started:
        yield started


class Tenant:
    """A tenant of a test, with a key."""

    def __init__(self, server: RunningServer, **key: Any) -> None:
        self.server = server
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        self.mark = uuid.uuid4().hex
        made = server.client.post("/api/v1/keys", json={"name": "k", "tenant": self.name, **key})
        assert made.status_code == 201, made.text
        self.key_id, self.key = made.json()["id"], made.json()["key"]

    def budget(self, **fields: Any) -> dict[str, Any]:
        """A budget; on this tenant unless it says otherwise."""
        made = self.server.client.post(
            "/api/v1/budgets", json={"scope": {"tenant": self.name}, "window": "total", **fields}
        )
        assert made.status_code == 201, made.text
        body: dict[str, Any] = made.json()
        return body

    def standing(self, budget: dict[str, Any]) -> dict[str, Any]:
        """The budget as it stands now."""
        body: dict[str, Any] = self.server.client.get(f"/api/v1/budgets/{budget['id']}").json()
        return body

    def ask(self, model: str = MINI, *, key: str = "", **fields: Any) -> httpx2.Response:
        """One chat, with a mark that finds it at the provider."""
        body = {"model": model, "max_tokens": 50, "messages": user(self.mark), **fields}
        body = {name: value for name, value in body.items() if value is not None}
        return self.post("/v1/chat/completions", body, key=key)

    def post(self, path: str, body: dict[str, Any], *, key: str = "", **headers: str) -> httpx2.Response:
        """One request with this tenant's key."""
        headers |= {"authorization": f"Bearer {key or self.key}"}
        return httpx2.post(self.server.url + path, json=body, headers=headers, timeout=60, trust_env=False)


@pytest.fixture
def tenant(server: RunningServer) -> Tenant:
    """A tenant without a budget yet."""
    return Tenant(server)


def test_a_refused_request_is_never_sent_upstream(tenant: Tenant, provider: ProviderServer) -> None:
    budget = tenant.budget(usd=0.0001, name="pocket money")
    for stream in (False, True):
        refused = tenant.ask(max_tokens=1000, stream=stream)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
        assert "'pocket money'" in error["message"]
        assert "$0.000100" in error["message"]
        assert refused.headers["x-should-retry"] == "false"
    claude = tenant.post(
        "/v1/messages", {"model": "anthropic/claude", "max_tokens": 1000, "messages": user(tenant.mark)}
    )
    assert claude.status_code == 429
    assert claude.json()["error"]["type"] == "rate_limit_error"
    assert provider.requests(tenant.mark) == []
    assert tenant.standing(budget)["spent_usd"] == 0
    assert tenant.standing(budget)["held_usd"] == 0
    row = tenant.server.row(refused.headers["x-request-id"])
    assert (row["status"], row["error"], row["cost_usd"]) == (429, "insufficient_quota", 0)
    assert row["extra"] == {"budget": budget["id"], "denied_unrecorded": 0}
    path = f"/api/v1/ledger/{row['id']}"
    assert tenant.server.client.get(path, params={"payload": True}).json()["payload"] is None


def test_a_flood_of_refusals_fills_no_ledger(tenant: Tenant) -> None:
    tenant.budget(usd=0.0001)
    body = {"model": "openai/priced", "max_tokens": 1000, "messages": user("x" * 2000)}
    with httpx2.Client(base_url=tenant.server.url, trust_env=False, timeout=30) as client:
        for _ in range(400):
            answer = client.post(
                "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {tenant.key}"}
            )
            assert answer.status_code == 429
    rows = tenant.server.client.get("/api/v1/ledger", params={"tenant": tenant.name, "limit": 500}).json()[
        "items"
    ]
    assert 100 <= len(rows) < 200
    told = sum(1 + row["extra"]["denied_unrecorded"] for row in rows)
    without = [
        float(line.rpartition(" ")[2])
        for line in tenant.server.client.get("/metrics").text.splitlines()
        if line.startswith('mainspring_denials_without_row_total{by="budget"}')
    ]
    assert told <= 400 <= len(rows) + without[0]


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_spent_is_what_the_rows_cost(tenant: Tenant, stream: bool) -> None:
    budget = tenant.budget(usd=1, tokens=100_000)
    for _ in range(3):
        assert tenant.ask(stream=stream).status_code == 200
    rows = tenant.server.wait_rows(3, tenant=tenant.name)
    standing = tenant.standing(budget)
    assert standing["spent_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows), abs=1e-12)
    assert standing["spent_usd"] > 0
    assert standing["spent_tokens"] == sum(row["input_tokens"] + row["output_tokens"] for row in rows)
    assert standing["answers"] == 3


@pytest.mark.parametrize(("route", "stream"), [("halves", False), ("nones", True)])
def test_an_answer_that_breaks_off_has_cost_something(tenant: Tenant, route: str, stream: bool) -> None:
    budget = tenant.budget(usd=1, tokens=100_000)
    answer = tenant.ask(route, stream=stream)
    assert answer.status_code == 200
    row = tenant.server.row(answer.headers["x-request-id"])
    broken, whole = row["attempts"]
    assert (broken["outcome"], whole["outcome"]) == ("cut", "ok")
    # The provider has said what the second call took; of the first, it is our own count as far as it came.
    assert (row["usage_source"], row["cut"]) == ("estimated", False)
    prompt, written = row["input_tokens"] - 20, row["output_tokens"] - 3
    assert round(whole["cost_usd"] * 1e9) == 20 * 250 + 3 * 2000
    assert round(broken["cost_usd"] * 1e9) == prompt * 1000 + written * 3000
    assert prompt > 0
    assert (written == 0) == stream
    assert row["cost_usd"] == pytest.approx(broken["cost_usd"] + whole["cost_usd"], abs=1e-12)
    standing = tenant.standing(budget)
    assert standing["spent_usd"] == pytest.approx(row["cost_usd"], abs=1e-12)
    assert standing["spent_tokens"] == row["input_tokens"] + row["output_tokens"]


def test_failed_calls_give_their_reservation_back(tenant: Tenant) -> None:
    tenant.budget(usd=0.0003)
    for _ in range(6):  # each reserves more than half of the cap
        assert tenant.ask(f"{MINI}+status=500", max_tokens=60).status_code in {500, 503}
    assert tenant.ask(max_tokens=60).status_code == 200


def test_a_window_says_when_it_turns_over(tenant: Tenant) -> None:
    tenant.budget(usd=0, window="day")
    refused = tenant.ask()
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert " 00:00 UTC" in refused.json()["error"]["message"]


def test_an_unknown_price_is_refused_with_the_fix(tenant: Tenant, provider: ProviderServer) -> None:
    tenant.budget(usd=1)
    refused = tenant.ask("openai/unpriced")
    assert refused.status_code == 403
    assert '[models."openai/unpriced"] input_usd_per_mtok' in refused.json()["error"]["message"]
    assert provider.requests(tenant.mark) == []
    assert tenant.ask("two").headers["x-mainspring-model"] == "gpt-5-mini"


def test_tokens_alone_need_no_price(tenant: Tenant) -> None:
    tenant.budget(tokens=1500)
    assert tenant.ask("openai/unpriced").status_code == 200
    assert tenant.ask("openai/unpriced", max_tokens=2000).status_code == 429


def test_embeddings_are_covered(tenant: Tenant) -> None:
    budget = tenant.budget(usd=0.001)
    small = tenant.post("/v1/embeddings", {"model": "openai/embed", "input": "a few words"})
    assert small.status_code == 200, small.text
    assert tenant.standing(budget)["spent_usd"] > 0
    large = tenant.post("/v1/embeddings", {"model": "openai/embed", "input": "word " * 20_000})
    assert large.status_code == 429


def test_an_answer_without_a_limit_gets_one(tenant: Tenant, provider: ProviderServer) -> None:
    tenant.budget(usd=0.05)
    assert tenant.ask(max_tokens=None).status_code == 200
    sent = json.loads(provider.requests(tenant.mark)[-1].body)
    assert 256 <= sent["max_completion_tokens"] <= 32_768
    assert tenant.ask(max_tokens=None, max_completion_tokens=None).status_code == 200
    body = json.dumps({"model": MINI, "max_completion_tokens": None, "messages": user(tenant.mark)})
    answer = httpx2.post(
        f"{tenant.server.url}/v1/chat/completions",
        content=body,
        headers={"authorization": f"Bearer {tenant.key}", "content-type": "application/json"},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert json.loads(provider.requests(tenant.mark)[-1].body)["max_completion_tokens"] >= 256


def test_what_is_free_has_no_limit_and_no_cap(tenant: Tenant, provider: ProviderServer) -> None:
    tenant.budget(usd=0)
    assert tenant.ask("openai/free", max_tokens=None).status_code == 200
    assert "max_" not in provider.requests(tenant.mark)[-1].body.decode()
    assert tenant.ask().status_code == 429


def test_stepping_down_to_a_cheaper_route(tenant: Tenant) -> None:
    budget = tenant.budget(usd=0, policy="step_down", step_down="cheap")
    for stream in (False, True):
        answer = tenant.ask(stream=stream)
        assert answer.status_code == 200
        assert answer.headers["x-mainspring-model"] == "free"
        row = tenant.server.row(answer.headers["x-request-id"])
        assert row["route"] == "cheap"
        assert row["requested_model"] == MINI
        assert row["why"].startswith(f"stepped down from {MINI} because budget {budget['id']} is spent")


def test_waiting_for_room(tenant: Tenant, provider: ProviderServer) -> None:
    import threading  # noqa: PLC0415 - for one test

    tenant.budget(usd=0.0004, policy="queue", queue_seconds=30)
    first: list[int] = []
    other = threading.Thread(
        target=lambda: first.append(tenant.ask(f"{MINI}+pause=1.5", max_tokens=100).status_code)
    )
    other.start()
    provider.wait(tenant.mark, lambda _: True)
    began = time.monotonic()
    assert tenant.ask(max_tokens=100).status_code == 200  # there is room once the first has settled
    assert time.monotonic() - began > 0.2
    other.join()
    assert first == [200]
    began = time.monotonic()
    assert tenant.ask(max_tokens=1_000_000).status_code == 429  # more than the cap: waiting does not help
    assert time.monotonic() - began < 15


def test_a_provider_that_uses_more_than_it_was_allowed(tenant: Tenant) -> None:
    budget = tenant.budget(usd=0.02)
    for _ in range(4):
        assert tenant.ask(f"{MINI}+input=5000").status_code in {200, 429}
    standing = tenant.standing(budget)
    rows = tenant.server.rows(tenant=tenant.name)
    assert standing["spent_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows), abs=1e-12)
    assert "budget_bound_passed" in tenant.server.log()


def test_calls_that_did_not_become_the_answer_are_counted_where_they_belong(tenant: Tenant) -> None:
    names = ["openai/slow+pause=20", "openai/breaks+words=30+gap=0.01+cut=content", MINI]
    whole = tenant.budget(usd=1)
    parts = [tenant.budget(scope={"model": name}, tenant=tenant.name, usd=1) for name in names]
    assert tenant.ask("hedged").status_code == 200
    assert tenant.ask("resumed", stream=True).status_code == 200
    tenant.server.wait_rows(2, tenant=tenant.name)
    spent = [tenant.standing(part)["spent_usd"] for part in parts]
    assert all(amount > 0 for amount in spent), spent
    assert tenant.standing(whole)["spent_usd"] == pytest.approx(sum(spent), abs=1e-12)


def test_the_budget_of_a_key_follows_its_successors(server: RunningServer) -> None:
    tenant = Tenant(server, budget={"usd": 0.0004, "window": "month"})
    assert tenant.ask(max_tokens=100).status_code == 200
    rotated = server.client.post(f"/api/v1/keys/{tenant.key_id}/rotate", json={"overlap_seconds": 60})
    new = rotated.json()["key"]
    assert tenant.ask(key=new, max_tokens=100).status_code == 200
    (budget,) = [b for b in _budgets(server) if b["scope"] == {"key": tenant.key_id}]
    assert budget["answers"] == 2
    assert budget["tenant"] == tenant.name
    assert tenant.ask(key=new, max_tokens=1000).status_code == 429


def test_users_features_and_models_have_their_own(server: RunningServer) -> None:
    one, other = Tenant(server), Tenant(server)
    name = uuid.uuid4().hex
    one.budget(scope={"user": name}, tenant=one.name, usd=0)
    one.budget(scope={"feature": name}, usd=0)
    one.budget(scope={"model": "openai/embed"}, tenant=one.name, usd=0)
    body = {"model": MINI, "max_tokens": 9, "messages": user("hi")}
    chat = "/v1/chat/completions"
    assert one.post(chat, {**body, "user": name}).status_code == 429
    assert other.post(chat, {**body, "user": name}).status_code == 200
    assert one.post(chat, body, **{"x-mainspring-feature": name}).status_code == 429
    assert other.post(chat, body, **{"x-mainspring-feature": name}).status_code == 429
    assert one.post(chat, body).status_code == 200
    assert one.post("/v1/embeddings", {"model": "openai/embed", "input": "x"}).status_code == 429
    assert other.post("/v1/embeddings", {"model": "openai/embed", "input": "x"}).status_code == 200


def test_change_and_delete_under_way(tenant: Tenant) -> None:
    client = tenant.server.client
    budget = tenant.budget(usd=0)
    assert tenant.ask().status_code == 429
    changed = client.patch(f"/api/v1/budgets/{budget['id']}", json={"usd": 1, "name": "more"})
    assert (changed.status_code, changed.json()["usd"], changed.json()["name"]) == (200, 1, "more")
    assert tenant.ask().status_code == 200
    client.patch(f"/api/v1/budgets/{budget['id']}", json={"usd": 0.000001})
    until(lambda: tenant.ask().status_code == 429)
    assert client.delete(f"/api/v1/budgets/{budget['id']}").status_code == 200
    assert client.get(f"/api/v1/budgets/{budget['id']}").status_code == 404
    assert tenant.ask().status_code == 200


def test_members_read_their_own(tenant: Tenant) -> None:
    server, budget = tenant.server, tenant.budget(usd=1)
    other = Tenant(server).budget(usd=1)
    headers = {"authorization": f"Bearer {tenant.key}"}
    with httpx2.Client(base_url=server.url, headers=headers, trust_env=False) as member:
        items = member.get("/api/v1/budgets").json()["items"]
        assert [item["id"] for item in items] == [budget["id"]]
        assert member.get(f"/api/v1/budgets/{budget['id']}").status_code == 200
        assert member.get(f"/api/v1/budgets/{other['id']}").status_code == 404
        assert member.post("/api/v1/budgets", json={}).status_code == 403
        assert member.delete(f"/api/v1/budgets/{budget['id']}").status_code == 403


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"scope": {"tenant": "a"}, "window": "total", "usd": -1}, ">= 0"),
        ({"scope": {"galaxy": "a"}, "window": "total", "usd": 1}, "galaxy"),
        ({"scope": {}, "window": "total", "usd": 1}, "exactly one"),
        ({"scope": {"tenant": "a", "user": "b"}, "window": "total", "usd": 1}, "exactly one"),
        ({"scope": {"model": "gpt"}, "window": "total", "usd": 1}, "not a model of a provider"),
        ({"scope": {"key": "nobody"}, "window": "total", "usd": 1}, "no key"),
        ({"scope": {"tenant": "a"}, "window": "total"}, "caps neither"),
        ({"scope": {"tenant": "a"}, "window": "rolling", "usd": 1}, "needs its period"),
        ({"scope": {"tenant": "a"}, "window": "day", "period": "7d", "usd": 1}, "Only a rolling window"),
        ({"scope": {"tenant": "a"}, "window": "day", "usd": 1, "policy": "step_down"}, "needs a route"),
        (
            {"scope": {"tenant": "a"}, "window": "day", "usd": 1, "policy": "step_down", "step_down": "x"},
            "no route 'x'",
        ),
    ],
)
def test_one_clear_sentence_for_what_cannot_be(
    server: RunningServer, body: dict[str, Any], says: str
) -> None:
    refused = server.client.post("/api/v1/budgets", json=body)
    assert refused.status_code == 422, refused.text
    assert says in refused.json()["detail"] + refused.json()["title"]


def test_thresholds_are_noted_once(tenant: Tenant) -> None:
    budget = tenant.budget(usd=0.0006, thresholds=[2, 90])
    assert tenant.ask().status_code == 200
    for _ in range(3):
        tenant.ask()
    until(lambda: tenant.standing(budget)["crossed"] == [2])


def test_check_and_the_command_line_agree(tenant: Tenant) -> None:
    budget = tenant.budget(usd=1, name="for the terminal")
    assert tenant.ask().status_code == 200
    server = tenant.server
    listed = server.command("budgets", "list", "--tenant", tenant.name, "--json")
    (shown,) = json.loads(listed.stdout)["items"]
    assert shown["spent_usd"] == tenant.standing(budget)["spent_usd"]
    found = json.loads(server.command("check", "--json").stdout)["items"]
    mine = [finding for finding in found if finding["subject"].startswith("budget")]
    assert mine
    assert all(finding["works"] for finding in mine), mine
    wrong = server.command("budgets", "create", "tenant=a", "--usd", "-3")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "cannot be negative" in wrong.stderr
    changed = server.command("budgets", "change", budget["id"], "--usd", "2")
    assert "of $2.00" in changed.stdout


def _budgets(server: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = server.client.get("/api/v1/budgets", params={"limit": 5} | ({"after": after} if after else {}))
        found += page.json()["items"]
        after = page.json()["next"]
        if after is None:
            return found
