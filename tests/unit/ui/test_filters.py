"""One filter for all galleries: which samples pass, in which order, and what goes into the download."""

import io

import numpy as np
import pandas as pd
import pytest

from ui import filters
from ui.class_rows import class_rows
from ui.filters import SampleFilter


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ["a", "b", "c", "d", "e"],
            "path": ["x/1.png", "=x/2.png", "Y/3.png", "y/4.png", "z/5.png"],
            "label": [0, 1, 1, 2, 2],
            "predicted": [0, 1, 1, 1, 2],
            "confidence": [0.9, 0.8, 0.7, 0.6, 0.5],
            "spc_score": [0.1, 0.9, np.nan, 0.9, 0.4],
            "spc_flagged": [False, True, False, True, False],
            "mspc_score": [-1.0, 1.0, 0.5, -0.5, -1.0],
            "mspc_flagged": [False, True, True, False, False],
            "suspect": [False, True, False, False, False],
            "is_backdoor": pd.array([False, True, False, True, False], dtype="boolean"),
        }
    )


def ids(scores: pd.DataFrame, positions: np.ndarray) -> str:
    return "".join(scores["sample_id"].to_numpy()[positions])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (SampleFilter(), "abcde"),
        (SampleFilter(suspects=True), "b"),
        (SampleFilter(flagged=True), "bcd"),
        (SampleFilter(classes=(1,)), "bcd"),
        (SampleFilter(flagged_by=("spc",)), "bd"),
        (SampleFilter(flagged_by=("spc", "mspc")), "b"),
        (SampleFilter(flagged_by=("transplant",)), ""),
        (SampleFilter(disagreement=True), "cd"),
        (SampleFilter(ranges=(("spc", 0.4, 0.9),)), "bde"),
        (SampleFilter(ranges=(("mspc", -np.inf, 0.0),)), "ade"),
        (SampleFilter(ranges=(("spc", 0.4, 0.9), ("mspc", -1.0, -0.5))), "de"),
        (SampleFilter(ranges=(("gone", 0.4, 0.9),)), "abcde"),
        (SampleFilter(picked="0123456789abcdef"), ""),
        (SampleFilter(decisions=("open",)), "bde"),
        (SampleFilter(decisions=("keep", "remove")), "ac"),
        (SampleFilter(text=" Y/"), "cd"),
        (SampleFilter(text="e"), "e"),
        (SampleFilter(text="."), "abcde"),
        (SampleFilter(text="(["), ""),
        (SampleFilter(classes=(1,), flagged_by=("mspc",), text="3"), "c"),
    ],
)
def test_filter(scores: pd.DataFrame, wanted: SampleFilter, expected: str) -> None:
    found = filters.positions(scores, wanted, {"a": "keep", "c": "remove"})
    assert "".join(sorted(ids(scores, found))).replace("png", "") == expected


def test_missing_columns_flag_nothing(scores: pd.DataFrame) -> None:
    bare = scores[["sample_id", "path", "label", "predicted", "confidence"]]
    assert not filters.suspects_of(bare).any()
    assert not filters.flagged_by_any(bare).any()
    assert filters.positions(bare, SampleFilter(disagreement=True)).size == 0
    assert filters.known_truth(bare) is None
    assert filters.default_sort(bare) == "confidence"


def test_truth_counts_only_when_it_is_known_of_every_sample(scores: pd.DataFrame) -> None:
    assert filters.known_truth(scores) is not None
    scores.loc[0, "is_backdoor"] = pd.NA
    assert filters.known_truth(scores) is None


def test_order_is_stable_and_puts_missing_scores_last(scores: pd.DataFrame) -> None:
    everything = np.arange(5)
    assert ids(scores, filters.ordered(scores, everything, "spc_score")) == "bdeac"
    assert ids(scores, filters.ordered(scores, everything, "spc_score", descending=False)) == "aebdc"
    assert ids(scores, filters.ordered(scores, everything, "path")) == "edacb"
    assert ids(scores, filters.ordered(scores, everything, "no such column")) == "abcde"


def test_default_sort_is_the_last_detector_that_flags_any(scores: pd.DataFrame) -> None:
    assert filters.default_sort(scores) == "mspc_score"
    assert filters.default_sort(scores.assign(mspc_flagged=False)) == "spc_score"
    assert filters.default_sort(scores.assign(mspc_flagged=False, spc_flagged=False)) == "mspc_score"


def test_the_verdicts_score_comes_first_where_it_has_suspects(scores: pd.DataFrame) -> None:
    new = scores.assign(suspect_score=[0.1, 0.9, 0.2, 0.3, 0.4])
    assert filters.default_sort(new) == "suspect_score"
    assert filters.default_sort(new.assign(suspect=False)) == "mspc_score"
    assert filters.detector_names(new.columns) == ["spc", "mspc"]
    assert filters.flags_of(new, "suspect").tolist() == [False, True, False, False, False]
    table = filters.review_table(new, {}, ["a", "b", "c"])
    assert table["suspect_score"].tolist() == [0.1, 0.9, 0.2, 0.3, 0.4]


def test_the_telling_detector_flags_most_suspects(scores: pd.DataFrame) -> None:
    both = scores.assign(
        suspect=[False, True, True, True, False],
        transplant_score=0.0,
        transplant_flagged=[True, True, False, False, True],
        pattern_score=0.0,
        pattern_flagged=[False, True, True, False, False],
    )
    assert filters.telling_detector(both) == "pattern"
    assert filters.telling_detector(both.assign(pattern_flagged=False)) == "transplant"
    assert filters.telling_detector(both.assign(suspect=False)) == "pattern"


