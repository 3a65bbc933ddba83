"""The Poison lab in a real Chromium: an attack is looked at and planted, and its trigger is tried on a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.data.store import open_dataset
from tests.e2e.conftest import Served, inside, serving
from tests.e2e.steps import MINUTE, becomes_still, photograph, settle
from tests.e2e.test_pages import ours
from tests.ui.conftest import make_dataset, make_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app over a clean data set, and a run of its poisoned copy."""
    folder = tmp_path_factory.mktemp("lab")
    with inside(folder / "home"):
        clean = make_dataset("vendor", truth=False)
        run = make_run(poison_dataset(clean, BadNets(size=3), rate=0.1, target=2, name="lab"))
    with serving(folder / "home", folder / "server.log") as address:
        yield Served(address, folder / "home", run)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def test_both_views_in_both_themes(lab: Served, page: Page, made_by_hand: Path | None) -> None:
    problems = []
    for view in ("make", "try"):
        page.goto(lab.url("lab", view=view))
        words = "Create the data set" if view == "make" else "How often does it work?"
        expect(page.get_by_text(words)).to_be_visible(timeout=MINUTE)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            becomes_still(page)
            problems += [f"{view} {theme}: {problem}" for problem in ours(Axe().run(page).response)]
            photograph(page, made_by_hand, f"lab-{view}-{theme}")
    assert not problems, "\n".join(problems)


def test_an_attack_is_planted(lab: Served, page: Page) -> None:
    page.goto(lab.url("lab"))
    expect(page.get_by_text("With the trigger").first).to_be_visible(timeout=MINUTE)
    choose(page, "Attack", "Blend")
    expect(page.get_by_text("A whole picture, faintly mixed into the image.")).to_be_visible()
    choose(page, "Target class", "stop")
    page.get_by_text("Train on it and scan it at once").click()
    settle(page)
    page.get_by_role("textbox", name="Name of the new data set").fill("browser-made")
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("button", name="Create the data set").click()
    expect(page.get_by_text("is stored: 5 poisoned images among 60")).to_be_visible(timeout=2 * MINUTE)
    with lab.inside():
        recipe = open_dataset("browser-made").recipe() or {}
    assert (recipe["attack"], recipe["target_class"], recipe["source"]) == ("blend", 1, "vendor")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_test_id("stMain").get_by_role("heading", name="Data").first).to_be_visible()


def test_another_image_is_a_click_away(lab: Served, page: Page) -> None:
    page.goto(lab.url("lab", view="try"))
    expect(page.get_by_text("How often does it work?")).to_be_visible(timeout=MINUTE)
    settle(page)
    tiles = page.locator("button.tile")
    assert tiles.count() == 12
    tiles.nth(4).click()
    expect(tiles.nth(4)).to_have_attribute("aria-current", "true", timeout=MINUTE)
    label = tiles.nth(4).get_attribute("aria-label")
    expect(page.get_by_text(f"Clean, labelled {label}")).to_be_visible()
