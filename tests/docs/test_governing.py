"""What README says about governing is so: its configuration, as it stands, in a real server between real connections."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.conversations import user
from tests.support.documents import ROOT, blocks
from tests.support.receivers import WebhookReceiver
from tests.support.server import RunningServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.provider_server import ProviderServer

#: The price table is about the providers themselves, not about one on loopback.
PRICES = "".join(
    f'\n[models."{model}"]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n'
    for model in ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5")
)


class Governed:
    """The server, what is around it, and one member's key."""

    def __init__(
        self, server: RunningServer, provider: ProviderServer, hooks: WebhookReceiver, env: dict[str, str]
    ) -> None:
        self.server = server
        self.provider = provider
        self.hooks = hooks
        self._env = env
        self.headers = {"authorization": f"Bearer {server.create_key(tenant='acme')}"}

    def ask(self, **more: Any) -> httpx2.Response:
        body = {"model": "default", "messages": user("hi"), "max_tokens": 20, **more}
        return httpx2.post(
            f"{self.server.url}/v1/chat/completions",
            json=body,
            headers=self.headers,
            timeout=60,
            trust_env=False,
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mainspring", *arguments],
            cwd=self.server.folder, env=self._env, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[Governed]:
    (block,) = (b for b in blocks("toml", pages=[ROOT / "README.md"]) if "[routes.default]" in b.text)
    folder: Path = tmp_path_factory.mktemp("governed")
    with WebhookReceiver() as hooks:
        env = {
            "OPENAI_API_KEY": "sk-upstream-openai",
            "OPENAI_BASE_URL": f"{provider.url}/v1",
            "ANTHROPIC_API_KEY": "sk-upstream-anthropic",
            "ANTHROPIC_BASE_URL": provider.url,
            "SLACK_WEBHOOK_URL": hooks.url,
        }
        server = RunningServer(folder, block.text + PRICES, env=env)
        with running(server):
            kept = {"PATH": "/usr/bin:/bin", "MAINSPRING_ADMIN_KEY": server.admin_key}
            yield Governed(server, provider, hooks, {**env, **kept})


def test_the_next_target_answers(governed: Governed) -> None:
    governed.provider.script("gpt-5-mini", "status=500", "status=500", "status=500")
    answer = governed.ask(user="bob")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-mainspring-provider"] == "anthropic"
    assert int(answer.headers["x-mainspring-attempts"]) >= 2


def test_the_message_answers_when_nobody_does(governed: Governed) -> None:
    governed.provider.behave("status=500")
    try:
        answer = governed.ask(user="cleo")
    finally:
        governed.provider.behave("")
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"].startswith("We are busy right now.")
    assert answer.headers["x-mainspring-degraded"] == "message"


def test_a_user_is_held_to_ten_requests_a_second(governed: Governed) -> None:
    with ThreadPoolExecutor(20) as callers:
        statuses = list(callers.map(lambda _: governed.ask(user="eager").status_code, range(60)))
    assert set(statuses) == {200, 429}
    assert governed.ask(user="patient").headers["x-ratelimit-limit-requests"] == "10"


def test_a_budget_holds_and_check_compares_it(governed: Governed) -> None:
    made = governed.command("budgets", "create", "tenant=acme", "--usd", "0.001", "--window", "day", "--json")
    assert made.returncode == 0, made.stderr
    statuses = [governed.ask(user=f"u{number}").status_code for number in range(100)]
    assert statuses[0] == 200, governed.ask().text
    assert statuses[-1] == 429
    budget = json.loads(governed.command("budgets", "list", "--json").stdout)["items"][0]
    assert 0 < float(budget["spent_usd"]) <= 0.001
    checked = governed.command("check", "--json")
    found = {item["subject"]: item for item in json.loads(checked.stdout)["items"]}
    assert found["budgets"]["works"] is True, checked.stdout
    assert found["alerts to ops"]["works"] is True
    assert found["route default"]["works"] is True
    assert "8080" in found["server"]["detail"]  # it depends on the machine whether that is free


def test_the_channel_can_be_tried(governed: Governed) -> None:
    tried = governed.command("alerts", "test", "ops")
    assert tried.returncode == 0, tried.stderr
    message = tried.stdout.split()[-1].rstrip(".")
    assert any(message in hit.body.decode() for hit in governed.hooks.hits), tried.stdout
