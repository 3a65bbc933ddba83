"""Precision-recall curves, and how sure the areas under these and ROC curves are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspc_core.distributions import counts_at, without_nan

_STEPS = 1000  # distinct scores kept by the bootstrap; more are merged, ties counting half as in the area itself
_CHUNK = 50  # resamples drawn at a time, so that memory stays small


@dataclass(frozen=True)
class PrecisionRecall:
    """recall: ascending, [K]; precision: [K]. average_precision: the area under the steps. base: share of backdoors,
    the precision of flagging at random. point: (recall, precision) at the detector's own threshold, None where it flags
    nothing."""

    recall: np.ndarray
    precision: np.ndarray
    average_precision: float
    base: float
    point: tuple[float, float] | None


@dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of the two areas, (low, high)."""

    auroc: tuple[float, float]
    average_precision: tuple[float, float]


def precision_recall(
    scores: np.ndarray, truth: np.ndarray, threshold: float, most: int = 400
) -> PrecisionRecall | None:
    """Curve of scores [N] against truth bool [N]; None if only one kind of sample is there.

    NaN counts as the lowest score. The curve is thinned to about `most` points; area and operating point come from
    the whole.
    """
    bad = np.asarray(truth, dtype=bool)
    if bad.all() or not bad.any():
        return None
    from sklearn.metrics import average_precision_score, precision_recall_curve

    values = np.asarray(scores, dtype=float)
    ranked = without_nan(values)
    precision, recall, _ = precision_recall_curve(bad, ranked)
    precision, recall = precision[::-1], recall[::-1]
    counts = counts_at(values, bad, threshold)
    point = (counts.tpr or 0.0, (counts.caught or 0) / counts.flagged) if counts.flagged else None
    if len(recall) > most:
        kept = np.unique(np.linspace(0, len(recall) - 1, most).round().astype(int))
        precision, recall = precision[kept], recall[kept]
    return PrecisionRecall(recall, precision, float(average_precision_score(bad, ranked)), float(bad.mean()), point)


def bootstrap(
    scores: np.ndarray, truth: np.ndarray, *, repeats: int = 1000, level: float = 0.95, seed: int = 0
) -> Intervals | None:
    """Percentile intervals of AUROC and average precision over resampled data sets (Efron and Tibshirani, 1993).

    Clean and backdoored samples are resampled apart, so that each resample has as many of both. Drawing counts of each
    distinct score from a multinomial is the same as drawing samples, and needs no sorting. scores [N]; truth: bool
    [N]. None if only one kind of sample is there. The same seed gives the same intervals.
    """
    bad = np.asarray(truth, dtype=bool)
    if bad.all() or not bad.any():
        return None
    steps = _steps(without_nan(np.asarray(scores, dtype=float)))
    here = [np.bincount(steps[part], minlength=steps.max() + 1) for part in (bad, ~bad)]
    generator = np.random.default_rng(seed)
    areas = []
    for start in range(0, repeats, _CHUNK):
        size = min(_CHUNK, repeats - start)
        areas.append(areas_of(*(generator.multinomial(part.sum(), part / part.sum(), size) for part in here)))
    edges = 50 * (1 - level), 100 - 50 * (1 - level)
    auroc, precision = (np.percentile(np.concatenate(found), edges) for found in zip(*areas, strict=True))
    return Intervals((float(auroc[0]), float(auroc[1])), (float(precision[0]), float(precision[1])))


def areas_of(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC [R] and average precision [R] from how many samples of each kind have each score, ascending: [R, K]."""
    below = np.cumsum(negative, axis=1) - negative
    positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
    auroc = (positive * (below + 0.5 * negative)).sum(axis=1) / (positives * negatives)
    caught = np.cumsum(positive[:, ::-1], axis=1)
    flagged = caught + np.cumsum(negative[:, ::-1], axis=1)
    precision = np.divide(caught, flagged, out=np.zeros(caught.shape), where=flagged > 0)
    return auroc, (positive[:, ::-1] * precision).sum(axis=1) / positives


def _steps(values: np.ndarray) -> np.ndarray:
    """Each value's place among the distinct ones, int [N]; neighbours share one where there are more than `_STEPS`."""
    distinct, places = np.unique(values, return_inverse=True)
    places = places.reshape(-1)
    if len(distinct) <= _STEPS:
        return places
    # Equal parts of the samples, not of the range: scores crowd in places.
    before = np.cumsum(np.bincount(places)) - 1
    return (before * _STEPS // len(values))[places]


def tpr_at(scores: np.ndarray, truth: np.ndarray, allowed: float = 0.01) -> float | None:
    """The highest true-positive rate with at most `allowed` false positives; None if only one kind of sample is
    there. NaN counts as the lowest score."""
    bad = np.asarray(truth, dtype=bool)
    if bad.all() or not bad.any():
        return None
    from mspc_core.evaluate import roc_points

    fpr, tpr, _ = roc_points(bad, without_nan(np.asarray(scores, dtype=float)))
    return float(tpr[fpr <= allowed].max(initial=0.0))
