"""What the command line prints of a finished scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mspc_core.console import print_summary


def summary(verdict: dict[str, Any], *names: str) -> dict[str, Any]:
    record = {"flagged": 3, "metrics": None, "seconds": 2.0, "notes": []}
    return {
        "verdict": {"text": "likely poisoned", **verdict},
        "model": {"train_accuracy": 0.99},
        "dataset": {"scanned": 40},
        "detectors": {name: {**record, "title": name.upper()} for name in names},
    }


def printed(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_summary(Path("/runs/one"), found)
    return capsys.readouterr().out.splitlines()


def test_the_tests_that_have_a_case_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    by = {"by": ["second_opinion", "transplant"]}
    lines = printed(summary(by, "spc", "transplant", "pattern", "mixture", "second_opinion"), capsys)
    assert lines[:3] == [
        "verdict: likely poisoned",
        "found by: Transplant, Second opinion",
        "training accuracy: 99.00%",
    ]
    assert "PATTERN: 3 of 40 flagged; 2 s" in lines


def test_a_verdict_of_fewer_tests_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(summary({"by": []}, "transplant"), capsys)
    assert lines[1] == "not part of the verdict: Pattern transplant, Feature mixture, Second opinion"
    assert not [line for line in lines if line.startswith("found by")]


def test_an_old_summary_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(summary({}, "spc"), capsys)[1] == "training accuracy: 99.00%"
