"""Providers in the console: how they are, and taking them out of use with a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Site


def test_a_provider_and_a_key_are_drained_and_taken_back(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/providers", key=site.server.admin_key, java_script_enabled=False)
    card = page.get_by_role("region", name="chatonly")
    expect(card.get_by_text("ready")).to_have_count(2)

    card.get_by_label("Take chatonly out of use").click()
    card.get_by_label("Why").first.fill("their <b>outage</b>")
    card.get_by_role("button", name="Take out of use").first.click()
    expect(page.get_by_role("status")).to_contain_text("out of use everywhere")
    expect(card.get_by_text("by admin")).to_contain_text("their <b>outage</b>")
    body = {"model": "chatonly/test", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {site.member}"}
    asked = httpx2.post(f"{site.server.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    assert asked.status_code == 503
    card.get_by_role("button", name="Take chatonly back into use").click()
    expect(page.get_by_role("status")).to_contain_text("in use again")

    card.get_by_label("Take the key key 1 out of use").click()
    card.locator("tr").get_by_role("button", name="Take out of use").click()
    expect(card.get_by_text("out of use", exact=True)).to_have_count(2)
    card.get_by_role("button", name="Take the key key 1 back into use").click()
    expect(card.get_by_text("ready")).to_have_count(2)
    assert "sk-upstream" not in page.content()


def test_members_have_no_such_page(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/providers", key=site.member, expect=("404",))
    expect(page.get_by_role("heading", level=1)).to_contain_text("no such page")
    expect(page.get_by_role("link", name="Providers")).to_have_count(0)
