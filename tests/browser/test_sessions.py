"""Signing in and out, what a session may do, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from playwright.sync_api import expect
from tests.browser.conftest import sign_in
from tests.support.server import RunningServer, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from tests.browser.conftest import Site


def test_every_page_asks_who_is_there_and_goes_on_afterwards(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/ledger?status=error")
    expect(page).to_have_title("Sign in · Mainspring")
    page.get_by_label("Key").fill(site.member)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/ledger?status=error")


def test_a_wrong_key_is_told_and_stays_outside(visit: Callable[..., Page]) -> None:
    page = visit("/sign-in", expect=("401",))
    page.get_by_label("Key").fill("ms-wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known. Check that all of it was copied")
    expect(page.get_by_role("alert")).not_to_contain_text("Authorization")
    assert page.context.cookies()[0]["name"] == "mainspring_sign_in"


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_is_not_the_key(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit("/", key=site.member)
    cookie = next(one for one in page.context.cookies() if one["name"] == "mainspring_console")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert cookie["path"] == "/console"
    assert site.member not in cookie["value"]
    assert page.evaluate("document.cookie") == ""


def test_signing_out_ends_it(site: Site, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, site, site.member)
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Mainspring")
    page.goto(f"{site.url}/ledger")
    expect(page).to_have_title("Sign in · Mainspring")
    context.close()


def test_a_revoked_key_ends_its_session_within_a_second(site: Site, browser: Browser) -> None:
    made = site.server.client.post("/api/v1/keys", json={"name": "short", "tenant": "acme"}).json()
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, site, made["key"])
    page.goto(f"{site.url}/ledger")
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("status")).to_contain_text("Live")
    assert site.server.client.delete(f"/api/v1/keys/{made['id']}").status_code < 300
    expect(page.get_by_role("status")).to_contain_text("session has ended")
    page.reload()
    expect(page).to_have_title("Sign in · Mainspring")
    context.close()


def test_a_member_sees_only_their_tenant(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/ledger", key=site.other, expect=("404",))
    expect(page.locator("#answers tr")).to_have_count(1)
    expect(page.get_by_role("link", name="Keys")).to_have_count(0)
    for path in (f"/ledger/{site.ids['whole']}", f"/ledger/{site.ids['image']}/images/1", "/keys"):
        answer = page.goto(site.url + path)
        assert answer is not None
        assert answer.status == 404
    page.goto(f"{site.url}/ledger?tenant=acme")
    expect(page.locator("#answers tr")).to_have_count(1)
    page.goto(f"{site.url}/")
    expect(page.locator(".stat", has_text="Requests").locator("b").first).to_have_text("1")


@pytest.mark.parametrize(
    "path", ["/sign-out", "/keys", "/keys/x/revoke", "/playground", "/ledger/x/feedback"]
)
def test_a_form_without_our_token_is_refused(site: Site, visit: Callable[..., Page], path: str) -> None:
    page = visit("/", key=site.server.admin_key)
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    form = {"name": "n", "tenant": "t", "model": "openai/test", "message": "m", "value": "1"}
    for token in ({}, {"csrf": "wrong"}):
        answer = httpx2.post(site.url + path, data=form | token, cookies=cookies, trust_env=False)
        assert answer.status_code == 403


def test_a_forged_or_foreign_cookie_is_nobody(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/", key=site.member)
    cookie = next(one for one in page.context.cookies() if one["name"] == "mainspring_console")["value"]
    key_id, expires, nonce, signature = cookie.split(".")
    forged = [
        "",
        "x",
        f"{key_id}.{int(expires) + 9}.{nonce}.{signature}",
        f"{key_id}.{expires}.{nonce}.",
        "ä.1.2.3",
    ]
    for value in forged:
        header = {"cookie": f"mainspring_console={value}".encode()}
        answer = httpx2.get(f"{site.url}/ledger", headers=header, trust_env=False)
        assert answer.status_code == 303
        assert "/sign-in" in answer.headers["location"]


def test_a_session_outlives_a_restart(tmp_path: Path, browser: Browser) -> None:
    with running(RunningServer(tmp_path / "again")) as server:
        page = browser.new_context().new_page()
        page.goto(f"{server.url}/console")
        page.get_by_label("Key").fill(server.admin_key)
        page.keyboard.press("Enter")
        expect(page).to_have_title("Overview · Mainspring")
        expect(page.locator("#curl")).to_contain_text(f"{server.url}/v1/chat/completions")
        server.restart()
        page.reload()
        expect(page).to_have_title("Overview · Mainspring")
        page.context.close()


def test_next_leads_nowhere_else(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/sign-in?next=//example.com/")
    page.get_by_label("Key").fill(site.member)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/")
