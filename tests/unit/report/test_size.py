"""A million samples and a thousand classes: the report stays small and says what was cut."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mspc_core.report.document import page
from mspc_core.report.material import load
from mspc_core.reviews import DecisionRecord
from mspc_core.runs import Run
from tests.unit.report.conftest import NOW
from tests.unit.report.page import Page, check_harmless

SAMPLES, CLASSES, SIDE = 1_000_000, 1000, 64


class _Pixels:
    """A data set's pixels without its hundred gigabytes: noise, which compresses worst."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (len(rows), SIDE, SIDE, 3), dtype=np.uint8)


def test_large_run_is_a_small_report(new_run: Run, home: Path) -> None:
    small = load(new_run)
    generator, names = np.random.default_rng(0), [f"class {at} {'n' * 60}" for at in range(CLASSES)]
    predicted = generator.integers(0, CLASSES, SAMPLES)
    flagged = (predicted < 30) & (generator.random(SAMPLES) < 0.4)
    columns: dict[str, object] = {
        "sample_id": [f"{at:016x}" for at in range(SAMPLES)],
        "path": [f"train/{at}" for at in range(SAMPLES)],
        "label": predicted,
        "predicted": predicted,
        "confidence": generator.random(SAMPLES),
        "row": np.arange(SAMPLES),
        "is_backdoor": flagged,
        "suspect": flagged,
        "suspect_score": generator.random(SAMPLES),
    }
    for name in small.records:
        columns[f"{name}_score"], columns[f"{name}_flagged"] = generator.random(SAMPLES), flagged
    summary = new_run.summary()
    summary["dataset"]["classes"] = names
    for record in summary["detectors"].values():
        rows = record["tables"].get("classes")
        if rows:
            record["tables"]["classes"] = [{**rows[-1], "class": at} for at in range(CLASSES)]
    targets = summary["verdict"]["target_classes"]
    summary["verdict"]["target_classes"] = [{**targets[0], "class": at, "name": names[at]} for at in range(30)]
    masks = generator.random((CLASSES, SIDE, SIDE)).astype(np.float32)
    assert small.dataset is not None
    small.dataset.pixels = _Pixels()  # type: ignore[assignment]
    history = [
        DecisionRecord(f"{at:016x}", "remove", f"reviewer {at % 500}", "2026-01-01T00:00:00") for at in range(9999)
    ]
    large = replace(
        small,
        summary=summary,
        scores=pd.DataFrame(columns),
        masks={"transplant": masks, "pattern": masks - 0.5, "mspc": masks[:20]},
        decisions={entry.sample_id: "unsure" for entry in history},
        history=history,
    )
    begun = time.perf_counter()
    content = page(large, NOW)
    assert time.perf_counter() - begun < 60
    assert len(content.encode()) < 5 * 2**20
    shown = Page(content)
    check_harmless(shown)
    assert "60 of 1,000 classes are listed." in shown.text
    assert "40 of 1,000 classes are listed." in shown.text
    assert "60 of 9,999 entries are listed." in shown.text
    assert "20 of 500 reviewers are listed." in shown.text
