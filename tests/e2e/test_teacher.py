"""What a teacher does: walks through the lesson with the keys, asks the class, prints the handout, checks a solution.

The run is made by hand and its model is untrained, so that this is about the pages, not about what they find.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from mspc_core.runs import DEMO
from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, photograph, settle, visit
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from ui.learn_steps import STEPS
from ui.teach_exercises import EXERCISES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lesson(served: Served) -> Served:
    """A home with a run that passes for a finished scan of the demo."""
    with served.inside():
        run = add_consensus(make_run(make_dataset("demo")))
        run.save_config(replace(run.config(), source=DEMO))
    return replace(served, run=run)


def at_step(page: Page, number: int) -> None:
    title = f"{number}. {STEPS[number - 1].title}"
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=MINUTE)
    settle(page)
    assert f"step={number}" in page.url


def test_gives_the_lesson(lesson: Served, page: Page) -> None:
    page.goto(lesson.url())
    visit(page, "Learn")
    at_step(page, 1)

    # The class chooses before it sees the answer.
    main = page.get_by_test_id("stMain")
    show = main.get_by_role("button", name="Show the answer")
    expect(show).to_be_disabled()
    main.get_by_text("Nothing unusual: it is about as good as any other model").click()
    expect(show).to_be_enabled(timeout=MINUTE)
    show.click()
    expect(main.get_by_text("Right.", exact=True)).to_be_visible(timeout=MINUTE)
    main.get_by_text("Put the trigger on", exact=True).click()
    expect(main.get_by_text("The model says")).to_be_visible(timeout=MINUTE)

    # The arrow keys turn the pages, but not while a slider has them.
    page.get_by_role("heading", name="Learn", exact=True).click()
    page.keyboard.press("ArrowRight")
    at_step(page, 2)
    rate = main.get_by_role("slider", name="Poison rate")
    rate.focus()
    rate.press("ArrowLeft")
    expect(main.get_by_text("9.9 %")).to_be_visible(timeout=MINUTE)
    at_step(page, 2)
    page.get_by_role("heading", name="Learn", exact=True).click()
    page.keyboard.press("ArrowLeft")
    at_step(page, 1)
    expect(main.get_by_text("Right.", exact=True)).to_be_visible(timeout=MINUTE)

    # The row of steps is for clicking, and the keys go on from there.
    main.get_by_role("radio", name="5", exact=True).click()
    at_step(page, 5)
    page.keyboard.press("ArrowRight")
    at_step(page, 6)
    page.reload()
    at_step(page, 6)

    # The next step is read from its top.
    main.get_by_role("button", name=f"Next: {STEPS[6].title}").click()
    at_step(page, 7)
    assert main.evaluate("element => element.scrollTop") == 0
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_each_step_opens_from_its_address(lesson: Served, page: Page, tmp_path: Path, number: int) -> None:
    page.goto(lesson.url("learn", step=str(number)))
    at_step(page, number)
    photograph(page, tmp_path, f"step-{number}")
    expect(page.get_by_test_id("stAlert").filter(has_text="went wrong")).to_have_count(0)


def test_prints_the_handout(lesson: Served, page: Page) -> None:
    page.goto(lesson.url("learn", view="print"))
    last = page.get_by_role("heading", name=f"{len(STEPS)}. {STEPS[-1].title}")
    expect(last).to_be_visible(timeout=MINUTE)
    settle(page)
    expect(page.get_by_text("Answer: ")).to_have_count(len(STEPS))
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF-")
    assert len(paper) > 50_000
    page.emulate_media(media="print")
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page.get_by_role("button", name="Back to the lesson")).to_be_hidden()
    expect(last).to_be_visible()
    # All of it is on the page, not inside a box that scrolls.
    assert page.evaluate("document.documentElement.scrollHeight") > 3000


def test_checks_a_solution(lesson: Served, page: Page, tmp_path: Path) -> None:
    page.goto(lesson.url("teach"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_role("heading", name="Plan for 45 minutes")).to_be_visible(timeout=MINUTE)
    photograph(page, tmp_path, "teach")
    panels = main.get_by_text("Expected result and solution")
    expect(panels).to_have_count(len(EXERCISES))
    panels.nth(3).click()
    expect(main.get_by_text("The highest SPC of a clean image is")).to_be_visible(timeout=MINUTE)
    main.get_by_role("button", name="Open Learn, step 4").click()
    at_step(page, 4)
