"""Before and after training again: a pure function of the result."""

from __future__ import annotations

from typing import Any

import pytest

from mspc_core import atomic
from mspc_core.report.retrained import MOST_CLASSES, retrained
from mspc_core.runs import Run
from tests.unit.report.conftest import page_of

RESULT: dict[str, Any] = {
    "drop": "flagged",
    "dropped": 400,
    "kept": 3600,
    "before": {"accuracy": 0.99, "attack_success_rate": 1.0, "per_class_accuracy": {"stop": 0.98, "yield": 1.0}},
    "after": {"accuracy": 0.985, "attack_success_rate": 0.004, "per_class_accuracy": {"stop": 0.97, "yield": 1.0}},
    "references": {"clean_part": {"accuracy": 0.991, "attack_success_rate": 0.003}},
    "estimated_asr": {"before": 0.97, "after": 0.01},
}


def rows(table: Any) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.cells()]


@pytest.mark.parametrize("result", [None, {}])
def test_nothing_without_a_result(result: dict[str, Any] | None) -> None:
    assert retrained(result) is None


def test_all_figures() -> None:
    found = retrained(RESULT, ["yield", "stop"])
    assert found is not None
    assert "what the verdict suspects: 400 training images were left out and 3,600 kept" in found.text
    first, by_class = found.tables
    assert rows(first) == [
        ["Accuracy", "99.0 %", "98.5 %", "99.1 %"],
        ["Attack success rate, known trigger", "100.0 %", "0.4 %", "0.3 %"],
        ["Attack success rate, estimated", "97.0 %", "1.0 %", "–"],
    ]
    assert "estimate" in first.note
    assert rows(by_class) == [["yield", "100.0 %", "100.0 %", "+0.0"], ["stop", "98.0 %", "97.0 %", "-1.0"]]


def test_what_was_not_measured_is_said() -> None:
    found = retrained(
        {"drop": "rejected", "before": {"accuracy": None}, "after": None, "references": {"clean_part": None}}
    )
    assert found is not None
    assert found.text.endswith("without what reviewers removed.")
    assert rows(found.tables[0]) == [
        ["Accuracy", "not measured", "not measured"],
        ["Attack success rate, known trigger", "not measured", "not measured"],
    ]
    assert len(found.tables) == 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), True, "0.5", [0.5]])
def test_values_that_are_no_numbers(odd: Any) -> None:
    found = retrained({**RESULT, "before": {"accuracy": odd}})
    assert found is not None
    assert rows(found.tables[0])[0][1] == "not measured"


def test_many_classes_show_those_that_changed_most() -> None:
    before = {f"c{at}": 1.0 for at in range(100)}
    found = retrained(
        {"before": {"per_class_accuracy": before}, "after": {"per_class_accuracy": {**before, "c77": 0.1}}}
    )
    assert found is not None
    listed = rows(found.tables[1])
    assert len(listed) == MOST_CLASSES
    assert listed[0] == ["c77", "100.0 %", "10.0 %", "-90.0"]
    assert found.tables[1].note == f"{MOST_CLASSES} of 100 classes are listed."


def test_the_report_reads_it_from_the_run(new_run: Run) -> None:
    assert "No model was trained without the suspects" in page_of(new_run).text
    atomic.write_json(new_run.folder / "retrain.json", RESULT)
    text = page_of(new_run).text
    assert "Attack success rate, known trigger 100.0 % 0.4 % 0.3 %" in text
    assert "retrain.json" in text  # with its checksum
