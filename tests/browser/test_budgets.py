"""The pages of budgets: made, looked at, changed and deleted without JavaScript; members only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Site


def test_make_change_and_delete_without_javascript(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/budgets", key=site.server.admin_key, java_script_enabled=False)
    page.get_by_label("Which one").fill("acme")
    page.get_by_label("Dollars").fill("$12.50")
    page.get_by_label("Name").fill("from the form")
    page.get_by_role("button", name="Make the budget").click()
    expect(page.get_by_role("status")).to_contain_text("made")
    row = page.get_by_role("row").filter(has_text="from the form")
    expect(row).to_contain_text("of $12.50")
    row.get_by_role("link").click()
    expect(page.get_by_role("note")).to_contain_text("Too little has happened")
    page.get_by_label("Dollars").fill("20")
    page.get_by_label("At the cap").select_option("step_down")
    page.locator("[name=step_down]").select_option("default")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_role("status")).to_contain_text("changed")
    expect(page.get_by_role("main")).to_contain_text("of $20.00")
    expect(page.get_by_role("button", name="Delete the budget")).not_to_be_visible()
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Delete the budget").click()
    expect(page.get_by_role("status")).to_contain_text("deleted")
    expect(page.get_by_text("from the form")).to_have_count(0)


def test_what_cannot_be_is_said_in_a_sentence(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/budgets", key=site.server.admin_key, expect=("400",))
    page.get_by_label("Which one").fill("acme")
    page.get_by_label("Dollars").fill("-1")
    page.get_by_role("button", name="Make the budget").click()
    expect(page.get_by_role("main")).to_contain_text("A cap cannot be negative.")


def test_members_see_their_own_and_no_forms(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/budgets/{site.ids['budget']}", key=site.member)
    expect(page.get_by_role("heading", level=1)).to_contain_text("acme, monthly")
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    page = visit(f"/budgets/{site.ids['budget']}", key=site.other, expect=("404",))
    expect(page.get_by_role("main")).to_contain_text("There is no budget")
