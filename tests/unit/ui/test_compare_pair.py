"""Two runs sample by sample, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ui import compare_pair
from ui.compare_data import VERDICT, Figures, RunFacts


def table(ids: str, flagged: list[int], *, truth: list[bool] | None = None) -> pd.DataFrame:
    count = len(ids)
    return pd.DataFrame(
        {
            "sample_id": list(ids),
            "path": [f"{name}.png" for name in ids],
            "label": np.arange(count) % 2,
            "predicted": 1 - np.arange(count) % 2,
            "spc_score": np.linspace(0, 1, count),
            "spc_flagged": [place in flagged for place in range(count)],
            "suspect": [place not in flagged for place in range(count)],
            "is_backdoor": pd.array([pd.NA] * count if truth is None else truth, dtype="boolean"),
        }
    )


def facts(name: str, data: str, *detectors: str, source: str = "") -> RunFacts:
    figures = {detector: Figures(0.1) for detector in detectors}
    about = {"mode": "", "target": "", "arch": "small-cnn", "seed": 0, "level": "unknown", "suspects": 0, "scanned": 4}
    return RunFacts(name, name, data, source or data, "x", None, accuracy=None, success=None, figures=figures, **about)


FIRST = table("abcdef", [0, 1, 2], truth=[True, True, False, False, True, False])
SECOND = table("fedcbx", [1, 3])  # e and c


def names(found: compare_pair.Difference, group: str) -> str:
    return "".join(FIRST["sample_id"].iloc[found.groups[group]])


def test_samples_are_matched_by_id_whatever_their_order() -> None:
    found = compare_pair.difference(FIRST, SECOND, "spc")
    assert {group: names(found, group) for group in compare_pair.GROUPS} == {
        "first": "b",
        "second": "e",
        "both": "c",
        "neither": "df",
    }
    assert found.backdoors == {"first": 1, "second": 1, "both": 0, "neither": 0}
    assert found.alone == (1, 1), "a of the first, x of the second"
    assert found.shared == 5
    assert found.partner.tolist() == [-1, 4, 3, 2, 1, 0]


def test_the_verdicts_suspects_are_compared_too() -> None:
    found = compare_pair.difference(FIRST, SECOND, VERDICT)
    assert names(found, "first") == "e"
    assert names(found, "second") == "b"


def test_unknown_truth_and_nothing_in_common() -> None:
    found = compare_pair.difference(SECOND, table("pq", [0]), "spc")
    assert found.backdoors is None
    assert found.shared == 0
    assert found.alone == (6, 2)


def test_an_id_that_occurs_twice_is_matched_once() -> None:
    found = compare_pair.difference(FIRST, table("aab", [0]), "spc")
    assert found.partner.tolist() == [0, 2, -1, -1, -1, -1]


def test_the_table_names_classes_and_has_both_scores() -> None:
    found = compare_pair.difference(FIRST, SECOND, "spc")
    rows = compare_pair.difference_table(FIRST, SECOND, found, "first", "spc", ["cat", "<b>dog"])
    assert rows.to_dict("records") == [
        {
            "sample_id": "b",
            "path": "b.png",
            "label": "<b>dog",
            "predicted by the first": "cat",
            "predicted by the second": "<b>dog",
            "score in the first": pytest.approx(0.2),
            "score in the second": pytest.approx(0.8),
        }
    ]


def test_runs_of_the_same_data_can_be_compared() -> None:
    rows = [facts("1", "signs", "spc", VERDICT), facts("2", "signs", "spc", "mspc", VERDICT), facts("3", "cars", "spc")]
    assert [row.id for row in compare_pair.comparable(rows, rows[0])] == ["2"]
    assert compare_pair.comparable(rows, rows[2]) == []
    assert compare_pair.shared_detectors(rows[0], rows[1]) == [VERDICT, "spc"]
