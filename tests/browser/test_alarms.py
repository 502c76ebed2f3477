"""The page of alerts: what is open is first and counted, and everything on it works without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Site

QUIET = "0 requests over 5m (below 1 request) for feature=night-batch"


def test_acknowledge_silence_and_test_without_javascript(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/alerts", key=site.server.admin_key, java_script_enabled=False)
    open_ones = page.get_by_role("region", name="Open")
    row = open_ones.get_by_role("row").filter(has_text=QUIET)
    expect(row).to_contain_text("critical")
    expect(page.get_by_role("link", name="Alerts")).to_contain_text("open")
    row.get_by_text("Act", exact=True).click()
    row.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("status")).to_have_text("Acknowledged: there are no reminders about it any more.")
    expect(row).to_contain_text("acknowledged by admin")
    row.get_by_text("Act", exact=True).click()
    row.get_by_label("Silent for").select_option("1 day")
    row.get_by_role("button", name="Silence").click()
    expect(page.get_by_role("status")).to_have_text("The silence is noted.")
    expect(row).to_contain_text("silent, ends")
    page.get_by_role("button", name="Send a test message to nobody").click()
    expect(page.get_by_role("status")).to_contain_text("did not take the test message")
    messages = page.get_by_role("region", name="Messages")
    expect(messages).to_contain_text("not reachable")
    expect(messages).to_contain_text("failed")


def test_member_sees_its_own_and_no_forms(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/alerts", key=site.member)
    expect(page.get_by_role("region", name="Open")).to_contain_text("tenant=acme")
    expect(page.get_by_text("night-batch")).to_have_count(0)
    expect(page.get_by_text("globex")).to_have_count(0)
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("region", name="Messages")).to_have_count(0)
    expect(page.get_by_role("link", name="Alerts")).to_contain_text("1")
