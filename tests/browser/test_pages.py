"""What holds for every page: accessible in light and dark, light in weight, one column on a phone, no foreign code."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Request
    from tests.browser.conftest import Site

PAGES = [
    "/sign-in",
    "/",
    "/?range=1h",
    "/?range=30d",
    "/ledger",
    "/ledger?model=nothing",
    "/ledger/{image}",
    "/ledger/{tool}",
    "/ledger/{long}",
    "/ledger/{cut}",
    "/alerts",
    "/alerts?done=failed",
    "/budgets",
    "/budgets/{budget}",
    "/keys",
    "/limits",
    "/providers",
    "/playground",
    "/nowhere",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_light_accessible_and_fits(site: Site, visit: Callable[..., Page], path: str) -> None:
    key = None if path == "/sign-in" else site.server.admin_key
    sizes: list[int] = []

    def weigh(request: Request) -> None:
        if request.resource_type != "image":
            sizes.append(request.sizes()["responseBodySize"])

    page = visit(None, key=key, expect=("404",) if path == "/nowhere" else (), reduced_motion="reduce")
    page.on("requestfinished", weigh)
    page.goto(site.url + path.format(**site.ids), wait_until="networkidle")
    assert len(sizes) <= 4, "the page, its style, its script, its icon"
    assert sum(sizes) < 50_000

    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert not found, [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]

    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = false; })")
    for width in (360, 390, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


def test_the_reference_of_the_api_is_accessible_and_fits(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(None)
    page.goto(f"{site.server.url}/docs")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert not found, [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_without_scripts(site: Site, visit: Callable[..., Page], path: str) -> None:
    key = None if path == "/sign-in" else site.server.admin_key
    expected = ("404",) if path == "/nowhere" else ()
    page = visit(path.format(**site.ids), key=key, expect=expected, java_script_enabled=False)
    expect(page.locator("h1")).to_have_count(1)
    expect(page.locator("[hidden]:visible")).to_have_count(0)


def test_headers_and_markup_leave_no_room_for_foreign_code(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/ledger/{site.ids['hostile']}", key=site.server.admin_key)
    answer = page.reload()
    assert answer is not None
    headers = answer.all_headers()
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    text = answer.text()
    assert not re.search(r"\son\w+=|\sstyle=|<style", text.replace("onerror=alert(1)&gt;", ""))
    assert len(re.findall(r"<script", text)) == 1
    assert page.title() != "owned"
    expect(page.get_by_text("document.title='owned'").first).to_be_visible()


def test_static_files_are_ours_compressed_and_kept(site: Site) -> None:
    plain = httpx2.get(
        f"{site.url}/static/console.js", headers={"accept-encoding": "identity"}, trust_env=False
    )
    with httpx2.stream("GET", f"{site.url}/static/console.js", trust_env=False) as packed:
        assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content
    assert "immutable" in plain.headers["cache-control"]
    assert httpx2.get(f"{site.url}/static/..%2fapp.py", trust_env=False).status_code == 404
    assert httpx2.get(f"{site.url}/static/app.py", trust_env=False).status_code == 404


def test_the_keyboard_reaches_the_content_first(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/", key=site.member)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
