"""Comparisons of runs, with figures worked out by hand."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mspc_core.runs import ScanConfig
from ui import compare_data, filters
from ui.compare_data import VERDICT, RunFacts, facts_of

TRUTH = np.array([1, 1, 0, 0, 0], dtype=bool)
FLAGS = {
    "mspc": np.array([1, 0, 1, 0, 0], dtype=bool),
    "spc": np.array([1, 1, 0, 0, 0], dtype=bool),
    VERDICT: np.array([0, 1, 0, 0, 0], dtype=bool),
}


def run(name: str = "r", truth: np.ndarray | None = TRUTH, auroc: float = 0.9, **recipe: Any) -> RunFacts:
    record = {"seconds": 2.0, "forward_equivalents": 60}
    metrics = {"auroc": auroc, "average_precision": 0.8, "tpr_at_1_fpr": 0.5}
    summary = {
        "dataset": {"name": "d", "source": "s", "classes": ["a", "b"], "scanned": 5, "recipe": recipe or None},
        "model": {"arch": "resnet18", "val_accuracy": 0.75, "attack_success_rate": 0.5},
        "verdict": {"level": "poisoned", "flagged": 1},
        "detectors": {
            "spc": {**record, "metrics": metrics},
            "mspc": {"metrics": None},
        },
        "not_run": {"strip": "it needs labels"},
    }
    return facts_of(name, f"label {name}", ScanConfig(source="x", seed=7), summary, FLAGS, truth)


def test_a_row_takes_its_figures_from_flags_truth_and_record() -> None:
    row = run(attack="badnets", rate=0.1, target_class=1, label_mode="all-to-one")
    assert (row.data, row.attack, row.rate, row.target, row.seed, row.arch) == ("d", "badnets", 0.1, "b", 7, "resnet18")
    assert (row.accuracy, row.success, row.suspects, row.scanned) == (0.75, 0.5, 1, 5)
    spc, mspc, verdict = (row.figures[name] for name in ("spc", "mspc", VERDICT))
    assert (spc.tpr, spc.fpr, spc.flagged, spc.auroc, spc.forwards) == (1.0, 0.0, 0.4, 0.9, 12.0)
    assert (mspc.tpr, mspc.fpr, mspc.auroc) == (0.5, pytest.approx(1 / 3), None)
    assert (verdict.tpr, verdict.fpr, verdict.flagged) == (0.5, 0.0, 0.2)
    assert row.not_run == {"strip": "it needs labels"}


def test_without_truth_only_the_flagged_share_is_known() -> None:
    row = run(truth=None, attack="badnets", rate=0.1)
    assert row.attack == row.setting == compare_data.UNKNOWN_TRUTH
    assert not row.lab
    assert (row.figures["spc"].tpr, row.figures["spc"].fpr, row.figures["spc"].flagged) == (None, None, 0.4)


def test_clean_data_has_false_alarms_but_no_tpr() -> None:
    row = run(truth=np.zeros(5, dtype=bool))
    assert (row.setting, row.lab) == (compare_data.CLEAN_DATA, True)
    assert (row.figures["mspc"].tpr, row.figures["mspc"].fpr) == (None, 0.4)


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ({"attack": "badnets", "rate": 0.1, "label_mode": "all-to-one"}, "badnets 10 %"),
        ({"attack": "badnets", "rate": 0.1, "label_mode": "all-to-all"}, "badnets all-to-all 10 %"),
        ({"attack": "sig", "rate": 0.05, "label_mode": "clean"}, "sig 5 %"),
        ({"attack": "adaptive-blend", "rate": 0.003}, "adaptive-blend 0.30 %"),
        ({}, "known backdoors"),
    ],
)
def test_settings_name_attack_mode_and_rate(recipe: dict[str, Any], setting: str) -> None:
    assert run(**recipe).setting == setting


def test_the_table_has_a_column_for_each_detector_with_the_figure() -> None:
    table = compare_data.run_table([run("1"), run("2", truth=None)], "tpr")
    assert table.columns.tolist()[6:9] == ["SPC", "MSPC", "Verdict"]
    assert table["MSPC"].tolist()[0] == 0.5
    assert np.isnan(table["MSPC"].tolist()[1])
    assert "MSPC" not in compare_data.run_table([run("1")], "auroc")  # no run has this figure of it


def test_the_grid_averages_runs_of_one_setting() -> None:
    rows = [
        run("1", auroc=0.9, attack="badnets", rate=0.1),
        run("2", auroc=0.7, attack="badnets", rate=0.1),
        run("3", auroc=0.6, attack="blend", rate=0.1),
        run("4", truth=None),
    ]
    settings, names, means, counts = compare_data.grid(rows, "flagged")
    assert settings == ["badnets 10 %", "blend 10 %", compare_data.UNKNOWN_TRUTH]
    assert names == ["spc", "mspc", VERDICT]
    assert means == pytest.approx(np.tile([0.4, 0.4, 0.2], (3, 1)))
    assert counts.tolist() == [[2, 2, 2], [1, 1, 1], [1, 1, 1]]
    settings, names, means, counts = compare_data.grid(rows[:3], "auroc")
    assert (names, means[:, 0].tolist(), counts[:, 0].tolist()) == (["spc"], [pytest.approx(0.8), 0.6], [2, 1])


def test_a_figure_that_nobody_has_gives_an_empty_grid() -> None:
    _, names, means, _ = compare_data.grid([run(truth=None)], "tpr")
    assert (names, means.shape) == ([], (1, 0))


def test_the_downloads_hold_every_figure_and_disarm_names() -> None:
    row = run("1", attack="=cmd", rate=0.1)
    text = filters.safe_csv(compare_data.long_table([row])).decode("utf-8-sig")
    back = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert back["detector"].tolist() == ["spc", "mspc", VERDICT, "strip"]
    assert back["attack"].tolist() == ["'=cmd"] * 4
    assert back["not_run"].tolist() == ["", "", "", "it needs labels"]
    assert [float(value) for value in back["tpr"][:3]] == [1.0, 0.5, 0.5]
    (stored,) = json.loads(compare_data.as_json([row]))
    assert stored["figures"]["spc"]["auroc"] == 0.9
    assert stored["figures"]["mspc"]["auroc"] is None
