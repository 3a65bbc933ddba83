"""In a real browser: a server that others can reach asks for a log-in; a local one is not opened by a trick."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import Served, find_chromium, inside, serving
from tests.e2e.steps import MINUTE, settle
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus

pytestmark = pytest.mark.browser
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def opened_up(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app on all interfaces, with a token."""
    folder = tmp_path_factory.mktemp("opened-up")
    with inside(folder / "home"):
        run = add_consensus(make_run(make_dataset("signs")))
    more = {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0", "BACKDOOR_LENS_TOKEN": TOKEN}
    with serving(folder / "home", folder / "server.log", **more) as address:
        yield Served(address, folder / "home", run)


def log_in(page: Page, name: str, token: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_a_link_leads_through_the_log_in_to_its_page(page: Page, opened_up: Served) -> None:
    page.goto(opened_up.url("review"))  # the very first visit, which Streamlit answers by the page alone
    token, navigation = page.get_by_label("Token"), page.get_by_test_id("stSidebarNav")
    expect(token).to_be_visible(timeout=MINUTE)
    expect(navigation).to_have_count(0)
    expect(page.get_by_text("signs")).to_have_count(0)
    log_in(page, "Ann", "wrong-horse-battery")
    expect(page.get_by_text("That is not the token")).to_be_visible(timeout=MINUTE)
    log_in(page, "Ann", TOKEN)
    reviewer = page.get_by_label("Reviewer", exact=True)
    expect(reviewer).to_have_value("Ann", timeout=MINUTE)
    expect(reviewer).to_be_disabled()
    page.reload()
    expect(token).to_be_visible(timeout=MINUTE)  # a log-in ends with its tab
    log_in(page, "Ann", TOKEN)
    expect(reviewer).to_be_visible(timeout=MINUTE)
    settle(page)
    page.get_by_role("button", name="Log out").click()
    expect(token).to_be_visible(timeout=MINUTE)
    expect(navigation).to_have_count(0, timeout=MINUTE)


def test_a_name_that_was_made_to_lead_here_opens_nothing(browser: Browser, app: str) -> None:
    """DNS rebinding: to the browser, a page of evil.example and this server are of one origin then."""
    rules = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    chromium = browser.browser_type.launch(executable_path=find_chromium(), args=rules)
    try:
        page = chromium.new_page()
        page.goto(app.replace("localhost", "evil.example"))
        expect(page.get_by_text("opens only under a name of this machine")).to_be_visible(timeout=MINUTE)
        expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)
        expect(page.get_by_text("Open the demo")).to_have_count(0)
    finally:
        chromium.close()
