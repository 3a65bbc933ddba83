"""The researcher's story in a real Chromium: plant an attack, let it be scanned, compare the run with another, take the
numbers home. A small set is really trained on and scanned, with all defaults."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mspc_core import runs
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from tests.e2e.conftest import Served, inside, serving
from tests.e2e.steps import MINUTE, settle, visit
from tests.ui.conftest import make_dataset, make_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@pytest.fixture
def lab(browser: Browser, tmp_path: Path) -> Iterator[Served]:
    """The app over a clean data set, and an older run of a poisoned copy of it."""
    with inside(tmp_path / "home"):
        clean = make_dataset("vendor", truth=False)
        run = make_run(poison_dataset(clean, BadNets(size=3), rate=0.1, target=2, name="older"))
    with serving(tmp_path / "home", tmp_path / "server.log") as address:
        yield Served(address, tmp_path / "home", run)


def test_from_an_attack_to_numbers_to_cite(lab: Served, page: Page) -> None:
    page.goto(lab.url("lab"))
    main = page.get_by_test_id("stMain")
    expect(page.get_by_text("With the trigger").first).to_be_visible(timeout=MINUTE)
    settle(page)
    page.get_by_role("textbox", name="Name of the new data set").fill("mine")
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("button", name="Create the data set").click()
    expect(page.get_by_text(re.compile("is stored: [0-9]+ poisoned images among 60"))).to_be_visible(timeout=2 * MINUTE)

    # The scan was started by the job itself; the browser only watches.
    with lab.inside():
        made = next(run for run in runs.list_runs() if run.id != lab.run.id)
    assert made.config().dataset == "mine"
    page.goto(f"{lab.address}/scan?run={made.id}")
    for _ in range(600):
        if not made.status().active:
            break
        page.wait_for_timeout(1000)
    assert made.status().state == "finished", made.status().error
    expect(page.get_by_text(re.compile("took .* ")).first).to_be_visible(timeout=MINUTE)

    visit(page, "Compare")
    expect(main.get_by_text("Truth is known (2)")).to_be_visible(timeout=MINUTE)
    settle(page)
    with page.expect_download() as download:
        main.get_by_role("button", name="All figures (CSV)").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert {made.id, lab.run.id} == {row["id"] for row in rows}
    found = next(row for row in rows if row["id"] == made.id and row["detector"] == "spc")
    summary = made.summary()["detectors"]["spc"]["metrics"]
    assert float(found["auroc"]) == pytest.approx(summary["auroc"], abs=1e-4)
