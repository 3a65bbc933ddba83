"""Scores in a real Chromium: a drag on a figure filters the page, an image is marked, the link brings it back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, settle, visit

pytestmark = pytest.mark.browser

CHIP = re.compile(r"Transplant \S+ to \S+")


def drag(
    page: Page, chart: Locator, start: tuple[float, float], end: tuple[float, float], url: re.Pattern[str]
) -> None:
    """Drag from one place of a chart to another, both as shares of its width and height, until the address shows it.

    Again if need be: on a busy machine a figure may still be drawn anew, and let go of the pointer, when it is dragged.
    """
    for _ in range(4):
        chart.scroll_into_view_if_needed()
        settle(page)
        box = chart.bounding_box()
        assert box
        (x, y), (right, below) = start, end
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + right * box["width"], box["y"] + below * box["height"], steps=8)
        page.mouse.up()
        for _ in range(60):
            if url.search(page.url):
                return
            page.wait_for_timeout(200)
    raise AssertionError(f"dragging changed nothing: {page.url}")


def test_a_drag_filters_and_the_link_brings_it_back(served: Served, page: Page, browser: Browser) -> None:
    scores = served.run.scores()
    page.goto(served.url("scores"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text(f"All {len(scores)} images")).to_be_visible()
    drag(page, page.get_by_test_id("stPlotlyChart").first, (0.7, 0.3), (0.985, 0.7), re.compile("score=transplant"))
    chip = main.get_by_role("button", name=CHIP)
    expect(chip).to_be_visible(timeout=MINUTE)
    found = re.search(r"score=transplant%3A([-\d.]+)%3A([-\d.]+)", page.url)
    assert found
    low, high = float(found[1]), float(found[2])
    assert 0.5 < low < high
    inside = int(scores["transplant_score"].between(low, high).sum())
    counted = main.get_by_text(re.compile(rf"^{inside} of {len(scores)} images$"))
    expect(counted).to_be_visible(timeout=MINUTE)

    # Somebody else opens the link.
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    other.goto(page.url)
    expect(other.get_by_text(re.compile(rf"^{inside} of {len(scores)} images$"))).to_be_visible(timeout=MINUTE)
    other.context.close()

    # An image is marked in the figures, and leads on; the filter goes along.
    page.locator("button.tile").first.click()
    expect(main.get_by_text("Selected:").first).to_be_visible(timeout=MINUTE)
    expect(page).to_have_url(re.compile("sample=[0-9a-f]{16}"), timeout=MINUTE)
    expect(page.get_by_test_id("stPlotlyChart").first.get_by_text("selected")).to_be_visible(timeout=MINUTE)
    visit(page, "Review")
    expect(main.get_by_role("heading", name="Review")).to_be_visible(timeout=MINUTE)
    expect(chip).to_be_visible(timeout=MINUTE)
    expect(page).to_have_url(re.compile("score=transplant"), timeout=MINUTE)
    chip.click()
    expect(main.get_by_text(f"All {len(scores)} images")).to_be_visible(timeout=MINUTE)
    assert "score=" not in page.url


def test_a_box_on_two_detectors_filters_both(served: Served, page: Page) -> None:
    scores = served.run.scores()
    page.goto(served.url("scores"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_role("heading", name="One detector against another")).to_be_visible(timeout=MINUTE)
    chart = page.get_by_test_id("stPlotlyChart").filter(has=page.locator(".gl-container canvas")).first
    drag(page, chart, (0.6, 0.15), (0.97, 0.5), re.compile("score=transplant.*spc"))
    found = re.findall(r"(transplant|spc)%3A([-\d.]+)%3A([-\d.]+)", page.url)
    assert [name for name, _, _ in found] == ["transplant", "spc"]
    inside = np.logical_and.reduce(
        [scores[f"{name}_score"].between(float(low), float(high)) for name, low, high in found]
    )
    expect(main.get_by_text(re.compile(rf"^{int(inside.sum())} of {len(scores)} images$"))).to_be_visible(
        timeout=MINUTE
    )
    main.get_by_role("button", name="Clear all").click()
    expect(main.get_by_text(f"All {len(scores)} images")).to_be_visible(timeout=MINUTE)