def test_detectors_come_in_their_own_order(scores: pd.DataFrame) -> None:
    assert filters.detector_names(["x_score", "mspc_score", "spc_score", "path"]) == ["spc", "mspc", "x"]


def test_next_open_goes_round_and_ends() -> None:
    queue, decided = np.array([4, 2, 0]), np.zeros(5, dtype=bool)
    assert filters.next_open(queue, decided, 4) == 2
    assert filters.next_open(queue, decided, 0) == 4
    assert filters.next_open(queue, decided, None) == 4
    assert filters.next_open(queue, decided, 3) == 4  # an image outside the queue leads to its start
    decided[[2, 4]] = True
    assert filters.next_open(queue, decided, 4) == 0
    assert filters.next_open(queue, decided, 0) is None
    assert filters.next_open(np.array([], dtype=int), decided, None) is None


def test_neighbours_hold_at_the_ends() -> None:
    queue = np.array([4, 2, 0])
    assert [filters.neighbour(queue, 4, step) for step in (-1, 1, 9)] == [4, 2, 0]
    assert filters.neighbour(queue, None, 1) == 4
    assert filters.neighbour(np.array([], dtype=int), 1, 1) is None


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_formulas_are_disarmed(cell: str) -> None:
    assert filters.safe_cell(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["a=1", "", -1, 2.5, None, True])
def test_harmless_cells_pass(cell: object) -> None:
    assert filters.safe_cell(cell) == cell


def test_csv_disarms_text_and_keeps_numbers(scores: pd.DataFrame) -> None:
    table = filters.review_table(scores, {"b": "remove"}, ["-name", "one", "two"])
    text = filters.safe_csv(table).decode("utf-8-sig")
    back = pd.read_csv(io.StringIO(text), dtype={"decision": str}, keep_default_na=False)
    assert back["path"].tolist()[:2] == ["x/1.png", "'=x/2.png"]
    assert back["label_name"].tolist()[0] == "'-name"
    assert back["mspc_score"].tolist()[0] == -1.0
    assert back["decision"].tolist() == ["", "remove", "", "", ""]


def test_class_rows_count_and_put_targets_first(scores: pd.DataFrame) -> None:
    table = [
        {"class": number, "predicted": seen, "transplant_rate": rate, "flagged": flagged}
        for number, (seen, rate, flagged) in enumerate([(1, 0.9, 0), (3, 0.5, 3), (1, 0.0, 0)])
    ]
    summary = {
        "detectors": {"transplant": {"tables": {"classes": table}}},
        "verdict": {"target_classes": [{"class": 1}]},
    }
    rows = class_rows(scores, 3, summary)
    assert [row.number for row in rows] == [1, 0, 2]
    assert rows[0].target
    assert (rows[0].samples, rows[0].labelled, rows[0].backdoors) == (3, 2, 2)
    assert rows[0].flagged == {"spc": 2, "mspc": 2}
    assert rows[0].rate == 0.5


def test_class_rows_tell_what_each_test_says(scores: pd.DataFrame) -> None:
    pattern = [
        {"class": 0, "predicted": 1, "flagged": 0, "turned": 0.2},
        {"class": 1, "predicted": 3, "flagged": 0, "turned": 0.6},
        {"class": 2, "predicted": 1, "flagged": 1, "turned": 0.7},
    ]
    opinion = [
        {"class": 0, "samples": 10, "flagged": 0, "contradicted_flagged": 0.0},
        {"class": 1, "samples": 10, "flagged": 8, "contradicted_flagged": 0.9},
        {"class": 2, "samples": 10, "flagged": 1, "contradicted_flagged": 1.0},
    ]
    summary = {
        "detectors": {
            "pattern": {"tables": {"classes": pattern}},
            "mixture": {"tables": {"classes": [{"class": 1, "samples": 10, "flagged": 4, "anomaly_index": 50.0}]}},
            "second_opinion": {"tables": {"classes": opinion}},
        },
        "verdict": {"target_classes": [{"class": 1, "by": ["second_opinion"]}]},
    }
    rows = {row.number: row for row in class_rows(scores, 4, summary)}
    assert list(rows) == [1, 2, 0, 3]  # the target, then by what turns most
    assert (rows[1].by, rows[1].target, rows[2].by) == (("second_opinion",), True, ())
    assert [rows[number].turned for number in range(4)] == [0.2, 0.6, 0.7, None]
    assert [rows[number].contradicted for number in range(4)] == [None, 0.9, 1.0, None]
    assert [rows[number].groups for number in range(4)] == [None, 50.0, None, None]
    assert all(row.rate is None for row in rows.values())
    # shares flagged by the second opinion: 0, 0.8, 0.1; median of the others 0.05, their MAD 0.05
    assert rows[1].index == pytest.approx((0.8 - 0.05) / (1.4826 * 0.05))
    assert rows[3].index is None


def test_class_rows_without_a_transplant_test_have_no_rate(scores: pd.DataFrame) -> None:
    rows = class_rows(scores, 4, {})
    assert [row.samples for row in rows] == [3, 1, 1, 0]
    assert rows[0].rate is None
    assert not rows[0].target
