"""Alerts of a real server: from failing answers to a webhook in seconds, and nothing lost when the process is killed."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.documents import blocks
from tests.support.receivers import WebhookReceiver
from tests.support.server import provider_config
from tests.support.waiting import until

from mainspring.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made


def config(provider: ProviderServer, receiver: WebhookReceiver, more: str = "") -> str:
    return (
        provider_config(provider.url)
        + f"""
[alerts]
every = "1s"
group = "1s"
[alerts.channels.ops]
kind = "webhook"
url = "env:OPS_WEBHOOK"
secret = "{SECRET}"
[alerts.rules.errors]
metric = "error_rate"
above = 0.2
over = "5m"
resolve_after = "1s"
severity = "critical"
{more}
"""
    )


def ask(server: RunningServer, key: str, model: str, times: int, **more: Any) -> None:
    with httpx2.Client(
        base_url=server.url, headers={"authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        for _ in range(times):
            body = {"model": model, "messages": [{"role": "user", "content": "x"}], **more}
            client.post("/v1/chat/completions", json=body, timeout=30)


def test_story_of_a_failing_provider(
    start_server: Callable[..., RunningServer], provider: ProviderServer, receiver: WebhookReceiver
) -> None:
    quietly = '[alerts.rules.providers]\nmetric = "provider_health"\nchannels = []\n'
    server = start_server(config(provider, receiver, quietly), env={"OPS_WEBHOOK": receiver.url})
    key = server.create_key()
    ask(server, key, "openai/failing+status=500", 25)
    hit = receiver.wait(1)[0]
    (told,) = hit.document["data"]["alerts"]
    assert (told["event"], told["rule"], told["severity"]) == ("opened", "errors", "critical")
    verify(hit.headers, hit.body)
    alert, breaker = (
        server.client.get("/api/v1/alerts", params={"state": "open", "rule": rule}).json()["items"][0]
        for rule in ("errors", "providers")
    )
    assert (alert["id"], alert["unit"], alert["threshold"]) == (told["id"], "share", 0.2)
    assert alert["value"] > 0.9
    assert breaker["summary"].startswith("openai/failing+status=500: its breaker is ")
    until(lambda: "mainspring_alerts_open 2.0" in server.client.get("/metrics").text)
    # The provider is well again: what it answers outweighs what it did not.
    ask(server, key, "openai/well", 150)
    until(lambda: [each for each in receiver.alerts() if each["event"] == "resolved"])
    assert [each["event"] for each in receiver.alerts()] == ["opened", "resolved"]
    resolved = server.client.get(f"/api/v1/alerts/{told['id']}").json()
    assert (resolved["state"], resolved["resolution"]) == ("resolved", "good again")
    assert [message["state"] for message in resolved["messages"]] == ["sent", "sent"]
    assert receiver.url.split("=")[1] not in server.log()


def test_provider_that_fails_behind_a_failover_is_told_of(
    start_server: Callable[..., RunningServer], provider: ProviderServer, receiver: WebhookReceiver
) -> None:
    rules = """
