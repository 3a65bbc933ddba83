"""Turn the run of `make_run`, which is as scans were before the consensus, into one as they are now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mspc_core import runs
from mspc_core.runs import Run
from tests.ui.conftest import SIZE, TARGET, _record, set_status

TURNED, NATS, INDEX = 0.9, 41.5, 33.25


def add_consensus(run: Run, *, second_opinion: bool = True) -> Run:
    """Scores, pattern and tables of the newer tests, and the verdict by all of them.

    The pattern transplant finds the poisoned samples and turns 90 % of others; the feature mixture and the second
    opinion flag them too. All figures are made up; nothing is computed.
    """
    scores, summary = run.scores(), run.summary()
    classes = len(summary["dataset"]["classes"])
    truth = (scores["row"].to_numpy() % 8) == 0
    predicted = scores["predicted"].to_numpy()
    noise = np.random.default_rng(5).random(len(scores))
    own = predicted == TARGET
    scores["pattern_score"] = np.where(own, TURNED * np.where(truth, 0.9 + 0.1 * noise, 0.1 * noise), 0.0)
    scores["pattern_flagged"] = scores["pattern_score"] > 0.5
    if second_opinion:
        scores["second_opinion_score"] = np.where(truth, 1.0 + 9.0 * noise, -1.0 - 9.0 * noise)
        scores["second_opinion_flagged"] = scores["second_opinion_score"] > 0
    scores["mixture_score"] = np.where(truth, 0.55 + 0.4 * noise, 0.4 * noise)
    scores["mixture_flagged"] = truth
    suspects = scores["transplant_flagged"].to_numpy(dtype=bool) | truth
    scores["suspect_score"] = np.where(suspects, 0.5 + 0.5 * np.maximum(noise, 0.01), 0.49 * noise)
    scores["suspect"] = suspects
    last = ["suspect_score", "suspect", "row", "original_label", "is_backdoor"]
    run.save_scores(scores[[name for name in scores if name not in last] + last])

    patterns = np.zeros((classes, SIZE, SIZE), dtype=np.float32)
    patterns[TARGET, 11:15, 11:15] = 0.4
    run.save_masks({**run.masks(), "pattern": patterns})
    records = summary["detectors"]
    records["pattern"] = _record(
        "Pattern transplant", "ours", 0.5, scores, "pattern", {"classes": _patterns(scores, own)}
    )
    records["mixture"] = _record("Feature mixture", "ours", 0.5, scores, "mixture", {"classes": _mixtures(scores)})
    by = ["transplant", "pattern", "mixture"]
    if second_opinion:
        tables = {"classes": _opinions(scores), "refinements": _refinements(), "evidence": [_evidence()]}
        records["second_opinion"] = _record("Second opinion", "ours", 0.0, scores, "second_opinion", tables)
        by.append("second_opinion")
    target = {**summary["verdict"]["target_classes"][0], "by": by, "turned": TURNED, "strength": 0.95}
    summary["verdict"] |= {"by": by, "flagged": int(suspects.sum()), "target_classes": [target]}
    run.save_summary(summary)
    asked = runs.DEFAULT_DETECTORS if second_opinion else runs.DEFAULT_DETECTORS[:-1]
    run.save_config(replace(run.config(), detectors=asked))
    set_status(run, "finished")
    return run


def _patterns(scores: Any, own: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for number in np.unique(scores["predicted"]):
        here = scores["predicted"] == number
        count = int(scores.loc[here, "pattern_flagged"].sum())
        rows.append(
            {
                "class": int(number),
                "predicted": int(here.sum()),
                "flagged": count,
                "with_pattern": count,
                "turned": TURNED if count else 0.0,
                "strength": 0.4 if count else 0.0,
                "separation": 7.5 if count else 0.0,
            }
        )
    return rows


def _mixtures(scores: Any) -> list[dict[str, Any]]:
    rows = []
    for number in np.unique(scores["label"]):
        here = scores["label"] == number
        count = int(scores.loc[here, "mixture_flagged"].sum())
        rows.append(
            {
                "class": int(number),
                "samples": int(here.sum()),
                "statistic": 61.5 if count else 6.0 + float(number) / 4,
                "anomaly_index": INDEX if count else float(number) / 4,
                "explained": 0.93 if count else 0.66,
                "second": count / int(here.sum()),
                "kinds_second": 1.9,
                "kinds_first": 1.2,
                "flagged": count,
            }
        )
    return rows


def _opinions(scores: Any) -> list[dict[str, Any]]:
    rows = []
    for number in np.unique(scores["label"]):
        here = scores["label"] == number
        count = int(scores.loc[here, "second_opinion_flagged"].sum())
        rows.append(
            {
                "class": int(number),
                "samples": int(here.sum()),
                "flagged": count,
                "contradicted_flagged": 0.95 if count else 0.0,
                "contradicted_others": 0.2,
            }
        )
    return rows


def _refinements() -> list[dict[str, float]]:
    return [{"flagged": 4.0, "evidence": 17.0}, {"flagged": 6.0, "evidence": 33.25}, {"flagged": 6.0, "evidence": NATS}]


def _evidence() -> dict[str, float]:
    return {"nats": NATS, "first": 17.0, "asked": 13.8, "agreement": 0.72}
