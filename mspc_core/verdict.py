"""From scores to words: is there evidence of a backdoor, for which target classes, in which samples.

Consensus of the four tests that need neither clean data nor a threshold chosen by hand (`MEMBERS`). A single flagged
sample proves nothing: on clean data a few images always survive a test. So each test has to make a case of its own:

- *transplant* and *pattern* name a class as target when a shared region or pattern turns nearly all, respectively most,
  other images into it, and the class stands out from the others (anomaly index above 2, Wang et al., "Neural Cleanse",
  IEEE S&P 2019, section IV);
- *feature mixture* when a class stands out as two groups (its own rule: anomaly index above e², as in Tang et al.,
  USENIX Security 2021, and a split that no single mode explains);
- *second opinion* when contradictions of the labels add up to odds of a million to one (its own rule).

Suspects are the samples that any test with a case flags; a test without one has no say. The tests look for different
things (a region, an added pattern, a class that the network sees as two, wrong labels that features explain), so each
finds poison the others cannot see.
Nothing here reads ground truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

MEMBERS = ("transplant", "pattern", "mixture", "second_opinion")
ANOMALY_LIMIT = 2.0
_CONSISTENT = 1.4826  # makes the MAD of normal data its standard deviation
_LEAST, _LEAST_SHARE = 5, 0.001
_STRONG = 0.75  # of a region; a pattern needs a majority, because adding it is weaker than pasting
_SMALLEST_SPREAD = 0.01  # shares that differ by less than this are the same share
_MOSTLY = 0.5  # of a label's flagged samples
_MOST_TARGETS = 0.5  # of the classes; where more are hit, the labels are poisoned without one target
RULE = (
    "A test has a case when a class stands out whose region turns more than 75 % of other images (transplant), whose "
    "pattern turns most of them (pattern transplant), or whose features fall into two groups (feature mixture), each "
    "with at least 5 flagged samples and 0.1 % of the data, or when contradicted labels amount to odds of a million to "
    "one (second opinion, in labels whose flagged samples are mostly contradicted). Suspects are what these tests flag."
)


@dataclass(frozen=True)
class Verdict:
    """level: poisoned, no_evidence or unknown (no test of the consensus has finished). detector: the test that flags
    most, by: all that have a case. suspects: bool [N]. scores: float64 [N] in [0, 1], suspects above 0.5."""

    level: str
    text: str
    scanned: int
    flagged: int
    detector: str | None
    rule: str
    by: list[str] = field(default_factory=list)
    target_classes: list[dict[str, Any]] = field(default_factory=list)
    suspects: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "text": self.text,
            "scanned": self.scanned,
            "flagged": self.flagged,
            "detector": self.detector,
            "by": self.by,
            "rule": self.rule,
            "target_classes": self.target_classes,
        }


@dataclass(frozen=True)
class _Case:
    """What one test says: its suspects, and the classes it names with its figures for them."""

    suspects: np.ndarray
    classes: dict[int, dict[str, Any]]


def decide(scores: pd.DataFrame, records: dict[str, dict[str, Any]], classes: tuple[str, ...]) -> Verdict:
    """The verdict over all finished detectors. scores: the run's table; records: name → stage record."""
    total = len(scores)
    finished = [name for name in MEMBERS if name in records]
    if not finished:
        text = (
            "no verdict yet: its tests (transplant, pattern transplant, feature mixture, second opinion) have not run"
        )
        return Verdict("unknown", text, total, 0, None, "", suspects=np.zeros(total, bool), scores=np.zeros(total))
    cases = {name: _CASES[name](scores, records[name]) for name in finished}
    having = [name for name in finished if cases[name].suspects.any()]
    suspects = np.zeros(total, dtype=bool)
    for name in having:
        suspects |= cases[name].suspects
    combined = np.max([_on_one_scale(scores, name, cases[name].suspects) for name in finished], axis=0)
    if not having:
        stray = int(np.any([scores[f"{name}_flagged"].to_numpy(dtype=bool) for name in finished], axis=0).sum())
        text = "no evidence found"
        if stray:
            text += f" ({stray} of {total:,} samples pass a test, but no class stands out as a target)"
        return Verdict("no_evidence", text, total, 0, finished[0], RULE, suspects=suspects, scores=combined)
    targets = _targets(cases, classes)
    count = int(suspects.sum())
    text = f"likely poisoned: {count:,} of {total:,} samples, {_named(targets, len(classes))}"
    strongest = max(having, key=lambda name: int(cases[name].suspects.sum()))
    return Verdict("poisoned", text, total, count, strongest, RULE, having, targets, suspects, combined)


def anomaly_indices(table: list[dict[str, Any]], key: str = "") -> list[float]:
    """How far each class's share of flagged samples (or its figure `key`) lies above the median of the others'.

    In units of their median absolute deviation, made consistent with a normal distribution.
    """
    rates = np.array([row[key] if key else row["flagged"] / max(1, row["predicted"]) for row in table])
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


