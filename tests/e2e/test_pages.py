"""Each page over a finished run, in a real Chromium: in both themes, without an error, and checked by axe.

Pages are found in the folder, so that a new one is tested from its first day.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, expect

from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, becomes_still, photograph, settle
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from ui.state import PAGES

pytestmark = pytest.mark.browser

# Names of classes that would run something if they reached the page as markup.
MARKUP = (
    '<img src=x onerror="window.executed=1;alert(1)">',
    "<script>window.executed=1</script>",
    "[click](javascript:window.executed=1) <svg/onload=alert(1)>",
    "🚧" * 200 + "<iframe srcdoc='<script>parent.executed=1</script>'>",
)

# What axe finds in markup that Streamlit makes and that this project cannot mend: rule → parts of the elements' HTML.
STREAMLITS_OWN = {
    # The navigation's groups are <div>s between its <ul> and <li>s.
    "list": ('data-testid="stSidebarNavItems"',),
    "listitem": ("<li class=",),
}
GRAVE = ("serious", "critical")


def ours(found: dict[str, Any]) -> list[str]:
    """Grave violations but for Streamlit's own: rule, element and how to mend it."""
    return [
        f"{violation['id']}: {node['html'][:200]}\n  {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
        if not any(part in node["html"] for part in STREAMLITS_OWN.get(violation["id"], ()))
    ]


def grave(message: ConsoleMessage) -> bool:
    """An error, but for Streamlit's search for its server below a page's own address."""
    return message.type == "error" and "/_stcore/" not in message.location["url"]


@pytest.mark.parametrize("name", PAGES)
def test_opens_in_both_themes_and_axe_finds_nothing_grave(
    served: Served, page: Page, name: str, made_by_hand: Path | None
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if grave(message) else None)
    page.goto(served.url("" if name == "home" else name))
    expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_be_visible(timeout=MINUTE)
    settle(page)
    problems = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        becomes_still(page)
        expect(page.get_by_test_id("stApp")).to_have_css("color-scheme", theme)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        problems += [f"{theme}: {problem}" for problem in ours(Axe().run(page).response)]
        photograph(page, made_by_hand, f"page-{name}-{theme}")
    # On a projector, at 150 %: nothing is cut off at the side.
    page.set_viewport_size({"width": 853, "height": 533})
    becomes_still(page)
    wide = "e => e.scrollWidth - e.clientWidth"
    assert page.get_by_test_id("stMain").evaluate(wide) <= 0
    assert not problems, "\n".join(problems)
    assert not said


def test_names_of_classes_execute_nothing(served: Served, page: Page) -> None:
    with served.inside():
        run = add_consensus(make_run(make_dataset("markup", MARKUP)))
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for name in PAGES:
        page.goto(served.url("" if name == "home" else name, run=run.id))
        expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_be_visible(timeout=MINUTE)
        settle(page)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        assert page.evaluate("window.executed") is None, name
        assert page.locator("img[src=x], iframe[srcdoc], a[href^=javascript]").count() == 0, name
        assert not dialogs, name
