"""What a new user does, from an empty home to a model without the backdoor. One story, told in order.

Opens the app, starts the demo, waits for the first histogram, moves the slider, waits for the verdict, looks at every
page, opens a flagged image, decides, reloads, finds the decision, and trains again without the suspects. Each page is
photographed on the way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.steps import MINUTE, becomes, metric, photograph, photograph_both, settle, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(2700)]


def test_from_nothing_to_a_clean_set(app: str, page: Page, browser: Browser, shots: Path) -> None:
    page.goto(app)
    expect(page.get_by_role("heading", name="Is this training set poisoned?")).to_be_visible()
    photograph(page, shots, "home-empty")
    page.get_by_role("button", name="Open the demo").click()

    # Watch it work; the browser may be closed meanwhile.
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    watching = page.url
    page.wait_for_timeout(15_000)
    photograph(page, shots, "scan-running")
    page.goto("about:blank")
    page.goto(watching)
    first = page.get_by_role("button", name="See the first histogram")
    expect(first).to_be_enabled(timeout=6 * MINUTE)
    first.click()

    # The first histogram: SPC, while the other detectors are still at work.
    expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible(timeout=MINUTE)
    settle(page)
    before = metric(page, "Would flag")
    assert before > 0
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(45):
        slider.press("ArrowLeft")
    settle(page)
    more = becomes(page, "Would flag", lambda found: found > before, "a lower threshold flags more")
    becomes(page, "Would keep", lambda kept: kept + metric(page, "Would flag") == 4000, f"with {more} flagged, of 4000")
    page.get_by_role("button", name="Natural threshold").click()
    becomes(page, "Would flag", lambda found: found == before, "the button brings the scan's threshold back")

    # The verdict names the class the sticker was made for.
    visit(page, "Scan")
    # Six detectors; the second opinion takes about as long as the training.
    expect(page.get_by_text(re.compile("took .* ")).first).to_be_visible(timeout=25 * MINUTE)
    expect(page.get_by_test_id("stMain").get_by_text("speed 80").first).to_be_visible()
    photograph_both(page, shots, "scan")
    visit(page, "Scores")
    photograph_both(page, shots, "scores")
    expect(page.get_by_text("The network sees two groups of images under one label")).to_be_visible()
    expect(page.get_by_role("heading", name="The second opinion")).to_be_visible()
    visit(page, "Mask")
    expect(page.get_by_role("heading", name="One pattern for each class")).to_be_visible(timeout=MINUTE)
    photograph_both(page, shots, "mask")
    visit(page, "Inspect")
    expect(page.get_by_text("suspects").first).to_be_visible()
    photograph_both(page, shots, "inspect")
    run = re.search(r"run=([\w-]+)", page.url)
    assert run
    page.goto(f"{app}/lab?run={run[1]}&view=try")
    expect(page.get_by_text("How often does it work?")).to_be_visible(timeout=MINUTE)
    photograph_both(page, shots, "lab-try")
    visit(page, "Data")
    photograph_both(page, shots, "data")
    settle(page)
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Home").click()
    photograph_both(page, shots, "home")

    # Decide about a flagged image, by key.
    visit(page, "Review")
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text(re.compile(r"^Image 1 of \d+")).first).to_be_visible()
    shown = main.get_by_text(re.compile(r"sample [0-9a-f]{16}")).first.inner_text()
    sample = re.search(r"sample ([0-9a-f]{16})", shown)
    assert sample
    page.keyboard.press("x")
    expect(main.get_by_text(re.compile(r"^1 of \d+ decided")).first).to_be_visible()
    settle(page)
    photograph_both(page, shots, "review")

    # It is still there in another window, opened by its address.
    address = re.sub(r"sample=[0-9a-f]+", f"sample={sample[1]}", page.url)
    assert sample[1] in address
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    other.goto(address)
    expect(other.get_by_text(re.compile(r"^1 of \d+ decided")).first).to_be_visible(timeout=MINUTE)
    expect(other.get_by_text(f"sample {sample[1]}").first).to_be_visible()
    expect(other.get_by_test_id("stMain").get_by_text("remove", exact=True).first).to_be_visible()
    other.context.close()
    page.reload()
    expect(main.get_by_text(re.compile(r"^1 of \d+ decided")).first).to_be_visible(timeout=MINUTE)

    # Train again without the suspects: the backdoor is gone.
    visit(page, "Clean & retrain")
    page.get_by_role("button", name=re.compile(r"^Retrain without \d+ images")).click()
    expect(page.get_by_role("heading", name="Before and after")).to_be_visible(timeout=15 * MINUTE)
    settle(page)
    assert metric(page, "Attack success rate") < 50, "in tenths of a percent"
    assert metric(page, "Accuracy") > 900
    photograph_both(page, shots, "clean")

    visit(page, "Compare")
    photograph_both(page, shots, "compare")

    # The lesson is about this run, and knows what the retraining did.
    visit(page, "Learn")
    photograph_both(page, shots, "learn")
    page.goto(re.sub(r"step=\d+", "step=11", page.url))
    expect(main.get_by_text("The newest retraining of this run")).to_be_visible(timeout=MINUTE)
    visit(page, "Teach")
    photograph_both(page, shots, "teach")


def test_a_deep_link_to_a_run_that_is_gone(app: str, page: Page) -> None:
    page.goto(f"{app}/scores?run=20200101-000000-gone-0000")
    expect(page.get_by_test_id("stSidebarNav")).to_be_visible(timeout=MINUTE)
    settle(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlert").first).to_be_visible()


def test_markup_in_the_address_is_only_text(app: str, page: Page) -> None:
    page.goto(f"{app}/inspect?run=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&sample=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expect(page.get_by_test_id("stSidebarNav")).to_be_visible(timeout=MINUTE)
    settle(page)
    assert not dialogs
    expect(page.get_by_test_id("stException")).to_have_count(0)
