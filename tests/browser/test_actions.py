"""What can be done in the console: make and end keys, and ask models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Site


def _works(site: Site, secret: str) -> bool:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx2.get(f"{site.server.url}/v1/models", headers=headers, trust_env=False).status_code == 200


@pytest.mark.parametrize("scripts", [True, False])
def test_a_key_is_made_used_rotated_and_revoked(
    site: Site, visit: Callable[..., Page], scripts: bool
) -> None:
    page = visit("/keys", key=site.server.admin_key, java_script_enabled=scripts)
    name = f"robot {scripts}"
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("textbox", name="Tenant").fill("acme")
    page.get_by_role("textbox", name="Models").fill("default, openai/test")
    page.get_by_label("Ends").select_option("30")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#secret").inner_text()
    assert re.fullmatch(r"ms-[\w-]{40}", secret)
    assert _works(site, secret)

    page.get_by_role("link", name="I have copied it").click()
    assert secret not in page.content()
    row = page.locator("tbody tr", has_text=name)
    expect(row).to_contain_text("default, openai/test")
    row.get_by_text("Change").click()
    row.get_by_label("Old secret").select_option("0")
    row.get_by_role("button", name="Rotate").click()
    successor = page.locator("#secret").inner_text()
    assert _works(site, successor)
    assert not _works(site, secret)

    page.get_by_role("link", name="I have copied it").click()
    row = page.locator("tbody tr", has_text=name).first
    row.get_by_text("Change").click()
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_contain_text("revoked")
    expect(page.locator("tbody tr", has_text=name).first).to_contain_text("revoked")
    assert not _works(site, successor)


def test_a_key_is_made_with_limits_of_its_own(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/keys", key=site.server.admin_key)
    page.get_by_role("textbox", name="Name").fill("metered")
    page.get_by_role("textbox", name="Tenant").fill("acme")
    page.get_by_text("Limits of its own").click()
    page.get_by_label("Requests a second").fill("2.5")
    page.get_by_label("Tokens a minute").fill("20,000")
    page.get_by_label("Requests at once").fill("3")
    page.get_by_label("Dollars", exact=False).first.fill("$5")
    page.get_by_label("Window of the dollars").select_option("month")
    page.get_by_role("button", name="Make the key").click()
    page.get_by_role("link", name="I have copied it").click()
    row = page.locator("tbody tr", has_text="metered")
    expect(row).to_contain_text("2.5 requests a second · 20,000 tokens a minute · 3 at once · $5 each month")
    (key,) = [
        key for key in site.server.client.get("/api/v1/keys").json()["items"] if key["name"] == "metered"
    ]
    assert (key["rps"], key["tokens_per_minute"], key["concurrency"]) == (2.5, 20_000, 3)
    budgets = site.server.client.get("/api/v1/budgets").json()["items"]
    assert [(one["usd"], one["window"]) for one in budgets if one["scope"].get("key") == key["id"]] == [
        (5.0, "month")
    ]


@pytest.mark.parametrize(
    ("label", "text"), [("Requests a second", "many"), ("Tokens a minute", "0.5"), ("Requests at once", "-1")]
)
def test_a_limit_that_is_none_is_explained(
    site: Site, visit: Callable[..., Page], label: str, text: str
) -> None:
    page = visit("/keys", key=site.server.admin_key, expect=("400",))
    page.get_by_role("textbox", name="Name").fill("never")
    page.get_by_role("textbox", name="Tenant").fill("acme")
    page.get_by_text("Limits of its own").click()
    page.get_by_label(label).fill(text)
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("h1")).to_contain_text(label)


def test_a_form_that_makes_no_sense_is_explained(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/keys", key=site.server.admin_key, expect=("400",))
    page.get_by_role("textbox", name="Name").fill(" ")
    page.get_by_role("textbox", name="Tenant").fill(" ")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("h1")).to_contain_text("needs a name")


def test_the_playground_streams_word_by_word(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/playground", key=site.member)
    page.get_by_label("Model or route").fill("openai/slow+words=40+gap=0.03")
    page.get_by_label("System prompt").fill("Be slow.")
    page.get_by_label("Max tokens").fill("100")
    page.get_by_label("Message").fill("Count, please.")
    page.keyboard.press("Control+Enter")
    said = page.locator(".r-assistant .said")
    expect(said).to_contain_text(re.compile(r"\w+ \w+"))
    early = len(said.inner_text())
    expect(page.locator(".facts-line")).to_be_visible(timeout=10_000)
    assert early < len(said.inner_text())
    expect(page.locator(".facts-line")).to_contain_text("tokens in")

    page.get_by_label("Model or route").fill("openai/test")
    page.get_by_label("Message").fill("And then?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".facts-line")).to_have_count(2)
    found = Axe().run(page).response["violations"]
    assert not found, [one["id"] for one in found]
    page.get_by_role("link", name="In the ledger").last.click()
    asked = page.get_by_role("region", name="Asked")
    expect(asked.locator(".turn")).to_have_count(4)
    expect(asked).to_contain_text("Count, please.")
    expect(page.get_by_role("region", name="Facts")).to_contain_text("acme")
    expect(page.get_by_role("region", name="Facts")).to_contain_text("playground")


def test_the_playground_answers_without_scripts(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/playground", key=site.member, java_script_enabled=False)
    for number, question in enumerate(("First thing", "Second thing"), 1):
        page.get_by_label("Model or route").fill("openai/priced")
        page.get_by_label("Message").fill(question)
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".turn")).to_have_count(2 * number)
        expect(page.locator(".r-assistant .said").last).to_contain_text(question)
    expect(page.locator(".facts-line")).to_contain_text("$0.0000")
    page.get_by_role("link", name="In the ledger").click()
    expect(page.get_by_role("region", name="Asked").locator(".turn")).to_have_count(3)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_playground_says_why_it_got_no_answer(
    site: Site, visit: Callable[..., Page], scripts: bool
) -> None:
    complaints = ("status of 4", "status of 5")
    page = visit("/playground", key=site.member, java_script_enabled=scripts, expect=complaints)
    for model, words in (("nothing/here", "no provider"), ("openai/no+status=429", "")):
        page.get_by_label("Model or route").fill(model)
        page.get_by_label("Message").fill("Anybody?")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_contain_text(words)
        expect(page.get_by_label("Message")).to_have_value("Anybody?")


def test_a_broken_stream_is_shown_as_broken(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/playground", key=site.member)
    page.get_by_label("Model or route").fill("openai/no+words=20+cut=content")
    page.get_by_label("Message").fill("Go on")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(".facts-line")).to_contain_text("cut")


def test_a_stopped_answer_is_stopped_at_the_provider_too(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/playground", key=site.member)
    page.get_by_label("Model or route").fill("openai/stopped+words=300+gap=0.05")
    page.get_by_label("Message").fill("Never mind")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".r-assistant .said")).to_contain_text(re.compile(r"\w+ \w+"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    rows = site.server.wait_rows(1, model="stopped+words=300+gap=0.05")
    assert rows[0]["status"] == 499
    expect(page.locator(".facts-line")).to_contain_text("left")


def test_a_key_may_ask_only_for_its_models(site: Site, visit: Callable[..., Page]) -> None:
    secret = site.server.create_key("narrow", "acme", models=["openai/test"])
    page = visit("/playground", key=secret, expect=("403",))
    expect(page.get_by_label("Model or route")).to_have_value("openai/test")
    page.get_by_label("Model or route").fill("openai/priced")
    page.get_by_label("Message").fill("Please")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("may not use")
