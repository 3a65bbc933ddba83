"""SPECTRE (Hayase et al., "SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics", ICML 2021).

Spectral signatures fail where the poison's direction is not the one of largest variance. SPECTRE (algorithm 1) first
estimates mean and covariance of a class *robustly*, whitens with them, so that only the poison's directions keep a
variance above one, and scores by quantum entropy (QUE): with Σ̃ the covariance of all whitened samples,
Q = exp(α(Σ̃ − I)/(‖Σ̃‖₂ − 1)) and τ(x) = x̃ᵀQx̃/tr(Q), α = 4. It is tried on the top k principal components for
k = 1, 4, 9, … 100 and the k with the largest mean score is kept; the class with the largest mean score is taken as the
target. There the 1.5·ε·n highest scores are removed.

Deviations: the paper's robust filter is replaced by concentration steps (Rousseeuw & Van Driessen 1999, started from
the coordinate-wise median and MAD): keep the 1 − 2ε share of the samples that lies nearest to the mean, estimate again,
repeat; like the published filter it sets at most 2ε aside. ε, given in the paper, is a setting. The mean score that is
compared between classes and between values of k is the one of the removed set, tr(Σ̃Q)/tr(Q), as in the paper's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy.linalg import expm
from scipy.stats import chi2
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import check_labels, members_of, note_constant, top_share
from mspc_core.detectors.features import collect_features
from mspc_core.engine.forward import counting
from mspc_core.errors import Progress, ShouldStop, stop_if

_MINIMUM = 8
_DIMENSIONS = tuple(k * k for k in range(1, 11))
_SAMPLES_PER_DIMENSION = 5  # a k × k covariance of fewer is noise
_STEPS = 20


@dataclass(frozen=True)
class SpectreConfig:
    """expected: ε, the share of poison expected in the target class. alpha: of QUE, 4 as published. multiplier: 1.5 as
    published. dimensions: values of k to try (those that the class size allows)."""

    expected: float = 0.1
    alpha: float = 4.0
    multiplier: float = 1.5
    dimensions: tuple[int, ...] = _DIMENSIONS


class Spectre:
    """Score: QUE divided by the cut-off in the class taken as the target, above 1 is removed; at most 1 elsewhere."""

    name: ClassVar[str] = "spectre"
    title: ClassVar[str] = CATALOG["spectre"].title
    citation: ClassVar[str] = CATALOG["spectre"].citation
    needs: ClassVar[Needs] = CATALOG["spectre"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SpectreConfig | None = None) -> None:
        self.config = config or SpectreConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        clean: CleanData | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. One forward for each image. `artifacts_.tables["classes"]` has each class's k and mean
        score."""
        labels, config = check_labels(labels, len(images)), self.config
        with counting(model) as count:
            features = collect_features(model, images, progress=progress, should_stop=should_stop).penultimate
        classes, notes = members_of(labels, _MINIMUM)
        found: dict[int, tuple[np.ndarray, float, int]] = {}
        for done, (label, members) in enumerate(classes.items(), start=1):
            stop_if(should_stop)
            best = best_que(features[members], config, should_stop)
            if best is not None:
                found[label] = best
            if progress:
                progress(done, len(classes), "estimating robust covariances")
        target = max(found, key=lambda label: found[label][1], default=-1)
        scores, rows = np.zeros(len(images)), []
        for label, (que, mean, dimension) in found.items():
            scores[classes[label]] = (
                top_share(que, config.expected * config.multiplier)
                if label == target
                else que / que.max() * min(1.0, mean / found[target][1])  # never above 1
            )
            rows.append(_row(label, dimension, mean, int((scores[classes[label]] > 1).sum())))
        removed = config.expected * config.multiplier
        self.decision_scores_ = scores
        self.threshold_ = Threshold(
            1.0,
            "quantile",
            f"the {removed:.0%} highest scores of the class with the strongest signature "
            f"({config.multiplier:g} times an expected poison share of {config.expected:.0%})",
        )
        self.labels_ = scores > 1.0
        constant = [label for label in classes if label not in found]
        self.artifacts_ = Artifacts(
            tables={"classes": rows}, notes=[*notes, *note_constant(constant)], forward_equivalents=count.equivalents
        )
        return self


def robust_moments(data: np.ndarray, aside: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean [k] and covariance [k, k] of the most concentrated 1 − `aside` of the samples [n, k]."""
    keep = max(data.shape[1] + 2, round((1 - aside) * len(data)))
    middle = np.median(data, 0)
    spread = 1.4826 * np.median(np.abs(data - middle), 0)
    distance = (((data - middle) / np.where(spread > 0, spread, data.std(0) + 1e-12)) ** 2).sum(1)
    kept = np.argsort(distance, kind="stable")[:keep]
    for _ in range(_STEPS):
        mean = data[kept].mean(0)
        covariance = np.atleast_2d(np.cov(data[kept].T, bias=True))
        covariance += 1e-9 * max(float(np.trace(covariance)), 1e-12) * np.eye(len(covariance))
        offset = data - mean
        distance = (offset * np.linalg.solve(covariance, offset.T).T).sum(1)
        new = np.argsort(distance, kind="stable")[:keep]
        if set(new) == set(kept):
            break
        kept = new
    # Cutting the tails makes the covariance too small: scale it so that the median distance is what a Gaussian has.
    return mean, covariance * max(float(np.median(distance)), 1e-12) / float(chi2.median(data.shape[1]))


def que_scores(white: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    """QUE scores of whitened samples [n, k] → (float64 [n], tr(Σ̃Q)/tr(Q))."""
    covariance = np.atleast_2d(np.cov(white.T, bias=True))
    excess = float(np.linalg.norm(covariance, 2)) - 1.0
    identity = np.eye(len(covariance))
    weight = expm(alpha * (covariance - identity) / excess) if excess > 1e-6 and len(identity) > 1 else identity
    scores = (white * (white @ weight)).sum(1) / float(np.trace(weight))
    return scores, float(np.trace(covariance @ weight) / np.trace(weight))


def best_que(
    features: np.ndarray, config: SpectreConfig, should_stop: ShouldStop | None = None
) -> tuple[np.ndarray, float, int] | None:
    """Scores of one class's features [n, D] at the k with the largest mean: (scores [n], mean, k). None if constant."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    rank = int((values > 1e-10 * max(float(values[-1]), 1e-12)).sum())
    if float(np.abs(centred).max()) <= 1e-6 * max(1.0, float(np.abs(features).max())) or not rank:
        return None
    best: tuple[np.ndarray, float, int] | None = None
    for dimension in config.dimensions:
        stop_if(should_stop)
        if best is not None and dimension > min(rank, len(features) // _SAMPLES_PER_DIMENSION):
            break
        data = centred @ vectors[:, ::-1][:, : min(dimension, rank)]
        mean, covariance = robust_moments(data, 2 * config.expected)
        spread, axes = np.linalg.eigh(covariance)
        white = (data - mean) @ (axes / np.sqrt(spread.clip(1e-12 * spread[-1]))) @ axes.T
        scores, signature = que_scores(white, config.alpha)
        if best is None or signature > best[1]:
            best = scores, signature, min(dimension, rank)
    return best


def _row(label: int, dimension: int, mean: float, flagged: int) -> dict[str, Any]:
    return {"class": label, "components": dimension, "mean_score": mean, "flagged": flagged}