def _least(total: int) -> float:
    """Flagged samples of a class that a case takes."""
    return max(_LEAST, _LEAST_SHARE * total)


def _by_class(
    name: str, strength: Callable[[dict[str, Any]], bool], key: str = ""
) -> Callable[[pd.DataFrame, dict[str, Any]], _Case]:
    """A test that names classes: those that stand out, are strong and hold enough flagged samples.

    key: the figure by which a class has to stand out; its share of flagged samples if empty.
    """

    def case(scores: pd.DataFrame, record: dict[str, Any]) -> _Case:
        table = record["tables"]["classes"]
        least = _least(len(scores))
        named = {
            int(row["class"]): {**row, "anomaly_index": round(index, 2)}
            for row, index in zip(table, anomaly_indices(table, key), strict=True)
            if index > ANOMALY_LIMIT and strength(row) and row["flagged"] >= least
        }
        flagged = scores[f"{name}_flagged"].to_numpy(dtype=bool)
        return _Case(flagged & np.isin(scores["predicted"].to_numpy(), list(named)), named)

    return case


def _second_opinion(scores: pd.DataFrame, record: dict[str, Any]) -> _Case:
    """What it flags in labels whose flagged samples are mostly contradicted; the others only look like those.

    The classes it names are those labels that stand out, or all of them where none does: all-to-all, random labels.
    """
    table = [{**row, "predicted": row["samples"]} for row in record["tables"]["classes"]]
    held = [row for row in table if row["flagged"] and row["contradicted_flagged"] > _MOSTLY]
    indices = {int(row["class"]): index for row, index in zip(table, anomaly_indices(table), strict=True)}
    named = {
        int(row["class"]): {**row, "anomaly_index": round(indices[int(row["class"])], 2)}
        for row in held
        if row["flagged"] >= _LEAST and indices[int(row["class"])] > ANOMALY_LIMIT
    }
    if not named:
        named = {int(row["class"]): dict(row) for row in held if row["flagged"] >= _LEAST}
    flagged = scores["second_opinion_flagged"].to_numpy(dtype=bool)
    return _Case(flagged & np.isin(scores["label"].to_numpy(), [row["class"] for row in held]), named)


def _mixture(scores: pd.DataFrame, record: dict[str, Any]) -> _Case:
    """What it flags, which is nothing outside of classes that stand out by its own rule."""
    least = _least(len(scores))
    rows = record["tables"]["classes"]
    named = {
        int(row["class"]): {**row, "anomaly_index": round(row["anomaly_index"], 2)}
        for row in rows
        if row["flagged"] >= least
    }
    flagged = scores["mixture_flagged"].to_numpy(dtype=bool)
    return _Case(flagged & np.isin(scores["label"].to_numpy(), list(named)), named)


_CASES: dict[str, Callable[[pd.DataFrame, dict[str, Any]], _Case]] = {
    "transplant": _by_class("transplant", lambda row: bool(row["strength"] > _STRONG)),
    # Patterns of honest classes turn some images too, where objects stand in one place: compare what they turn.
    "pattern": _by_class("pattern", lambda row: bool(row["turned"] > 0.5), "turned"),
    "mixture": _mixture,
    "second_opinion": _second_opinion,
}


def _on_one_scale(scores: pd.DataFrame, name: str, suspects: np.ndarray) -> np.ndarray:
    """A test's scores as ranks in [0, 1], its suspects in the upper half: scores of different tests can be compared."""
    values = scores[f"{name}_score"].to_numpy(dtype=np.float64)
    found = np.zeros(len(values))
    for chosen, offset in ((suspects, 0.5), (~suspects, 0.0)):
        own = values[chosen]
        if len(own):
            ranks = np.searchsorted(np.sort(own), own, side="right") / len(own)  # equal scores, equal ranks
            found[chosen] = offset + 0.5 * (ranks if offset else ranks * (1 - 1e-9))
    return found


def _targets(cases: dict[str, _Case], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """One entry a named class: its name, the tests that name it, the most samples one of them flags, their figures."""
    found: dict[int, dict[str, Any]] = {}
    for test, case in cases.items():
        for number, row in case.classes.items() if case.suspects.any() else ():
            entry = found.setdefault(number, {"class": number, "name": classes[number], "by": [], "flagged": 0})
            entry["by"].append(test)
            entry["flagged"] = max(int(entry["flagged"]), int(row["flagged"]))
            for key in ("transplant_rate", "strength", "turned", "anomaly_index"):
                if key in row:
                    entry.setdefault(key, row[key])
    return sorted(found.values(), key=lambda entry: (-len(entry["by"]), -int(entry["flagged"])))


def _named(targets: list[dict[str, Any]], classes: int) -> str:
    if len(targets) > max(1, _MOST_TARGETS * classes):
        return f"labels of {len(targets)} of {classes} classes (no single target)"
    names = ", ".join(str(row["name"]) for row in targets[:3]) + (", …" if len(targets) > 3 else "")
    return f"target {'class' if len(targets) == 1 else 'classes'} {names}" if targets else "no class stands out"
