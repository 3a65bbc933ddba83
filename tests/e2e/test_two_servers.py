"""Two servers over one home folder, each with a browser of its own: they see each other's work, and survive a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mspc_core import home as places
from mspc_core import job_status, jobs
from mspc_core.reviews import ReviewStore
from mspc_core.reviews.database import opened
from mspc_core.runs import ScanConfig
from tests.e2e.conftest import Served, inside, server_process
from tests.e2e.steps import MINUTE, settle
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.unit.test_jobs import wait_for

pytestmark = pytest.mark.browser


def test_two_servers_over_one_home(browser: Browser, page: Page, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with inside(home):
        run = add_consensus(make_run(make_dataset("signs")))
        config = ScanConfig("signs", "signs", size=16, epochs=1, detectors=("spc",), device="cpu")
        job = jobs.create(places.runs_folder(), config.as_json(), "waits")
        jobs.write_status(job, jobs.JobStatus(state="cancelled"))
    sample = str(run.scores()["sample_id"].iloc[20])
    with (
        server_process(home, tmp_path / "first.log") as (one, first),
        server_process(home, tmp_path / "second.log") as (two, second),
        inside(home),
        job_status.held(places.home() / "device-cpu.lock") as ours,
    ):
        assert ours
        other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        windows = ((page, Served(one, home, run)), (other, Served(two, home, run)))
        for window, served in windows:  # both show the same image, undecided
            window.goto(served.url("review", queue="all", sample=sample))
        for window, _ in windows:
            expect(window.get_by_text(f"sample {sample}")).to_be_visible(timeout=MINUTE)
        settle(page)
        page.keyboard.press("x")
        expect(page.get_by_text(f"sample {sample}")).to_have_count(0, timeout=MINUTE)
        other.keyboard.press("k")
        expect(other.get_by_test_id("stToast").get_by_text("decided remove meanwhile")).to_be_visible(timeout=MINUTE)

        for window, served in windows:  # both offer to go on with the same job
            window.goto(served.url("scan", run=job.name))
        resume = [window.get_by_role("button", name="Resume") for window, _ in windows]
        for button in resume:
            expect(button).to_be_visible(timeout=MINUTE)
        settle(page)
        resume[0].click()
        wait_for(lambda: job_status.locked(job / ".lock"))
        resume[1].click()
        expect(other.get_by_role("button", name="Cancel")).to_be_visible(timeout=MINUTE)  # not begun again, but shown

        for server in (first, second):
            server.kill()
            server.wait()
        other.context.close()
        opened.cache_clear()
        history = ReviewStore().history(run.id, sample)
        assert [(entry.decision, entry.undoes) for entry in history] == [("remove", None), ("keep", None)]
        assert job_status.locked(job / ".lock"), "the job outlives both servers"
        jobs.cancel(job)
        wait_for(lambda: not job_status.locked(job / ".lock"), 60)
        assert jobs.read_status(job).state == "cancelled"
        assert (job / "log.txt").read_text().count("cancelled:") == 1, "one process had it"
