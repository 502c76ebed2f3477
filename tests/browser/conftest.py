"""A real Chromium, a real server with some history, and pages that complain when the browser complains."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest
from playwright.sync_api import expect, sync_playwright
from tests.support.server import RunningServer, provider_config, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page
    from tests.support.provider_server import ProviderServer

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: One rule that finds something, one whose alerts are a tenant's, and a channel that nobody listens at.
WATCHED = """
[alerts]
every = "1s"
[alerts.channels.nobody]
kind = "slack"
url = "http://127.0.0.1:9/hook"
[alerts.rules.quiet]
metric = "requests"
below = 1
feature = "night-batch"
severity = "critical"
[alerts.rules.spend]
metric = "spend"
above = 0.0000001
per = "tenant"
over = "1h"
"""
#: On a busy machine a page may take its time.
expect.set_options(timeout=30_000)
QUESTION = "Where is my order 4471?"
#: Right to left, with a full stop and Latin letters inside, which is where a wrong direction shows.
ARABIC = "\u0623\u064a\u0646 \u0637\u0644\u0628\u064a (Python 3.11)\u061f \u0644\u0645 \u064a\u0635\u0644."
TOOL = {
    "type": "function",
    "function": {"name": "lookup_order", "description": "Find an order.", "parameters": {"type": "object"}},
}


class Site(NamedTuple):
    """The server under test, two keys of members, and the ids of answers by what is special about them."""

    server: RunningServer
    member: str
    other: str
    ids: dict[str, str]

    @property
    def url(self) -> str:
        """Where the console is."""
        return f"{self.server.url}/console"


@pytest.fixture(scope="module")  # Playwright's loop runs while it is open: no other file's async tests could
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; nothing is downloaded."""
    path = (
        os.environ.get("MAINSPRING_TEST_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
    )
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[Site]:
    """A server that has answered in several ways for two tenants."""
    folder = tmp_path_factory.mktemp("console")
    unlimited = {"MAINSPRING_LIMITS__RPS_PER_USER": "0"}  # one user asks much in a short time
    with running(RunningServer(folder, provider_config(provider.url) + WATCHED, env=unlimited)) as server:
        member, other = server.create_key("shop", "acme"), server.create_key("lab", "globex")
        ids = {name: _ask(server, member, path, body) for name, (path, body) in _history().items()}
        ids["other"] = _ask(
            server, other, "/v1/chat/completions", _chat("openai/priced", "Hello from globex")
        )
        for number in range(55):
            _ask(
                server,
                member,
                "/v1/chat/completions",
                _chat("openai/test", f"Number {number}", user="u_bulk"),
            )
        server.wait_rows(len(ids) + 55)
        budget = {"scope": {"tenant": "acme"}, "tokens": 10**9, "window": "month", "name": "acme, monthly"}
        ids["budget"] = server.client.post("/api/v1/budgets", json=budget).json()["id"]
        yield Site(server, member, other, ids)


@pytest.fixture(scope="module")
def sessions(site: Site, browser: Browser) -> Callable[[str], Any]:
    """The cookies of a session, by key; signed in through the form, once for each key."""
    known: dict[str, Any] = {}

    def signed_in(key: str) -> Any:
        if key not in known:
            context = browser.new_context()
            sign_in(context.new_page(), site, key)
            known[key] = context.storage_state()
            context.close()
        return known[key]

    return signed_in


@pytest.fixture
def visit(site: Site, browser: Browser, sessions: Callable[[str], Any]) -> Iterator[Callable[..., Page]]:
    """A factory of pages: `visit(path, key=None, **context options)`; without a key nobody is signed in, without a
    path the page is still blank.

    At the end of the test every page must have been free of script errors, of refused resources and of anything that
    the content security policy had to stop. `expect` lists texts of complaints that belong to the test.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    expected: list[str] = []

    def go(path: str | None, *, key: str | None = None, expect: tuple[str, ...] = (), **options: Any) -> Page:
        expected.extend(expect)
        state = sessions(key) if key is not None else None
        context = browser.new_context(storage_state=state, **options)
        context.set_default_timeout(90_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"pageerror: {error}"))
        if path is not None:
            page.goto(site.url + path)
        return page

    yield go
    for context in contexts:
        context.close()
    unexpected = [text for text in complaints if not any(known in text for known in expected)]
    assert not unexpected, unexpected


def sign_in(page: Page, site: Site, key: str) -> None:
    """Sign in through the form."""
    page.goto(f"{site.url}/sign-in")
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.url}/")


def picture() -> str:
    """A small PNG as a data address."""
    rows = b"".join(b"\0" + bytes((40, 120, 200)) * 8 for _ in range(8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _chat(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def _history() -> dict[str, tuple[str, dict[str, Any]]]:
    """One request for each thing that a page must be able to show."""
    chat = "/v1/chat/completions"
    image = {"type": "image_url", "image_url": {"url": picture()}}
    far = {"type": "image_url", "image_url": {"url": "https://example.com/far.png"}}
    hostile = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}, image, far]},
    ]
    claude = {
        "model": "anthropic/priced",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    return {
        "whole": (chat, _chat("default", QUESTION, user="u_1")),
        "stream": (chat, _chat("openai/priced", QUESTION, user="u_1", stream=True)),
        "image": (chat, {"model": "openai/priced", "messages": conversation, "user": "u_2"}),
        "arabic": (chat, _chat("openai/priced", ARABIC, user="\u0645\u0633\u062a\u062e\u062f\u0645")),
        "tool": (chat, _chat("openai/priced", QUESTION, tools=[TOOL], stream=True)),
        "hostile": (chat, _chat("openai/priced", hostile, user=hostile)),
        "long": (chat, _chat("openai/priced", "word " * 40_000)),
        "failover": (chat, _chat("pair", QUESTION)),
        "refused": (chat, _chat("openai/no+status=400", QUESTION)),
        "cut": (chat, _chat("openai/no+words=20+cut=content", QUESTION, stream=True)),
        "messages": ("/v1/messages", {**claude, "stream": True}),
        "responses": ("/v1/responses", {"model": "openai/priced", "input": QUESTION, "stream": True}),
        "embeddings": ("/v1/embeddings", {"model": "openai/test", "input": ["one", "two"]}),
    }


def _ask(server: RunningServer, key: str, path: str, body: dict[str, Any]) -> str:
    """The id of the answer, be it good or bad."""
    headers = {"authorization": f"Bearer {key}", "x-mainspring-feature": "support"}
    with httpx2.stream(
        "POST", server.url + path, json=body, headers=headers, timeout=60, trust_env=False
    ) as answer:
        for _ in answer.iter_bytes():
            pass
        return str(answer.headers["x-request-id"])
