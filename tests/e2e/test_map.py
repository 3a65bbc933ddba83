"""The map and Inspect in a real Chromium: a lasso becomes the filter, a link brings pins and scales back."""

from __future__ import annotations

import math
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from mspc_core import picks
from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, settle, visit

pytestmark = pytest.mark.browser


def test_a_lasso_on_the_map_filters_every_page(served: Served, page: Page) -> None:
    scores = served.run.scores()
    page.goto(served.url("scores"))
    main = page.get_by_test_id("stMain")
    start = main.get_by_role("button", name="Compute it")
    expect(start).to_be_visible(timeout=MINUTE)
    start.click()
    hint = main.get_by_text("Draw a lasso to see the images in it")
    expect(hint).to_be_visible(timeout=2 * MINUTE)
    chart = page.get_by_test_id("stPlotlyChart").filter(has_text="first component")
    chart.scroll_into_view_if_needed()
    settle(page)
    box = chart.bounding_box()
    assert box
    middle = box["x"] + 0.42 * box["width"], box["y"] + 0.5 * box["height"]
    for turn in range(41):
        angle = turn / 40 * 2 * math.pi
        across, up = 0.36 * box["width"] * math.cos(angle), 0.42 * box["height"] * math.sin(angle)
        page.mouse.move(middle[0] + across, middle[1] + up)
        if not turn:
            page.mouse.down()
    page.mouse.up()
    held = main.get_by_text(re.compile(r"^\d+ images in the lasso"))
    expect(held).to_be_visible(timeout=MINUTE)
    count = int(held.inner_text().split()[0])
    assert 0 < count <= len(scores)
    main.get_by_role("button", name="Show only these").click()
    expect(page).to_have_url(re.compile("pick=[0-9a-f]{16}"), timeout=MINUTE)
    found = re.search("pick=([0-9a-f]{16})", page.url)
    assert found
    kept = picks.positions_of(served.run, found[1], scores)
    assert kept is not None
    assert len(kept) == count
    visit(page, "Inspect")
    expect(main.get_by_text(re.compile(rf"1 of {count} filtered images"))).to_be_visible(timeout=MINUTE)


def test_a_link_brings_pins_and_scales_back(served: Served, page: Page, browser: Browser) -> None:
    page.goto(served.url("inspect"))
    main = page.get_by_test_id("stMain")
    main.get_by_role("button", name="Pin", exact=True).click()
    expect(page).to_have_url(re.compile("pins=[0-9a-f]{16}"), timeout=MINUTE)
    main.get_by_role("button", name="Next").click()
    expect(page).to_have_url(re.compile("sample="), timeout=MINUTE)
    field = main.get_by_role("textbox", name="Own scales")
    field.fill("2, 3.5")
    field.press("Enter")
    expect(page).to_have_url(re.compile("scales=2%2C3.5"), timeout=MINUTE)
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    other.goto(page.url)
    there = other.get_by_test_id("stMain")
    expect(there.get_by_text("your scales").first).to_be_visible(timeout=MINUTE)
    expect(there.get_by_role("textbox", name="Own scales")).to_have_value("2,3.5", timeout=MINUTE)
    expect(there.get_by_role("button", name="Unpin all")).to_be_visible(timeout=MINUTE)
    other.context.close()


def test_arrow_keys_turn_images_but_not_while_a_slider_needs_them(served: Served, page: Page) -> None:
    page.goto(served.url("inspect"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text(re.compile(r"This image is 1 of"))).to_be_visible(timeout=MINUTE)
    settle(page)
    slider = main.get_by_role("slider", name="Multiply all pixels by n")
    slider.press("ArrowRight")
    expect(slider).to_have_value("3.1", timeout=MINUTE)
    settle(page)
    expect(main.get_by_text(re.compile(r"This image is 1 of"))).to_be_visible()
    main.get_by_role("heading", name="Inspect").click()
    page.keyboard.press("ArrowRight")
    expect(main.get_by_text(re.compile(r"This image is 2 of"))).to_be_visible(timeout=MINUTE)
    page.keyboard.press("ArrowLeft")
    expect(main.get_by_text(re.compile(r"This image is 1 of"))).to_be_visible(timeout=MINUTE)


# In the page: how far visible things moved without being asked to, as the browser measures it, from now on.
SHIFTS = """() => {
  window.__shifts = [];
  new PerformanceObserver((list) => window.__shifts.push(...list.getEntries().map((entry) => entry.value)))
    .observe({type: 'layout-shift'});
}"""


@pytest.mark.parametrize(
    ("name", "slider", "change"),
    [("inspect", "Multiply all pixels by n", "At n = "), ("mask", "Opacity", ""), ("scores", "Flag scores above", "")],
)
def test_nothing_jumps_while_a_slider_moves(served: Served, page: Page, name: str, slider: str, change: str) -> None:
    page.goto(served.url(name))
    main = page.get_by_test_id("stMain")
    control = main.get_by_role("slider", name=slider).first
    expect(control).to_be_visible(timeout=MINUTE)
    settle(page)
    control.scroll_into_view_if_needed()
    page.evaluate(SHIFTS)
    said = main.get_by_text(re.compile(f"^{change}")).first.inner_text() if change else ""
    for _ in range(3):
        control.press("ArrowLeft")
        settle(page)
    if change:
        assert main.get_by_text(re.compile(f"^{change}")).first.inner_text() != said
    assert sum(page.evaluate("window.__shifts")) < 0.01
    page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').style.paddingTop = '500px'")
    page.wait_for_timeout(300)
    assert sum(page.evaluate("window.__shifts")) > 0.01  # a jump would have been seen
