"""What browser tests do again and again: wait until a page is done, go to a page, photograph it, read its numbers."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

MINUTE = 60_000


def settle(page: Page) -> None:
    """Wait until the server has nothing left to do for this page. A click's answer may still be on its way on a busy
    machine: what a click changes is waited for by its value."""
    page.wait_for_timeout(400)
    idle = page.locator("[data-testid=stApp]:not([data-test-script-state=running])")
    expect(idle).to_be_visible(timeout=MINUTE)
    page.wait_for_timeout(700)


def visit(page: Page, name: str) -> None:
    """Go to a page by the navigation, once the one that is open has answered: Streamlit may drop such a click when the
    open page asks for another run of itself at that moment."""
    settle(page)
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page.get_by_test_id("stMain").get_by_role("heading", name=name).first).to_be_visible(timeout=MINUTE)
    settle(page)


def photograph(page: Page, folder: Path | None, name: str) -> None:
    """A full-page PNG: the window grows to the page's height first, because the page scrolls inside it. folder: None
    takes no picture, but the page must be without an error all the same."""
    settle(page)
    if folder is None:
        expect(page.get_by_test_id("stException")).to_have_count(0)
        return
    height = page.evaluate("document.querySelector('[data-testid=\"stMainBlockContainer\"]').scrollHeight")
    page.set_viewport_size({"width": 1280, "height": max(800, min(int(height) + 40, 2600))})
    page.wait_for_timeout(900)
    page.screenshot(path=folder / f"{name}.png")
    page.set_viewport_size({"width": 1280, "height": 800})
    width, tall = struct.unpack(">II", (folder / f"{name}.png").read_bytes()[16:24])
    assert width == 1280
    assert tall >= 800
    expect(page.get_by_test_id("stException")).to_have_count(0)


def photograph_both(page: Page, folder: Path, name: str) -> None:
    """In both themes: `name.png` and `name-dark.png`. The light one is left on."""
    photograph(page, folder, name)
    page.emulate_media(color_scheme="dark")
    becomes_still(page)
    photograph(page, folder, f"{name}-dark")
    page.emulate_media(color_scheme="light")
    becomes_still(page)


def metric(page: Page, name: str) -> int:
    """The number under a metric's name."""
    box = page.get_by_test_id("stMetric").filter(has_text=name).first
    return int(re.sub(r"\D", "", box.get_by_test_id("stMetricValue").inner_text()))


def becomes(page: Page, name: str, wanted: Callable[[int], bool], what: str) -> int:
    """Wait until the number under a metric's name is as wanted, and return it."""
    found = metric(page, name)
    for _ in range(MINUTE // 200):
        if wanted(found):
            return found
        page.wait_for_timeout(200)
        found = metric(page, name)
    raise AssertionError(f"{name} is {found} after a minute: {what}")


def becomes_still(page: Page) -> None:
    """Wait until colours and sizes have stopped moving, so that what is read from the page stays true."""
    page.wait_for_timeout(300)
    ending = "animation.effect.getComputedTiming().iterations !== Infinity"
    page.evaluate(
        f"Promise.all(document.getAnimations().filter(animation => {ending}).map(animation => animation.finished))"
    )
