"""Every page with what a stranger's data, a stale link or a broken disk can bring: a plain sentence, no traceback.

Pages are found in the folder, so that a new one is tested from its first day.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.runs import Run
from tests.ui.conftest import CLASSES, make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.ui.sweep import check, words
from ui.state import PAGES

OF_NO_RUN = ("home", "data", "lab", "learn", "teach")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "🚧 [link](javascript:alert(1)) :red[x] $x^2$ **b** | c",
    "long " * 100,
    "{{config}} %s \u202e \x00 =cmd|' /C calc'!A0",
)


def finished(classes: tuple[str, ...] = CLASSES, *, truth: bool = True) -> Run:
    return add_consensus(make_run(make_dataset("signs", classes, truth=truth)))


def many_classes() -> Run:
    names = tuple(f"class {number}" for number in range(1000))
    return add_consensus(make_run(make_dataset("many", names)))


def without_masks() -> Run:
    run = finished()
    (run.folder / "masks.npz").unlink()
    return run


def without_model() -> Run:
    run = finished()
    (run.folder / "model.safetensors").unlink()
    return run


def without_numbers() -> Run:
    """Scores that are NaN or infinite, some or all of a detector's."""
    run = finished()
    scores = run.scores()
    scores["spc_score"] = np.nan
    scores.loc[::3, "transplant_score"] = np.nan
    scores.loc[1::3, "suspect_score"] = np.inf
    scores["confidence"] = np.float32("nan")
    run.save_scores(scores)
    return run


def without_data() -> Run:
    run = finished()
    shutil.rmtree(run.dataset().root)
    return run


def without_summary() -> Run:
    run = finished()
    (run.folder / "summary.json").write_text("{", encoding="utf-8")
    return run


def with_damaged_scores() -> Run:
    run = finished()
    file = run.folder / "scores.parquet"
    file.write_bytes(file.read_bytes()[:200])
    return run


def with_damaged_masks() -> Run:
    run = finished()
    (run.folder / "masks.npz").write_bytes(b"PK\x03\x04 not a zip")
    return run


def with_damaged_status() -> Run:
    run = finished()
    (run.folder / "status.json").write_text("[]", encoding="utf-8")
    return run


def with_labels_outside() -> Run:
    """Predictions of classes that the data set does not have."""
    run = finished()
    scores = run.scores()
    scores.loc[scores.index[5], "predicted"] = 77
    scores.loc[scores.index[6], "predicted"] = -1
    run.save_scores(scores)
    return run


def with_one_sample() -> Run:
    run = finished()
    run.save_scores(run.scores().iloc[:1])
    return run


def with_no_sample() -> Run:
    run = finished()
    run.save_scores(run.scores().iloc[:0])
    return run


RUNS: dict[str, Callable[[], Run]] = {
    "hostile class names": lambda: finished(HOSTILE),
    "a thousand classes": many_classes,
    "no truth": lambda: finished(truth=False),
    "no masks": without_masks,
    "no model": without_model,
    "no numbers": without_numbers,
    "data set deleted": without_data,
    "summary damaged": without_summary,
    "scores damaged": with_damaged_scores,
    "masks damaged": with_damaged_masks,
    "status damaged": with_damaged_status,
    "classes out of range": with_labels_outside,
    "one sample": with_one_sample,
    "no sample": with_no_sample,
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_is_not_as_expected(open_page: Callable[..., AppTest], page: str, kind: str) -> None:
    run = RUNS[kind]()
    check(open_page(page, run=run.id))


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_what_is_gone(open_page: Callable[..., AppTest], page: str) -> None:
    run = finished()
    at = check(open_page(page, run=run.id))
    at.query_params["run"] = "20200101-000000-gone-0000"
    at.query_params["sample"] = "0123456789abcdef"
    said = words(check(at.run()))
    # Elsewhere the router says it, which AppTest passes by after a change of page.
    assert page in OF_NO_RUN or "is not here any more" in said
    check(open_page(page, run=run.id, sample="gone", classes="99", cls="stop", score="gone:0:1", dataset="gone"))


@pytest.mark.parametrize("page", PAGES)
def test_a_run_deleted_while_its_page_is_open(open_page: Callable[..., AppTest], page: str) -> None:
    run = finished()
    at = check(open_page(page, run=run.id))
    shutil.rmtree(run.folder)
    check(at.run())


@pytest.mark.parametrize("page", PAGES)
def test_a_review_database_out_of_reach(
    open_page: Callable[..., AppTest], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished()
    monkeypatch.setenv("BACKDOOR_LENS_REVIEWS_URL", "sqlite:////nowhere/at/all/reviews.sqlite")
    at = check(open_page(page, run=run.id))
    if page == "review":
        assert "review database cannot be used" in words(at)