[alerts.rules.providers]
metric = "provider_health"
channels = []
[alerts.rules.attempts]
metric = "attempt_error_rate"
above = 0.4
over = "5m"
per = "provider"
[alerts.rules.slow-start]
metric = "first_token_p95"
above = 0.15
over = "5m"
min_requests = 5
[routes.saved]
targets = ["openai/half", "anthropic/well"]
"""
    server = start_server(config(provider, receiver, rules), env={"OPS_WEBHOOK": receiver.url})
    key = server.create_key()
    for _ in range(12):
        provider.script("half", "status=500", "")
        ask(server, key, "saved", 1)
        ask(server, key, "saved", 1, stream=True)
    items = server.client.get("/api/v1/ledger", params={"limit": 200}).json()["items"]
    assert len(items) == 24
    assert {each["status"] for each in items} == {200}, "no caller saw an error"
    told = until(lambda: [each for each in receiver.alerts() if each["rule"] == "attempts"])
    assert [each["subject"] for each in told] == ["provider=openai"]
    assert "errors" not in {each["rule"] for each in receiver.alerts()}, "since nobody saw one"
    usage = server.client.get("/api/v1/usage", params={"by": "provider"}).json()["items"]
    by_provider = {each["group"]: each for each in usage}
    calls = [attempt for each in items for attempt in each["attempts"] if attempt["outcome"] != "cancelled"]
    for name, one in by_provider.items():
        own = [attempt for attempt in calls if attempt["provider"] == name]
        assert one["attempts"] == len(own)
        assert one["attempt_errors"] == sum(attempt["outcome"] != "ok" for attempt in own)
    # Streams that begin late are told of by their percentile.
    for _ in range(8):
        ask(server, key, "openai/late+silence=0.3", 1, stream=True)
    (slow,) = until(lambda: [each for each in receiver.alerts() if each["rule"] == "slow-start"])
    assert slow["summary"].startswith("P95 time to the first token ")


def verify(headers: dict[str, str], body: bytes) -> None:
    """The snippet in the documentation accepts it, and not with another body."""
    (snippet,) = [block for block in blocks("python") if "def verified" in block.text]
    names: dict[str, Any] = {}
    exec(compile(snippet.text, str(snippet), "exec"), names)  # the documentation's own text
    assert names["verified"](headers, body, SECRET)
    assert not names["verified"](headers, body + b" ", SECRET)
    assert not names["verified"]({**headers, "webhook-timestamp": "1"}, body, SECRET)


@pytest.mark.parametrize("moment", ["while nobody takes it", "in the middle of an attempt"])
def test_nothing_is_lost_when_killed(
    start_server: Callable[..., RunningServer],
    provider: ProviderServer,
    receiver: WebhookReceiver,
    moment: str,
) -> None:
    receiver.always = 503 if moment == "while nobody takes it" else "hang"
    server = start_server(config(provider, receiver), env={"OPS_WEBHOOK": receiver.url})
    ask(server, server.create_key(), "openai/failing+status=500", 25)
    before = receiver.wait(1)[0]
    server.kill()
    receiver.always = 204
    server.start()
    until(lambda: _sent(server))
    assert {hit.headers["webhook-id"] for hit in receiver.hits} == {before.headers["webhook-id"]}
    assert {hit.body for hit in receiver.hits} == {before.body}
    assert len(receiver.alerts()) == 1
    assert len(server.client.get("/api/v1/alerts").json()["items"]) == 1


def _sent(server: RunningServer) -> list[Any]:
    items = server.client.get("/api/v1/alerts/messages").json()["items"]
    return [each for each in items if each["state"] == "sent"]


def test_workers_evaluate_and_send_once_and_take_over(
    start_server: Callable[..., RunningServer], provider: ProviderServer, receiver: WebhookReceiver
) -> None:
    server = start_server(config(provider, receiver), env={"OPS_WEBHOOK": receiver.url}, workers=2)
    key = server.create_key()
    ask(server, key, "openai/failing+status=500", 40)
    receiver.wait(1)
    time.sleep(1.5)
    assert len(receiver.hits) == 1
    assert server.log().count("alerts_watching") == 1
    assert len(server.client.get("/api/v1/alerts").json()["items"]) == 1
    holder = _watcher(server)
    os.kill(holder, signal.SIGKILL)
    until(lambda: _watcher(server) != holder)
    time.sleep(1.5)
    assert len(receiver.hits) == 1


def _watcher(server: RunningServer) -> int:
    """The process that watches, by the last line of the log that says so."""
    lines = [line for line in server.log().splitlines() if "alerts_watching" in line]
    return int(lines[-1].partition('"holder":"')[2].split("/")[1])


def test_command_line_and_roles(
    start_server: Callable[..., RunningServer],
    provider: ProviderServer,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spend = '[alerts.rules.spend]\nmetric = "spend"\nabove = 0.0000001\nover = "1h"\nper = "tenant"\n'
    env = {"OPS_WEBHOOK": receiver.url}
    server = start_server(config(provider, receiver, spend), env=env)
    acme, globex = server.create_key(tenant="acme"), server.create_key(tenant="globex")
    ask(server, acme, "openai/priced", 2)
    ask(server, globex, "openai/priced", 2)
    until(lambda: len(server.client.get("/api/v1/alerts").json()["items"]) == 2)
    with httpx2.Client(
        base_url=server.url, headers={"authorization": f"Bearer {acme}"}, trust_env=False
    ) as member:
        (own,) = member.get("/api/v1/alerts").json()["items"]
        assert own["tenant"] == "acme"
        assert member.get("/api/v1/alerts", params={"tenant": "globex"}).status_code == 403
        other = server.client.get("/api/v1/alerts", params={"tenant": "globex"}).json()["items"][0]
        assert member.get(f"/api/v1/alerts/{other['id']}").status_code == 404
        assert member.get(f"/api/v1/alerts/{own['id']}").json()["messages"] == []
        for path in (f"{own['id']}/acknowledge", f"{own['id']}/silence", "test"):
            refused = member.post(f"/api/v1/alerts/{path}", json={"duration": "1h"})
            assert refused.status_code == 403
            assert refused.headers["content-type"] == "application/problem+json"
        assert member.get("/api/v1/alerts/messages").status_code == 403
    acknowledged = server.client.post(f"/api/v1/alerts/{own['id']}/acknowledge").json()
    assert acknowledged["acknowledged_by"] == "admin"
    silenced = server.client.post(f"/api/v1/alerts/{own['id']}/silence", json={"duration": "2h"})
    assert silenced.json()["subject"] == "tenant=acme"
    assert (
        server.client.get(f"/api/v1/alerts/{own['id']}").json()["silenced_until"] == silenced.json()["until"]
    )
    bad = server.client.post(f"/api/v1/alerts/{own['id']}/silence", json={"duration": "soon"})
    assert (bad.status_code, bad.json()["param"]) == (422, "duration")

    monkeypatch.chdir(server.folder)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str) -> tuple[int, str]:
        code = run(["alerts", *arguments])
        told = capsys.readouterr()
        return code, told.out + told.err

    listed = command("list")[1]
    assert "silenced" in listed
    assert "tenant=globex" in listed
    assert own["id"] in command("list", "--json", "--tenant", "acme")[1]
    assert "acknowledged  admin" in command("show", own["id"])[1]
    assert command("ack", other["id"])[0] == 0
    assert "Silent until" in command("silence", other["id"], "--for", "1d", "--whole-rule")[1]
    code, told = command("test", "ops")
    assert (code, "took the message" in told) == (0, True)
    assert receiver.hits[-1].document["type"] == "mainspring.test"
    receiver.always = 403
    code, told = command("test", "ops")
    assert (code, "did not take it: status 403" in told) == (1, True)
    assert "There is no alert" in command("show", "nothing")[1]


def test_budget_that_is_nearly_spent_is_an_alert_without_any_configuration(
    start_server: Callable[..., RunningServer], provider: ProviderServer
) -> None:
    server = start_server(provider_config(provider.url))
    key = server.create_key(tenant="acme")
    made = server.client.post(
        "/api/v1/budgets", json={"scope": {"tenant": "acme"}, "usd": 0.0006, "window": "total"}
    )
    assert made.status_code == 201, made.text
    # An answer of 20 + 3 tokens costs $0.000026.
    ask(server, key, "openai/priced", 20, max_tokens=3)
    found = until(lambda: server.client.get("/api/v1/alerts", params={"tenant": "acme"}).json()["items"])
    assert [(each["rule"], each["metric"], each["tenant"]) for each in found] == [
        ("budgets", "budget", "acme")
    ]
    assert made.json()["id"] in found[0]["subject"]
    assert "% of the budget of tenant=acme is spent: $0.000" in found[0]["summary"]
    assert found[0]["severity"] in {"warning", "info"}
