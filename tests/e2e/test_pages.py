"""Each page over a finished run, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Served
from tests.e2e.steps import settle
from ui.state import PAGES

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", PAGES)
def test_opens(served: Served, page: Page, name: str) -> None:
    page.goto(served.url("" if name == "home" else name))
    expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_be_visible()
    settle(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
