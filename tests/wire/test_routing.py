"""Routes on a real server: who is asked, what the row and the page say of it, and edits under load."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.server import RunningServer, running
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.provider_server import ProviderServer

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
ROUTES = """
[limits]
rps_per_user = 10000

[providers.one]
base_url = "{url}/v1"
[providers.two]
base_url = "{url}/v1"

[models."one/cheap"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.2
vision = false
[models."two/dear"]
input_usd_per_mtok = 10
output_usd_per_mtok = 20
vision = true
json_schema = false
[models."two/short"]
context_tokens = 50

[routes.split]
targets = ["one/a", "two/b"]
strategy = "weighted"
weights = [3, 1]

[routes.cheap]
targets = ["two/dear", "one/cheap"]
strategy = "cheapest"

[routes.rules]
targets = ["one/usual"]
[[routes.rules.when]]
targets = ["two/pro"]
metadata = {{ plan = "pro" }}
[[routes.rules.when]]
targets = ["two/long"]
min_input_tokens = 200

[routes.short]
targets = ["two/short", "one/a"]

[routes.blind]
targets = ["one/cheap"]

[routes.quickest]
targets = ["one/slow+pause=1.5", "two/quick"]
strategy = "fastest"

[routes.broken]
targets = ["one/down", "two/up"]
"""


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("routed")
    with running(RunningServer(folder, ROUTES.format(url=provider.url))) as server:
        yield server


def ask(server: RunningServer, model: str, **body: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": body.pop("content", "hi")}]
    return server.client.post("/v1/chat/completions", json={"model": model, "messages": messages, **body})


def answered_by(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return f"{answer.headers['x-mainspring-provider']}/{answer.headers['x-mainspring-model']}"


def test_a_weighted_split_is_within_its_bounds(routed: RunningServer) -> None:
    total = 400
    first = Counter(answered_by(ask(routed, "split")) for _ in range(total))
    # Five standard deviations of a binomial share.
    assert abs(first["one/a"] - total * 0.75) < 5 * (total * 0.75 * 0.25) ** 0.5
    assert first["one/a"] + first["two/b"] == total


def test_the_row_and_the_page_say_why(routed: RunningServer) -> None:
    answer = ask(routed, "split")
    row = routed.row(answer.headers["x-request-id"])
    weight = 3 if row["provider"] == "one" else 1
    assert row["why"] == f"route split, weighted, drawn with weight {weight} of 4: target 1 of 2"
    assert row["extra"]["routing"]["strategy"] == "weighted"
    assert {c["target"]: c["weight"] for c in row["extra"]["routing"]["candidates"]} == {
        "one/a": 3,
        "two/b": 1,
    }


def test_the_cheapest_but_for_who_cannot(routed: RunningServer) -> None:
    assert answered_by(ask(routed, "cheap")) == "one/cheap"
    seen = ask(routed, "cheap", content=[{"type": "text", "text": "what is this?"}, IMAGE])
    assert answered_by(seen) == "two/dear"
    row = routed.row(seen.headers["x-request-id"])
    assert "passed over one/cheap (no vision)" in row["why"]
    assert row["extra"]["routing"]["passed_over"] == [{"target": "one/cheap", "note": "no vision"}]
    both = ask(routed, "cheap", content=[IMAGE], response_format=SCHEMA)
    assert both.status_code == 400
    assert both.json()["error"]["code"] == "no_target_fits"
    assert "two/dear: no JSON schema" in both.json()["error"]["message"]
    assert "one/cheap: no vision" in both.json()["error"]["message"]


def test_a_refusal_costs_no_call(routed: RunningServer, provider: ProviderServer) -> None:
    before = provider.count
    assert ask(routed, "blind", content=[IMAGE]).status_code == 400
    assert provider.count == before


def test_rules(routed: RunningServer) -> None:
    assert answered_by(ask(routed, "rules")) == "one/usual"
    taken = ask(routed, "rules", metadata={"plan": "pro"})
    assert answered_by(taken) == "two/pro"
    assert routed.row(taken.headers["x-request-id"])["why"] == "route rules, rule 1 (metadata.plan=pro)"
    assert answered_by(ask(routed, "rules", content="word " * 300)) == "two/long"
    assert answered_by(ask(routed, "rules", content="word " * 100)) == "one/usual"


def test_what_is_too_long_goes_elsewhere(routed: RunningServer) -> None:
    assert answered_by(ask(routed, "short")) == "two/short"
    assert answered_by(ask(routed, "short", content="word " * 500)) == "one/a"


def test_the_quickest_gets_the_most(routed: RunningServer) -> None:
    for _ in range(4):
        ask(routed, "quickest")
    assert {answered_by(ask(routed, "quickest")) for _ in range(10)} == {"two/quick"}


def test_a_breaker_opens_is_told_of_and_closes(routed: RunningServer, provider: ProviderServer) -> None:
    provider.script("down", *["status=500"] * 200)
    for _ in range(12):
        assert answered_by(ask(routed, "broken")) == "two/up"
    calls = [received.at for received in provider.requests('"down"')]
    # It opens for a second, and then for longer after each probe, of which a busy machine may see some.
    assert len([at for at in calls if at < calls[4] + 0.9]) == 5, "the breaker has opened"

    def breakers() -> list[str]:
        listed = routed.client.get("/api/v1/routes").json()["items"]
        (broken,) = [item for item in listed if item["name"] == "broken"]
        return [target["breaker"] for target in broken["targets"]]

    def told() -> bool:
        ask(routed, "broken")
        told_open = breakers() == ["open", "closed"]
        return told_open and 'breaker{model="down",provider="one"} 2.0' in routed.client.get("/metrics").text

    until(told)
    assert 'mainspring_target_in_flight{model="up",provider="two"} 0.0' in routed.client.get("/metrics").text
    provider.forget("down")
    until(lambda: answered_by(ask(routed, "broken")) == "one/down", 60)  # it is well again
    rows = routed.rows(route="broken", limit=100)
    assert "route broken, one/down last (breaker open): target 1 of 2" in {row["why"] for row in rows}


def test_edits_under_load(routed: RunningServer, provider: ProviderServer) -> None:
    file = routed.folder / "mainspring.toml"
    good = ROUTES.format(url=provider.url)
    stop, statuses = threading.Event(), Counter[int]()

    def load() -> None:
        while not stop.is_set():
            statuses[ask(routed, "split").status_code] += 1

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        file.write_text(good + '\n[routes.new]\ntargets = ["one/new"]\n')
        until(lambda: ask(routed, "new").status_code == 200)
        file.write_text(good + '\n[routes.new]\ntargets = ["nowhere/new"]\n')
        until(lambda: "configuration_kept" in routed.log())
        assert answered_by(ask(routed, "new")) == "one/new", "the old configuration is still in force"
        line = good.count("\n") + 3
        told = [text for text in routed.log().splitlines() if "configuration_kept" in text][-1]
        assert f"line {line}: routes.new: the target 'nowhere/new' names a provider that is not" in told
        file.write_text(good)
        until(lambda: ask(routed, "new").status_code == 404)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        file.write_text(good)
    assert set(statuses) == {200}


def test_the_page_says_why_this_model(routed: RunningServer) -> None:
    chosen = ask(routed, "cheap", content=[IMAGE]).headers["x-request-id"]
    plain = ask(routed, "one/a").headers["x-request-id"]
    with httpx2.Client(base_url=f"{routed.url}/console", follow_redirects=True) as visitor:
        visitor.get("/sign-in")
        token = visitor.cookies["mainspring_sign_in"]
        assert visitor.post("/sign-in", data={"key": routed.admin_key, "form": token}).status_code == 200
        page = visitor.get(f"/ledger/{chosen}").text
        assert "Why this model" in page
        assert "passed over: no vision" in page
        assert "Why this model" not in visitor.get(f"/ledger/{plain}").text
