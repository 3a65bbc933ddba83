"""Scores: what is selected in one figure filters all, an image is marked in every figure, curves follow the filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from streamlit.testing.v1 import AppTest

from mspc_core import picks
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.test_scores_mask import metric, text_of

OpenPage = Callable[..., AppTest]


def table_with(at: AppTest, *columns: str):  # type: ignore[no-untyped-def]
    return next(found.value for found in at.dataframe if set(columns) <= set(found.value))


def test_every_count_follows_the_filter(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("scores", run=tiny_run.id, **{"class": "2"})
    scores = tiny_run.scores()
    part = scores[scores["predicted"] == 2]
    assert metric(at, "Would flag") == str(int((part["transplant_score"] > 0.5).sum()))
    assert int(metric(at, "Would flag")) + int(metric(at, "Would keep")) == len(part)
    assert table_with(at, "class", "images")["images"].sum() == len(part)
    assert table_with(at, "flagged by", "images")["images"].sum() == len(part)
    found = table_with(at, "AUROC").set_index("detector")["AUROC"]
    truth = part["is_backdoor"].to_numpy(bool)
    assert found["SPC"] == roc_auc_score(truth, part["spc_score"])


def test_a_box_on_the_scatter_becomes_two_ranges(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("scores", run=tiny_run.id)
    key = f"scatter-{tiny_run.id}-transplant-spc"
    at.session_state[key] = {"selection": {"box": [{"x": [0.4, 1.1], "y": [0.55, 1.05]}], "points": []}}
    at.query_params["score"] = "transplant:0.4:1.1,spc:0.55:1.05"
    at.run()
    assert not at.exception
    scores = tiny_run.scores()
    inside = scores["transplant_score"].between(0.4, 1.1) & scores["spc_score"].between(0.55, 1.05)
    assert f"**{int(inside.sum())}** of {len(scores)} images" in text_of(at)


def test_the_selected_image_is_marked_and_leads_on(open_page: OpenPage, tiny_run: Run) -> None:
    row = tiny_run.scores().iloc[5]
    at = open_page("scores", run=tiny_run.id, sample=row["sample_id"])
    assert "**Selected:**" in text_of(at)
    at.button(f"unselect-{tiny_run.id}").click().run()
    assert "**Selected:**" not in text_of(at)
    assert "sample" not in at.query_params
    at = open_page("scores", run=tiny_run.id, sample=row["sample_id"])
    at.button(f"selected-inspect-{tiny_run.id}").click().run()
    assert at.title[0].value == "Inspect"
    assert at.query_params["sample"] == row["sample_id"]


def test_intervals_of_the_chosen_detector_and_of_all(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("scores", run=tiny_run.id)
    sure = table_with(at, "AUROC")["AUROC 95 %"]
    assert sure.notna().sum() == 1
    at.toggle(f"intervals-{tiny_run.id}").set_value(True).run()
    table = table_with(at, "AUROC")
    low = table["AUROC 95 %"].str.split(" – ").str[0].astype(float)
    high = table["AUROC 95 %"].str.split(" – ").str[1].astype(float)
    assert ((low <= table["AUROC"] + 1e-4) & (table["AUROC"] <= high + 1e-4)).all()
    at.segmented_control(f"curve-kind-{tiny_run.id}").set_value("pr").run()
    assert not at.exception


def test_a_filter_that_leaves_one_kind_has_no_curve(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("scores", run=tiny_run.id, **{"class": "0"})
    assert not at.exception
    assert "nothing to separate" in text_of(at)


def test_a_filter_that_leaves_nothing_offers_the_way_back(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("scores", run=tiny_run.id, text="no such path")
    assert not at.exception
    assert "No image passes this filter" in text_of(at)
    at.button("clear-empty").click().run()
    assert metric(at, "Would flag")
    assert "text" not in at.query_params


def test_a_pick_filters_every_page(open_page: OpenPage, tiny_run: Run) -> None:
    name = picks.save(tiny_run, np.arange(7))
    at = open_page("scores", run=tiny_run.id, pick=name)
    assert int(metric(at, "Would flag")) + int(metric(at, "Would keep")) == 7


def test_without_truth_the_scatter_and_the_classes_still_stand(open_page: OpenPage) -> None:
    run = make_run(make_dataset(truth=False))
    at = open_page("scores", run=run.id)
    assert not at.exception
    assert list(table_with(at, "flagged by")) == ["flagged by", "images"]


def test_small_histograms_share_a_table() -> None:
    """Bars at single scores and bars over ranges in the same columns."""
    from ui.score_views import _ranges

    single = pd.DataFrame({"score": [0.0, 0.5], "samples": [3, 1], "flagged": [False, True]})
    ranges = pd.DataFrame({"from": [0.0], "to": [0.1], "samples": [4], "flagged": [False]})
    whole = pd.concat([_ranges(single, "SPC"), _ranges(ranges, "MSPC")])
    assert whole.columns.tolist() == ["detector", "from", "to", "samples", "flagged"]
    assert whole.values.tolist() == [
        ["SPC", 0.0, 0.0, 3, False],
        ["SPC", 0.5, 0.5, 1, True],
        ["MSPC", 0.0, 0.1, 4, False],
    ]
