"""Thresholds that need nothing but the scores, and a note that several detectors share."""

from __future__ import annotations

import numpy as np
from scipy.stats import median_abs_deviation, norm


def top_share(scores: np.ndarray, share: float) -> float:
    """A value that the `round(share · N)` highest scores exceed (at least one), for published isolation rates.

    scores: float [N]. share: in (0, 1). With ties at the border all tied samples stay below, so that never more are
    flagged than asked for; if all scores are equal, none is.
    """
    count = min(len(scores) - 1, max(1, round(share * len(scores))))
    return float(np.sort(scores)[::-1][count])


def normal_tail(scores: np.ndarray, rate: float) -> float:
    """The value that a share `rate` of a normal distribution exceeds, fitted to the bulk of the scores.

    Median and median absolute deviation stand for mean and standard deviation, so that the fit is that of the clean
    samples as long as they are a clear majority. scores: float [N]; rate: in (0, 1).
    """
    spread = float(median_abs_deviation(scores, scale="normal"))
    return float(np.median(scores) + norm.ppf(1.0 - rate) * spread)


def one_class_note(predicted: np.ndarray) -> list[str]:
    """A sentence for a model that predicts the same class for every image (its scores say little), else nothing."""
    if len(np.unique(predicted)) > 1:
        return []
    return [
        f"The model predicts class {predicted[0]} for every image: it has learned nothing, so the scores say little."
    ]
