"""From scores to words: is there evidence of a backdoor, for which target class, in which samples.

A single flagged sample proves nothing: on clean data a few images always survive a test. Backdoor evidence is a *class*
into which a shared region turns other images. A predicted class is a target when

- enough of its samples are flagged by the transplant test that they share a pattern: at least `_LEAST`, and
  `_LEAST_SHARE` of the data;
- their region nearly always works: it turns on average more than three quarters of the other images, that is, it is
  nearer to always than to the majority that flags a sample (an object's features sometimes turn half, rarely more);
- its share of flagged samples stands out: its distance from the other classes' median, in units of their median
  absolute deviation made consistent with a normal distribution, is above 2 (the anomaly index and limit of Wang et al.,
  "Neural Cleanse", IEEE S&P 2019, section IV).

Suspects are the flagged samples of such classes. Nothing here reads ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

ANOMALY_LIMIT = 2.0
_CONSISTENT = 1.4826  # makes the MAD of normal data its standard deviation
_LEAST, _LEAST_SHARE = 5, 0.001
_STRONG = 0.75
_SMALLEST_SPREAD = 0.01  # shares that differ by less than this are the same share


@dataclass(frozen=True)
class Verdict:
    """level: poisoned, no_evidence or unknown (the transplant test has not finished). suspects: bool [N]."""

    level: str
    text: str
    scanned: int
    flagged: int
    detector: str | None
    rule: str
    target_classes: list[dict[str, Any]] = field(default_factory=list)
    suspects: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "text": self.text,
            "scanned": self.scanned,
            "flagged": self.flagged,
            "detector": self.detector,
            "rule": self.rule,
            "target_classes": self.target_classes,
        }


def decide(scores: pd.DataFrame, records: dict[str, dict[str, Any]], classes: tuple[str, ...]) -> Verdict:
    """The verdict over all finished detectors. scores: the run's table; records: name → stage record."""
    nothing = np.zeros(len(scores), dtype=bool)
    if "transplant" not in records:
        return Verdict(
            "unknown", "no verdict yet: the transplant test has not run", len(scores), 0, None, "", suspects=nothing
        )
    predicted = scores["predicted"].to_numpy()
    flagged = scores["transplant_flagged"].to_numpy(dtype=bool)
    table = records["transplant"]["tables"]["classes"]
    least = max(_LEAST, _LEAST_SHARE * len(scores))
    targets = [
        {**row, "name": classes[int(row["class"])], "anomaly_index": round(index, 2)}
        for row, index in zip(table, anomaly_indices(table), strict=True)
        if index > ANOMALY_LIMIT and row["strength"] > _STRONG and row["flagged"] >= least
    ]
    targets.sort(key=lambda row: -float(row["transplant_rate"]))
    suspects = flagged & np.isin(predicted, [row["class"] for row in targets])
    rule = (
        "a class whose share of flagged samples stands out from the other classes' (anomaly index above 2), whose "
        f"flagged regions turn more than {_STRONG:.0%} of other images, and that holds at least {_LEAST} flagged "
        f"samples and {_LEAST_SHARE:.1%} of the data; its flagged samples are the suspects"
    )
    count, total = int(suspects.sum()), len(scores)
    if not targets:
        stray = int(flagged.sum())
        text = "no evidence found"
        if stray:
            text += f" ({stray} of {total:,} samples pass the transplant test, but no class stands out as a target)"
        return Verdict("no_evidence", text, total, 0, "transplant", rule, suspects=nothing)
    names = ", ".join(str(row["name"]) for row in targets[:3]) + (", …" if len(targets) > 3 else "")
    word = "class" if len(targets) == 1 else "classes"
    text = f"likely poisoned: {count:,} of {total:,} samples, target {word} {names}"
    return Verdict("poisoned", text, total, count, "transplant", rule, targets, suspects)


def anomaly_indices(table: list[dict[str, Any]]) -> list[float]:
    """How far each class's share of flagged samples lies above the median of the other predicted classes'."""
    rates = np.array([row["flagged"] / max(1, row["predicted"]) for row in table])
    used = np.array([row["predicted"] > 0 for row in table])
    found = []
    for position, rate in enumerate(rates):
        others = rates[used & (np.arange(len(rates)) != position)]
        if not used[position] or not len(others):
            found.append(0.0)
            continue
        middle = np.median(others)
        spread = max(_CONSISTENT * float(np.median(np.abs(others - middle))), _SMALLEST_SPREAD)
        found.append(float((rate - middle) / spread))
    return found
