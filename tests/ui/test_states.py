"""Every page in every state of a run: nothing there yet, waiting, running, failed, cancelled, interrupted, finished.

Pages are found in the folder, so that a new one is tested from its first day.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.jobs import held
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run, set_status
from tests.ui.consensus import add_consensus
from tests.ui.sweep import check, words
from ui.state import PAGES

# Pages that show the selected run, and what they say of it in each state.
OF_A_RUN = ("scan", "scores", "mask", "inspect", "review", "clean")
ERROR = "The disk is full: free some space, then resume."


def at_work(*, scores: bool) -> Run:
    """A run whose status says that it runs; with the results of its first detectors, or without any."""
    run = make_run(make_dataset())
    if scores:
        table = run.scores()
        run.save_scores(table.drop(columns=[name for name in table if name.startswith(("transplant", "suspect"))]))
        summary = run.summary()
        del summary["detectors"]["transplant"]
        summary |= {"complete": False, "verdict": {"level": "unknown", "scanned": len(table), "flagged": 0}}
        run.save_summary(summary)
        (run.folder / "masks.npz").unlink()
    else:
        for name in ("scores.parquet", "summary.json", "masks.npz", "model.safetensors"):
            (run.folder / name).unlink()
    set_status(run, "running", started=time.time(), heartbeat=time.time(), message="epoch 3 of 10")
    return run


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_home(open_page: Callable[..., AppTest], page: str) -> None:
    at = check(open_page(page))
    if page in OF_A_RUN and page != "scan":
        assert "There is no scan yet" in words(at)
        assert [button.label for button in at.button] == ["Go to Home"]


@pytest.mark.parametrize("scores", [False, True], ids=["before scores", "with scores"])
@pytest.mark.parametrize("page", PAGES)
def test_a_running_scan(open_page: Callable[..., AppTest], page: str, scores: bool) -> None:
    run = at_work(scores=scores)
    with held(run.folder / ".lock") as mine:
        assert mine
        at = check(open_page(page, run=run.id))
        assert not at.error
    if page in OF_A_RUN and page != "scan":
        assert "at work" in words(at) or "Still scanning" in words(at)


@pytest.mark.parametrize("state", ["failed", "cancelled", "interrupted"])
@pytest.mark.parametrize("scores", [False, True], ids=["before scores", "with scores"])
@pytest.mark.parametrize("page", PAGES)
def test_a_scan_that_ended_early(open_page: Callable[..., AppTest], page: str, scores: bool, state: str) -> None:
    run = at_work(scores=scores)
    if state != "interrupted":  # nobody holds the lock of a run whose status says that it runs
        set_status(run, state, error=ERROR if state == "failed" else None, started=1.0, ended=2.0)
    at = check(open_page(page, run=run.id))
    if page not in OF_A_RUN:
        return
    said = words(at)
    assert at.title, "a page says what it is, also without anything to show"
    assert state in said.lower() or ERROR in said or "ended before" in said
    assert any(word in button.label for button in at.button for word in ("Resume", "Go to the scan", "scan"))


@pytest.mark.parametrize("state", ["queued"])
@pytest.mark.parametrize("page", PAGES)
def test_a_scan_that_waits(open_page: Callable[..., AppTest], page: str, state: str) -> None:
    run = at_work(scores=False)
    set_status(run, state, created=time.time(), stage="", progress=0.0)
    check(open_page(page, run=run.id))


@pytest.mark.parametrize("page", PAGES)
def test_a_finished_scan(open_page: Callable[..., AppTest], page: str) -> None:
    run = add_consensus(make_run(make_dataset()))
    at = check(open_page(page, run=run.id))
    assert not at.error
