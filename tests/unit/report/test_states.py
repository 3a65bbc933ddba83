"""Runs that are not whole: unfinished, without truth, masks, data or finite scores; each is said in words."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mspc_core import report, runs
from mspc_core.errors import InputError
from mspc_core.report.cases import strength
from mspc_core.report.material import load
from mspc_core.runs import Run, ScanConfig
from tests.ui.conftest import make_dataset, make_run, set_status
from tests.ui.consensus import add_consensus
from tests.unit.report.conftest import page_of
from tests.unit.report.page import check_harmless


def test_nothing_yet_is_one_sentence(home: Path) -> None:
    run = runs.create_run(ScanConfig(source="demo", dataset="demo"))
    with pytest.raises(InputError, match="has no results yet"):
        report.render(run)


def test_without_truth(home: Path) -> None:
    run = add_consensus(make_run(make_dataset("unknown", truth=False)))
    summary = run.summary()
    assert all(record["metrics"] is None for record in summary["detectors"].values())
    page = page_of(run)
    check_harmless(page)
    assert "There is no ROC curve: nobody knows for sure" in page.text
    assert "AUROC AP TPR" not in page.text
    assert "only a review of the images can tell" in page.text
    assert "truth:" not in page.text
    assert "lab data set" not in page.text


@pytest.mark.parametrize("state", ["running", "cancelled", "failed"])
def test_unfinished_run(new_run: Run, state: str) -> None:
    summary, scores = new_run.summary(), new_run.scores()
    del summary["detectors"]["second_opinion"]
    summary["complete"] = False
    new_run.save_summary(summary)
    new_run.save_scores(scores.drop(columns=["suspect", "suspect_score", "second_opinion_score"]))
    set_status(new_run, state, error="it stopped" if state == "failed" else None)
    page = page_of(new_run)
    check_harmless(page)
    assert "Unfinished scan." in page.text
    assert "not computed yet: Second opinion" in page.text
    assert "it had not finished when this report was written" in page.text
    assert "the second opinion has not run" in page.text
    assert "Strongest cases" in page.text


def test_no_test_of_the_verdict_has_run(new_run: Run) -> None:
    summary = new_run.summary()
    summary["detectors"] = {"spc": summary["detectors"]["spc"]}
    summary["verdict"] = {"level": "unknown", "text": "no verdict yet", "scanned": 48, "flagged": 0, "rule": ""}
    new_run.save_summary(summary)
    new_run.save_masks({})
    page = page_of(new_run)
    assert "No verdict" in page.text
    assert "so no rule was applied" in page.text
    assert "None of the tests that give evidence in pictures has finished" in page.text
    assert "None of the tests that give the verdict" in page.text


def test_deleted_data(new_run: Run) -> None:
    shutil.rmtree(new_run.dataset().root)
    page = page_of(new_run)
    check_harmless(page)
    assert "There is no stored data set 'new'" in page.text
    assert "image not available" in page.text
    assert "Learned masks, one a class" in page.text  # they are in the run


def test_replaced_data(new_run: Run) -> None:
    new_run.save_config(replace(new_run.config(), content_key="another"))
    assert "was replaced since this run scanned it" in page_of(new_run).text


def test_scores_that_are_not_numbers(new_run: Run) -> None:
    scores = new_run.scores()
    scores.loc[[0, 8], "transplant_score"] = np.nan
    scores.loc[3, "spc_score"] = np.inf
    scores["second_opinion_score"] = np.nan
    new_run.save_scores(scores)
    page = page_of(new_run)
    check_harmless(page)
    assert "Transplant has no usable score for 2 samples; they count as not flagged." in page.text
    assert "SPC has no usable score for 1 sample" in page.text
    assert "Second opinion has no usable score for 48 samples" in page.text
    assert "no score" in page.text
    assert "nan" not in page.text.lower().split()


def test_missing_metrics_are_dashes(new_run: Run) -> None:
    summary = new_run.summary()
    summary["detectors"]["spc"]["metrics"] = None
    new_run.save_summary(summary)
    assert "– – – – –" in page_of(new_run).text


def test_without_masks(new_run: Run) -> None:
    (new_run.folder / "masks.npz").unlink()
    page = page_of(new_run)
    check_harmless(page)
    assert "The mask of this run is not there." in page.text


def test_damaged_files_are_named(new_run: Run) -> None:
    (new_run.folder / "masks.npz").write_bytes(b"broken")
    (new_run.folder / "retrain.json").write_text("{")
    (new_run.folder / "model.json").write_text("[1]")
    page = page_of(new_run)
    assert "The masks of run" in page.text
    assert "retrain.json of this run cannot be read" in page.text


def test_damaged_scores_are_one_sentence(new_run: Run) -> None:
    (new_run.folder / "scores.parquet").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        report.render(new_run)


def test_review_database_that_cannot_be_used(new_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_REVIEWS_URL", "sqlite:////nowhere/at/all.sqlite")
    assert "The review database cannot be used" in page_of(new_run).text


def test_no_evidence(new_run: Run) -> None:
    scores, summary = new_run.scores(), new_run.summary()
    scores["suspect"], scores["suspect_score"] = False, 0.1
    new_run.save_scores(scores)
    summary["verdict"] |= {"level": "no_evidence", "by": [], "target_classes": [], "flagged": 0}
    new_run.save_summary(summary)
    text = page_of(new_run).text
    assert "No evidence of a backdoor found" in text
    assert "not a proof of absence" in text
    assert "No image is a suspect. These came closest" in text


def test_a_poor_model_is_said_on_the_first_page(new_run: Run) -> None:
    summary = new_run.summary()
    note = "The model gives only 20% of the training images their label."
    summary["model"]["notes"] = [note]
    new_run.save_summary(summary)
    text = page_of(new_run).text
    assert text.index(note) < text.index("What the tests say")
    assert text.rindex(note) > text.index("9. Limits of what was tested", text.index("8. Training"))


def test_detectors_that_could_not_run_are_named(home: Path) -> None:
    run = make_run(make_dataset(), not_run={"strip": "it needs clean data"})
    assert "STRIP it needs clean data" in page_of(run).text


def test_the_ranking_of_a_test_that_flags_nobody_is_not_used(new_run: Run) -> None:
    scores = new_run.scores()
    for name in ("second_opinion", "mixture"):
        scores[f"{name}_flagged"] = False
        scores[f"{name}_score"] = np.arange(len(scores)) - 100.0
    new_run.save_scores(scores)
    values = strength(load(new_run))
    assert values is not None
    for place in np.flatnonzero(~scores["transplant_flagged"] & ~scores["pattern_flagged"]):
        below = [
            float((scores[name].round(3) < scores[name].round(3)[place]).mean())
            for name in ("transplant_score", "pattern_score")
        ]
        assert values[place] == pytest.approx(max(below))
