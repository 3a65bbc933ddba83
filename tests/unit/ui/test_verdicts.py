"""What is said of a verdict: of new runs, of runs from before the consensus, and while tests are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mspc_core import verdict as core
from mspc_core import verdict_words
from ui import detector_facts, figures_opinion, images, verdicts

TARGETS = [
    {"class": 1, "name": "stop", "by": ["transplant", "mixture", "second_opinion"], "flagged": 40},
    {"class": 3, "name": "=SUM(A1)\nx", "by": ["pattern"], "flagged": 30},
]
POISONED: dict[str, Any] = {
    "level": "poisoned",
    "flagged": 1234,
    "scanned": 5000,
    "detector": "pattern",
    "by": ["second_opinion", "mixture", "transplant", "pattern"],
    "target_classes": TARGETS,
}
OLD: dict[str, Any] = {
    "level": "poisoned",
    "flagged": 12,
    "scanned": 400,
    "detector": "transplant",
    "target_classes": [{"class": 1, "name": "stop", "flagged": 12}],
}


def record(rows: list[dict[str, Any]], flagged: int = 40, **tables: Any) -> dict[str, Any]:
    return {"flagged": flagged, "tables": {"classes": rows, **tables}}


def summary(verdict: dict[str, Any], **records: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": verdict, "detectors": records, "dataset": {"classes": list("abcdefghij")}}


FULL = summary(
    POISONED,
    transplant=record([{"class": 1, "strength": 0.97}, {"class": 3, "strength": 0.2}]),
    pattern=record([{"class": 1, "turned": 0.1}, {"class": 3, "turned": 0.61}]),
    mixture=record([{"class": 1, "anomaly_index": 31.54}, {"class": 3, "anomaly_index": 0.2}]),
    second_opinion=record([{"class": 1}], 900, evidence=[{"nats": 1234.4, "asked": 13.8}]),
)


def test_the_tests_are_those_of_the_verdict() -> None:
    assert detector_facts.MEMBERS == core.MEMBERS
    assert verdict_words._MOST_TARGETS == core._MOST_TARGETS


def test_who_has_a_case() -> None:
    assert verdicts.having_a_case(POISONED) == ["transplant", "pattern", "mixture", "second_opinion"]
    assert verdicts.having_a_case(OLD) == ["transplant"]
    assert verdicts.having_a_case({**POISONED, "level": "no_evidence"}) == []


def test_tests_in_words() -> None:
    names = list(detector_facts.MEMBERS)
    assert verdicts.tests_words(names[:1]) == "the transplant test"
    assert verdicts.tests_words(names[:2]) == "the transplant test and the pattern transplant"
    assert verdicts.tests_words(names) == (
        "the transplant test, the pattern transplant, the feature mixture and the second opinion"
    )


@pytest.mark.parametrize(
    ("named", "classes", "expected"),
    [
        (0, 10, "no class stands out as the target"),
        (1, 2, "target “c0”"),
        (3, 10, "target “c0”, “c1”, “c2”"),
        (5, 10, "target “c0”, “c1”, “c2”, …"),
        (6, 10, "labels of 6 of 10 classes, no single target"),
        (2, 2, "labels of 2 of 2 classes, no single target"),
    ],
)
def test_targets_in_words(named: int, classes: int, expected: str) -> None:
    targets = [{"class": number, "name": f"c{number}"} for number in range(named)]
    assert verdicts.target_words({"target_classes": targets}, classes) == expected


def test_names_stay_on_one_line() -> None:
    assert "\n" not in verdicts.target_words(POISONED, 10)


def test_the_sentence() -> None:
    found = verdicts.sentence(OLD, 10)
    assert found.startswith("12 of 400 training images look backdoored: target “stop”. Found by the transplant test.")
    assert "not a proof" in verdicts.sentence({"level": "no_evidence", "scanned": 9}, 10)
    assert verdicts.sentence({"level": "unknown", "text": "no verdict yet"}, 10) == "no verdict yet"


def test_one_line_a_test() -> None:
    found = verdicts.lines(FULL, detector_facts.MEMBERS)
    assert [line.state for line in found] == ["case"] * 4
    assert found[0].text == "its region turns 97 % of other images into “stop”"
    assert found[1].text == "its pattern turns 61 % of other images into “=SUM(A1) x”"
    assert found[2].text == "the network sees two groups in “stop”; anomaly index 31.5, above 7.4 stands out"
    assert found[3].text.startswith("900 images whose label their content contradicts; 1,234 nats of evidence, 13.8")


def test_lines_of_a_run_without_all_tests() -> None:
    old = summary(OLD, transplant=record([{"class": 1}], 12))
    old["not_run"] = {"second_opinion": "it needs labels"}
    found = verdicts.lines(old, ("transplant", "pattern"))
    assert [line.state for line in found] == ["case", "missing", "missing", "missing"]
    assert [line.text for line in found] == [
        "its region turns most other images into “stop”",
        "has not finished",
        "not part of this scan",
        "could not run: it needs labels",
    ]
    quiet = summary({"level": "no_evidence"}, transplant=record([], 3), pattern=record([], 0))
    assert [line.text for line in verdicts.lines(quiet, ("transplant", "pattern"))] == [
        "no case (3 flagged, too few or in no class that stands out)",
        "no case",
        "not part of this scan",
        "not part of this scan",
    ]


def test_what_the_verdict_rests_on() -> None:
    assert verdicts.rests_on(FULL) == ""
    assert verdicts.rests_on(summary({}, spc=record([]))) == ""
    said = verdicts.rests_on(summary(OLD, transplant=record([]), pattern=record([])))
    assert said == (
        "The verdict rests on the transplant test and the pattern transplant alone; the feature mixture and the second "
        "opinion have not run."
    )


def test_the_figure_of_the_evidence_holds_its_table() -> None:
    rows = [{"flagged": 4.0, "evidence": 17.04}, {"flagged": 6.0, "evidence": 41.5}]
    table = figures_opinion.refinement_table(rows)
    assert table.to_dict("list") == {"step": [0, 1], "evidence (nats)": [17.0, 41.5], "flagged": [4, 6]}
    figure = figures_opinion.refinement_figure(rows, 13.8)
    assert [list(trace.y) for trace in figure.data] == [[17.0, 41.5], [4, 6]]
    assert [trace.yaxis for trace in figure.data] == ["y", "y2"]
    assert figure.layout.shapes[0].y0 == 13.8


def test_a_difference_as_a_picture() -> None:
    difference = np.array([[0.0, 0.2], [-0.1, -0.2]])
    assert images.signed(difference)[..., 0].tolist() == [[128, 255], [64, 0]]
    assert images.signed(difference).shape == (2, 2, 3)
    colour = np.zeros((2, 2, 3))
    colour[0, 0, 2] = -0.5
    assert images.signed(colour)[0, 0].tolist() == [128, 128, 0]
    assert (images.signed(np.zeros((2, 2))) == 128).all()
