"""The overview, the ledger and the page of an answer, against what the management API says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest
from playwright.sync_api import expect
from tests.browser.conftest import ARABIC, QUESTION, TOOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Site


def test_the_overview_counts_what_the_ledger_has(site: Site, visit: Callable[..., Page]) -> None:
    rows = site.server.rows(tenant="globex")
    page = visit("/?range=1h", key=site.other)
    expect(page.locator(".stat", has_text="Requests").locator("b").first).to_have_text(str(len(rows)))
    charts = page.locator("svg.outer[role=img]")
    expect(charts).to_have_count(4)
    for chart in charts.all():
        assert chart.evaluate("(svg) => svg.querySelector('title').textContent").endswith("over time")
        assert "desc" in chart.inner_html()
    page.get_by_text("The figures as a table").click()
    cells = page.locator("#figures tbody tr td:nth-child(2)").all_inner_texts()
    assert len(cells) == 60
    assert sum(int(cell) for cell in cells) == len(rows)


def test_the_pointer_reads_out_a_chart(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/?range=1h", key=site.server.admin_key)
    chart = page.locator("svg.outer").first
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 60)
    expect(page.locator(".tip")).to_contain_text("Answered")
    cursor = page.locator(".cursor").bounding_box()
    assert cursor is not None
    assert abs(cursor["x"] - box["x"] - box["width"]) < 20
    page.mouse.move(5, 5)
    expect(page.locator(".tip")).to_have_count(0)


def test_a_busy_name_leads_to_its_rows(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/", key=site.server.admin_key)
    page.get_by_role("region", name="Users").or_(page.locator("section", has_text="Users")).get_by_role(
        "link", name="u_bulk"
    ).click()
    expect(page.get_by_label("User")).to_have_value("u_bulk")
    expect(page.locator("#answers tr")).to_have_count(50)


def test_the_ledger_pages_by_key(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/ledger?user=u_bulk", key=site.server.admin_key)
    first = page.locator("#answers a").evaluate_all("links => links.map((link) => link.href)")
    page.get_by_role("link", name="Older").click()
    second = page.locator("#answers a").evaluate_all("links => links.map((link) => link.href)")
    assert len(first) == 50
    assert len(second) == 5
    assert not set(first) & set(second)
    page.get_by_role("link", name="Newest").click()
    assert page.locator("#answers a").evaluate_all("links => links.map((link) => link.href)") == first


@pytest.mark.parametrize("scripts", [True, False])
def test_the_ledger_filters(site: Site, visit: Callable[..., Page], scripts: bool) -> None:
    page = visit("/ledger", key=site.server.admin_key, java_script_enabled=scripts)
    page.get_by_label("Provider").fill("anthropic")
    page.get_by_role("textbox", name="Tenant").fill("acme")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_label("Provider")).to_have_value("anthropic")
    expected = site.server.rows(provider="anthropic", tenant="acme")
    links = (
        page.locator("#answers a").evaluate_all("links => links.map((link) => link.href)")
        if scripts
        else None
    )
    expect(page.locator("#answers tr")).to_have_count(len(expected))
    if links is not None:
        assert [link.rsplit("/", 1)[1] for link in links] == [row["id"] for row in expected]
    page.get_by_label("Status").select_option("cut")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#answers tr")).to_have_count(50)


def test_odd_filters_harm_nobody(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/", key=site.member)
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    for query in ("status=x", "time=x", "after=x", "user=%00", "model=%ff", "range=x", "user=" + "x" * 5000):
        for path in ("/ledger", "/"):
            answer = httpx2.get(f"{site.url}{path}?{query}", cookies=cookies, trust_env=False)
            assert answer.status_code in {200, 400}, query


def test_the_tail_shows_answers_as_they_are_given(site: Site, visit: Callable[..., Page]) -> None:
    page = visit("/ledger?feature=tail-test", key=site.member)
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    with page.expect_response(re.compile("/ledger/tail")):
        page.get_by_role("button", name="Live").click()
    page.wait_for_timeout(400)
    for feature in ("tail-test", "something-else", "tail-test"):
        headers = {"authorization": f"Bearer {site.member}", "x-mainspring-feature": feature}
        body = {"model": "openai/test", "messages": [{"role": "user", "content": "<b>live</b>"}]}
        url = f"{site.server.url}/v1/chat/completions"
        assert httpx2.post(url, json=body, headers=headers, trust_env=False).status_code == 200
    expect(page.locator("#answers tr")).to_have_count(2)
    expect(page.locator("#answers tr").first).to_contain_text("tail-test")
    expect(page.get_by_role("button", name="Live · 2 new")).to_have_attribute("aria-pressed", "true")
    page.locator("#answers a").first.click()
    expect(page.get_by_text("<b>live</b>").first).to_be_visible()


@pytest.mark.parametrize("kind", ["whole", "stream", "messages", "responses"])
def test_an_answer_shows_question_answer_and_what_it_took(
    site: Site, visit: Callable[..., Page], kind: str
) -> None:
    row = site.server.row(site.ids[kind])
    page = visit(f"/ledger/{row['id']}", key=site.member)
    expect(page.get_by_role("region", name="Asked")).to_contain_text(QUESTION)
    said = page.get_by_role("region", name="Answered").locator(".r-assistant .said")
    expect(said).to_contain_text("4471")
    facts = page.get_by_role("region", name="Facts")
    for name in ("provider", "model", "tenant", "feature"):
        expect(facts).to_contain_text(row[name])
    tokens = page.locator(".stat", has_text="Tokens")
    expect(tokens).to_contain_text(str(row["output_tokens"]))
    expect(page.get_by_role("img", name="Timing")).to_contain_text("Answered in")
    page.get_by_text("Raw request").click()
    expect(page.get_by_role("region", name="Raw request")).to_contain_text(QUESTION)
    answer = page.context.request.get(f"{site.url}/ledger/{row['id']}/response.txt")
    assert answer.ok
    assert answer.headers["content-type"].startswith("text/plain")


def test_images_of_a_request_are_shown_and_others_are_not_fetched(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(f"/ledger/{site.ids['image']}", key=site.member)
    image = page.get_by_role("img", name="Image 1 of the request")
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("naturalWidth", 8)
    expect(page.locator(".note")).to_contain_text("https://example.com/far.png not fetched")
    expect(page.locator("img")).to_have_count(1)


def test_tool_calls_are_put_together_from_a_stream(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/ledger/{site.ids['tool']}", key=site.member)
    call = page.get_by_role("region", name="Answered").locator(".call")
    expect(call).to_contain_text(TOOL["function"]["name"])
    page.get_by_text("1 tool offered").click()
    expect(page.get_by_text("Find an order.", exact=True)).to_be_visible()


def test_what_went_wrong_is_said(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/ledger/{site.ids['refused']}", key=site.member)
    expect(page.locator("h1")).to_contain_text("400")
    expect(page.locator(".notice.bad")).to_contain_text("refused")
    page.goto(f"{site.url}/ledger/{site.ids['cut']}")
    expect(page.locator("h1")).to_contain_text("cut")
    expect(page.locator(".notice.warn")).to_be_visible()
    expect(page.get_by_role("table", name="Attempts").locator("tbody tr")).to_have_count(1)


def test_a_long_conversation_is_cut_and_can_be_had_whole(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/ledger/{site.ids['long']}", key=site.member)
    page.get_by_role("link", name="more characters").first.click()
    expect(page.get_by_role("link", name="more characters")).to_have_count(0)
    assert len(page.locator(".said").first.inner_text()) > 190_000


def test_feedback_is_kept_with_the_answer(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(f"/ledger/{site.ids['stream']}", key=site.member, java_script_enabled=False)
    page.get_by_role("button", name="Helpful", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    page.get_by_text("Say more").click()
    page.get_by_role("textbox", name="Name").fill("accuracy")
    page.get_by_label("Value").fill("4.5")
    page.get_by_label("Comment").fill("Nearly <right>.")
    page.get_by_role("button", name="Save").click()
    feedback = page.locator("#feedback")
    expect(feedback).to_contain_text("helpful yes")
    expect(feedback).to_contain_text("accuracy 4.5")
    expect(feedback).to_contain_text("Nearly <right>.")


def test_the_configuration_of_an_answer_is_one_click_away(site: Site, visit: Callable[..., Page]) -> None:
    row = site.server.row(site.ids["whole"])
    page = visit(f"/ledger/{row['id']}", key=site.server.admin_key)
    address = page.get_by_role("link", name=row["config_hash"]).get_attribute("href")
    text = page.context.request.get(f"{site.server.url}{address}").text()
    assert "quick-first" in text
    assert "sk-upstream" not in text


def test_a_text_runs_in_its_own_direction(site: Site, visit: Callable[..., Page]) -> None:
    """The full stop of an Arabic sentence stands at its left end, and the sentence at the right of its column."""
    page = visit(f"/ledger/{site.ids['arabic']}", key=site.server.admin_key)
    said = page.locator(".r-user .said")
    expect(said).to_have_text(ARABIC)
    left, first, last, right = said.evaluate(
        """(element) => {
          const text = element.firstChild, box = element.getBoundingClientRect();
          const at = (index) => {
            const range = document.createRange();
            range.setStart(text, index);
            range.setEnd(text, index + 1);
            return range.getBoundingClientRect().left;
          };
          return [box.left, at(0), at(text.length - 1), box.right];
        }"""
    )
    assert left < last < first < right
    assert right - first < 20
