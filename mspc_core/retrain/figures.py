"""The figures of a model that a retraining compares: accuracy, attack success, by class, over seeds. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def figure(
    accuracy: float | None, attack_success_rate: float | None, per_class: dict[str, float | None], seed: int
) -> dict[str, Any]:
    """One training's figures, all shares in [0, 1] or None."""
    return {
        "accuracy": accuracy,
        "attack_success_rate": attack_success_rate,
        "per_class_accuracy": per_class,
        "seed": seed,
    }


def per_class_accuracy(predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """Share of each class's images that get their label; None for a class without any. predicted, labels: int [N]."""
    found: dict[str, float | None] = {}
    for number, name in enumerate(classes):
        own = labels == number
        found[name] = float((predicted[own] == number).mean()) if own.any() else None
    return found


def over_seeds(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The mean of several trainings' figures; `sd` (n − 1) is None for one training; `by_seed` has each one's."""
    if not rows:
        return None
    names = rows[0]["per_class_accuracy"]
    keys = ("accuracy", "attack_success_rate")
    return {
        **{key: _mean([row[key] for row in rows]) for key in keys},
        "per_class_accuracy": {name: _mean([row["per_class_accuracy"][name] for row in rows]) for name in names},
        "sd": {key: _deviation([row[key] for row in rows]) for key in keys},
        "images": rows[0].get("images"),
        "by_seed": [{"seed": row["seed"], **{key: row[key] for key in keys}} for row in rows],
    }


def removed_changes(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """What the models say of the removed samples, all int [M]. Transitions: old label → new prediction, most first."""
    pairs, counts = np.unique(np.stack([labels, after], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        "count": len(labels),
        "old_label_before": int((before == labels).sum()),
        "old_label_after": int((after == labels).sum()),
        "transitions": [
            {"label": classes[pairs[i, 0]], "predicted": classes[pairs[i, 1]], "count": int(counts[i])} for i in order
        ],
    }


def truth_figures(
    is_backdoor: np.ndarray, dropped: np.ndarray, relabelled: np.ndarray, right: np.ndarray
) -> dict[str, int]:
    """How the selection compares with the truth, all bool [N]. right: the new label is the original one.

    missed_poison: kept with its planted label. lost_clean: clean and dropped.
    """
    return {
        "missed_poison": int((is_backdoor & ~dropped & ~(relabelled & right)).sum()),
        "lost_clean": int((~is_backdoor & dropped).sum()),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None
