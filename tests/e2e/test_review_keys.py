"""Review in a real Chromium without a mouse: keys decide, what two windows do is told, tiles can be selected."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from mspc_core.reviews import ReviewStore
from mspc_core.reviews.database import opened
from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, settle

pytestmark = pytest.mark.browser


def decisions(served: Served) -> dict[str, str]:
    with served.inside():
        opened.cache_clear()
        return ReviewStore().current(served.run.id)


def place(page: Page, number: int) -> None:
    """Wait until the image at this place is drawn, with its buttons."""
    expect(page.get_by_text(re.compile(rf"^Image {number} of \d+"))).to_be_visible(timeout=MINUTE)
    idle = page.locator("[data-testid=stApp]:not([data-test-script-state=running])")
    expect(idle).to_be_visible(timeout=MINUTE)


def test_a_review_by_keys_alone(served: Served, page: Page) -> None:
    page.goto(served.url("review", queue="all"))
    place(page, 1)
    settle(page)
    for number, key in enumerate("kxuk", start=2):
        page.keyboard.press(key)
        place(page, number)
    assert sorted(decisions(served).values()) == ["keep", "keep", "remove", "unsure"]
    page.keyboard.press("k", delay=0)
    page.keyboard.press("x", delay=0)  # nobody has seen the next image yet: it stays undecided, and the last one kept
    place(page, 6)
    settle(page)
    assert sorted(decisions(served).values()) == ["keep", "keep", "keep", "remove", "unsure"]
    page.keyboard.press("z")
    place(page, 5)
    page.keyboard.press("z")
    place(page, 4)
    assert sorted(decisions(served).values()) == ["keep", "remove", "unsure"]
    page.keyboard.press("ArrowLeft")
    place(page, 3)
    page.keyboard.press("ArrowRight")
    place(page, 4)
    picture = page.get_by_test_id("stMain").get_by_role("img", name=re.compile("^The image in focus")).first
    outlined = picture.get_attribute("src")
    page.keyboard.press("o")
    expect(picture).not_to_have_attribute("src", outlined or "", timeout=MINUTE)
    page.keyboard.press("v")
    expect(page.get_by_text("Below each image")).to_have_count(0, timeout=MINUTE)
    page.keyboard.press("v")
    expect(page.get_by_text("Below each image")).to_be_visible(timeout=MINUTE)


def test_two_windows_on_one_sample(served: Served, page: Page, browser: Browser) -> None:
    sample = str(served.run.scores()["sample_id"].iloc[20])
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    for window, name in ((page, "ann"), (other, "ben")):
        window.goto(served.url("review", queue="all", sample=sample))
        window.get_by_placeholder("your name").fill(name)
        window.get_by_placeholder("your name").press("Enter")
        expect(window.get_by_text(f"sample {sample}")).to_be_visible(timeout=MINUTE)
        settle(window)
        window.get_by_role("heading", name="Review").first.click()  # out of the field, where letters are letters
    page.keyboard.press("k")
    expect(page.get_by_text(f"sample {sample}")).to_have_count(0, timeout=MINUTE)
    other.keyboard.press("x")
    expect(other.get_by_test_id("stToast").get_by_text("“ann” decided keep meanwhile")).to_be_visible(timeout=MINUTE)
    other.context.close()
    assert decisions(served)[sample] == "remove"
    with served.inside():
        assert [entry.reviewer for entry in ReviewStore().history(served.run.id, sample)] == ["ann", "ben"]


def test_tiles_are_selected_with_ctrl_shift_and_the_space_bar(served: Served, page: Page) -> None:
    page.goto(served.url("review", queue="all"))
    tiles = page.locator("button.tile")
    expect(tiles.nth(10)).to_be_visible(timeout=MINUTE)
    settle(page)

    def many(number: int) -> None:
        expect(page.get_by_role("button", name=f"Mark many ({number})")).to_be_visible(timeout=MINUTE)

    tiles.nth(5).click(modifiers=["Control"])
    many(1)
    tiles.nth(8).click(modifiers=["Shift"])
    many(4)
    tiles.nth(6).focus()
    page.keyboard.press(" ")
    many(3)
    expect(tiles.nth(6)).to_be_focused()
    expect(tiles.nth(6)).to_have_attribute("aria-pressed", "false")
    expect(tiles.nth(7)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Mark many (3)").click()
    page.get_by_text("Yes, mark 3 images as remove").click()
    before = decisions(served)
    button = page.get_by_role("button", name="Mark them")
    expect(button).to_be_enabled(timeout=MINUTE)
    button.click()
    expect(page.get_by_role("button", name="Mark many (")).to_have_count(0, timeout=MINUTE)
    scores = served.run.scores().sort_values("suspect_score", ascending=False, kind="stable")
    wanted = [str(scores["sample_id"].iloc[number]) for number in (5, 7, 8)]
    after = decisions(served)
    assert {sample: after[sample] for sample in wanted} == dict.fromkeys(wanted, "remove")
    assert {sample for sample in after if after[sample] != before.get(sample)} <= set(wanted)


def test_the_browser_remembers_the_reviewer(served: Served, page: Page, browser: Browser) -> None:
    sample = str(served.run.scores()["sample_id"].iloc[30])
    page.goto(served.url("review", queue="all", sample=sample))
    field = page.get_by_placeholder("your name")
    field.fill("Ada")
    field.press("Enter")
    settle(page)
    page.reload()
    expect(field).to_have_value("Ada", timeout=MINUTE)
    expect(page.get_by_text(f"sample {sample}")).to_be_visible(timeout=MINUTE)
    settle(page)
    page.get_by_role("heading", name="Review").first.click()
    page.keyboard.press("k")
    expect(page.get_by_text(f"sample {sample}")).to_have_count(0, timeout=MINUTE)
    with served.inside():
        opened.cache_clear()
        assert [entry.reviewer for entry in ReviewStore().history(served.run.id, sample)] == ["Ada"]
    other = browser.new_context().new_page()  # somebody else's browser
    other.goto(page.url)
    expect(other.get_by_placeholder("your name")).to_be_visible(timeout=MINUTE)
    settle(other)
    expect(other.get_by_placeholder("your name")).to_have_value("")
    other.context.close()
    field.fill("")
    field.press("Enter")
    settle(page)
    page.reload()
    expect(field).to_be_visible(timeout=MINUTE)
    settle(page)
    expect(field).to_have_value("")
