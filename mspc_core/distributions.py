"""Numbers behind the figures: bins, counts at a threshold, ROC curves. Pure NumPy; figures get bins, never samples.

Shared by the app's pages (as `ui.figures_data`) and the report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# Detectors whose score is bounded by its definition; others get the range of their scores.
NATURAL_RANGE = {"spc": (0.0, 1.0), "mspc": (-1.0, 1.0), "transplant": (0.0, 1.0), "pattern": (0.0, 1.0)}
_MOST_DISCRETE = 40  # with at most this many distinct scores, every one gets its own bar
_LEAST_BARS = 10  # over the natural range
_BINS = 40
_BEYOND = 1e100  # no detector scores so high; differences of what a strange file may say would not be finite any more


@dataclass(frozen=True)
class Bins:
    """A histogram. edges: [B + 1], ascending. clean, backdoor: counts [B]; backdoor is None while the truth is unknown
    (then `clean` counts all samples). missing: samples without a score."""

    edges: np.ndarray
    clean: np.ndarray
    backdoor: np.ndarray | None
    missing: int
    discrete: bool

    @property
    def centres(self) -> np.ndarray:
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def total(self) -> np.ndarray:
        return self.clean if self.backdoor is None else self.clean + self.backdoor


def bin_edges(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, bool]:
    """Edges for a histogram of finite values, and whether every bar stands for one value.

    Detectors' scores are shares of few scales or partners: when all values lie on one even grid, bars are centred on
    the grid, so that no two scores share a bar and no threshold hides inside one.
    """
    distinct = np.unique(values)
    if len(distinct) >= 2 and len(distinct) <= _MOST_DISCRETE:
        step = float(np.diff(distinct).min())
        if np.isfinite(high - low):  # few values far apart would give a few broad bars: refine their grid
            step /= max(1, int(np.ceil(step * _LEAST_BARS / (high - low) - 1e-9)))
        first, last = min(low, float(distinct[0])), max(high, float(distinct[-1]))
        bars = (last - first) / step  # infinite where the step is next to nothing
        if bars < 2 * _MOST_DISCRETE + 0.5:
            offset = (distinct - distinct[0]) / step
            aligned = abs((distinct[0] - first) / step - round((distinct[0] - first) / step)) < 0.05
            if aligned and np.abs(offset - offset.round()).max() < 0.05:
                return first + (np.arange(round(bars) + 2) - 0.5) * step, True
    first, last = min(low, float(distinct[0])), max(high, float(distinct[-1]))
    return np.linspace(first, last if last > first else first + 1.0, _BINS + 1), False


def histogram(scores: np.ndarray, truth: np.ndarray | None, natural: tuple[float, float] | None = None) -> Bins:
    """Bin scores [N]; truth: bool [N] or None. NaN and infinite scores are counted as missing."""
    scores = np.asarray(scores, dtype=float)
    usable = _usable(scores)
    values = scores[usable]
    low, high = natural or (np.inf, -np.inf)
    if not len(values):
        edges = np.linspace(low if natural else 0.0, high if natural else 1.0, _BINS + 1)
        nothing = np.zeros(_BINS, dtype=int)
        return Bins(edges, nothing, None if truth is None else nothing, int((~usable).sum()), False)
    edges, discrete = bin_edges(values, low, high)
    missing = int((~usable).sum())
    if truth is None:
        return Bins(edges, np.histogram(values, edges)[0], None, missing, discrete)
    bad = np.asarray(truth, dtype=bool)[usable]
    return Bins(edges, np.histogram(values[~bad], edges)[0], np.histogram(values[bad], edges)[0], missing, discrete)


def _usable(scores: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(scores) < _BEYOND  # NaN is not
    return found


def rebinned(bins: Bins, scores: np.ndarray, truth: np.ndarray | None) -> Bins:
    """Other scores counted in the bars of a histogram, for instance a part of its samples. scores [N]; truth: bool [N]
    or None."""
    usable = _usable(scores)
    missing = int((~usable).sum())
    if truth is None:
        return replace(bins, clean=np.histogram(scores[usable], bins.edges)[0], backdoor=None, missing=missing)
    clean, backdoor = (np.histogram(scores[usable & part], bins.edges)[0] for part in (~truth, truth))
    return replace(bins, clean=clean, backdoor=backdoor, missing=missing)


def line_position(bins: Bins, threshold: float) -> float:
    """Where to draw a threshold: with one bar a value, between the last bar that is kept and the first that is flagged
    (every threshold in between acts alike), else at its value."""
    if not bins.discrete:
        return threshold
    flagged = np.flatnonzero(bins.centres > threshold + 1e-9)
    return float(bins.edges[flagged[0]]) if len(flagged) else float(bins.edges[-1])


@dataclass(frozen=True)
class Counts:
    """What a threshold does. The last four are None while the truth is unknown; the rates also without such samples."""

    flagged: int
    kept: int
    caught: int | None = None
    missed: int | None = None
    false_alarms: int | None = None
    tpr: float | None = None
    fpr: float | None = None


def counts_at(scores: np.ndarray, truth: np.ndarray | None, threshold: float) -> Counts:
    """Flag scores above the threshold (NaN is never above) and count. scores [N]; truth: bool [N] or None."""
    flagged = np.asarray(scores, dtype=float) > threshold
    total = int(flagged.sum())
    if truth is None:
        return Counts(total, len(flagged) - total)
    bad = np.asarray(truth, dtype=bool)
    caught, false_alarms = int((flagged & bad).sum()), int((flagged & ~bad).sum())
    positives, negatives = int(bad.sum()), int((~bad).sum())
    return Counts(
        total,
        len(flagged) - total,
        caught,
        positives - caught,
        false_alarms,
        caught / positives if positives else None,
        false_alarms / negatives if negatives else None,
    )


def without_nan(values: np.ndarray) -> np.ndarray:
    """Scores [N] in which those that are not finite rank below all others."""
    finite = np.isfinite(values)
    lowest = float(values[finite].min()) - 1.0 if finite.any() else 0.0
    found: np.ndarray = np.where(finite, values, lowest)
    return found


@dataclass(frozen=True)
class Roc:
    """fpr, tpr: the curve, ascending, from (0, 0) to (1, 1). point: (fpr, tpr) at the detector's own threshold."""

    fpr: np.ndarray
    tpr: np.ndarray
    auroc: float
    point: tuple[float, float]


def roc(scores: np.ndarray, truth: np.ndarray, threshold: float, most: int = 400) -> Roc | None:
    """ROC curve of scores [N] against truth bool [N]; None if only one kind of sample is there.

    NaN counts as the lowest score. The curve is thinned to about `most` points; area and operating point come from
    the whole.
    """
    bad = np.asarray(truth, dtype=bool)
    if bad.all() or not bad.any():
        return None
    from sklearn.metrics import auc

    from mspc_core.evaluate import roc_points

    values = np.asarray(scores, dtype=float)
    fpr, tpr, _ = roc_points(bad, without_nan(values))
    area, counts = float(auc(fpr, tpr)), counts_at(values, bad, threshold)
    if len(fpr) > most:
        kept = np.unique(np.linspace(0, len(fpr) - 1, most).round().astype(int))
        fpr, tpr = fpr[kept], tpr[kept]
    return Roc(fpr, tpr, area, (counts.fpr or 0.0, counts.tpr or 0.0))
