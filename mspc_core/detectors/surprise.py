"""Where labels and contents part systematically: the statistics behind the second opinion. Pure functions on arrays.

A second model that cannot see a trigger is wrong about every poisoned sample and about its usual share of the clean
ones. The *surprise* of a sample is how much more wrong it is than is usual for this label at its confidence. Surprise
is close to noise on clean data, whatever the features of an image are; poisoned samples have features of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mspc_core.engine.rows import blocks

_FOLDS = 5
_LEAST, _MOST = 0.05, 0.98  # a calibrated probability never claims certainty
_FEWEST = 10  # samples that a refinement can learn a direction from
_POWER_ITERATIONS = 2
_FIRST_PENALTY, _PENALTY = 3e-3, 3e-4  # of a ridge regression, for each sample


class Ranking(NamedTuple):
    """scores: float64 [N], higher is more suspicious. flagged: how many of the highest are flagged. evidence: log-odds
    in nats that these, rather than none, are poisoned. history: one entry a refinement, the first unrefined."""

    scores: np.ndarray
    flagged: int
    evidence: float
    history: list[dict[str, float]]

    def set_apart(self) -> np.ndarray:
        """The flagged samples, bool [N]; at least two, so that something can be learned from them."""
        chosen = np.zeros(len(self.scores), dtype=bool)
        chosen[np.argsort(-self.scores, kind="stable")[: max(2, self.flagged)]] = True
        return chosen


def expected_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, known: np.ndarray | None = None, *, within: bool = True
) -> np.ndarray:
    """How often the second model is right at its confidence in each sample, float64 [N], by isotonic regression.

    within: every label by itself. The features know the class, and a second model may be bad at some classes: pooled
    over labels, that alone would count as evidence. But half of a target class may be poison, which hides in what is
    usual for its label: pooled, it is easier to find. probabilities: float [N, C] of a model that did not train on the
    sample; labels: int [N]; known: bool [N], the samples to learn from, all if not given (a label without any takes
    its own samples).
    """
    from sklearn.isotonic import IsotonicRegression

    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    found = np.zeros(len(labels))
    for label in np.unique(labels) if within else [None]:
        own = labels == label if label is not None else np.ones(len(labels), dtype=bool)
        fit = own & known if known is not None and (own & known).any() else own
        fitted = IsotonicRegression(out_of_bounds="clip").fit(confidence[fit], right[fit])
        found[own] = fitted.predict(confidence[own])
    return np.clip(found, _LEAST, _MOST)


def log_odds(disagrees: np.ndarray, expected: np.ndarray, classes: int) -> np.ndarray:
    """log P(observed | poisoned) − log P(observed | clean) for each sample, float64 [N].

    disagrees: bool [N], does the second model contradict the label. A poisoned label agrees with it by chance only,
    with probability 1/C; a clean one with the `expected` probability.
    """
    poisoned = np.where(disagrees, 1.0 - 1.0 / classes, 1.0 / classes)
    clean = np.where(disagrees, 1.0 - expected, expected)
    return np.log(poisoned) - np.log(clean)


def best_cut(scores: np.ndarray, odds: np.ndarray) -> tuple[int, float]:
    """How many of the highest scores to flag, and the evidence for it: the prefix with the largest sum of log-odds.

    Scores must not depend on the sample's own odds (cross-fitting sees to that). Then on clean data the sum is a
    random walk that drifts down, and exceeds e nats at any length with a probability below exp(−e) (Ville 1939), as
    long as the features say no more of it than label and confidence do.
    """
    total = np.cumsum(odds[np.argsort(-scores, kind="stable")])
    best = int(total.argmax()) if len(total) else 0
    if not len(total) or total[best] <= 0:
        return 0, 0.0
    return best + 1, float(total[best])


def principal(features: np.ndarray, count: int, seed: int) -> Tensor:
    """The leading principal components of standardised features, float32 [N, ≤count]; total variance at most 1.

    features: float32 [N, D], read block by block: at 32 kB a sample they may be a map of a file. Constant features drop
    out. The steps are those of `torch.svd_lowrank` (Halko et al. 2009, algorithm 5.1, two power iterations), which
    wants all values in memory.
    """
    values = _Standardised(features)
    if not values.width:
        return torch.zeros(len(features), 1)
    wanted = min(count, len(features), values.width)
    tall = len(features) >= values.width
    onto, back = (values.times, values.transposed_times) if tall else (values.transposed_times, values.times)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        basis = onto(torch.randn(values.width if tall else len(features), wanted))
    basis = torch.linalg.qr(basis).Q
    for _ in range(_POWER_ITERATIONS):
        basis = torch.linalg.qr(onto(torch.linalg.qr(back(basis)).Q)).Q
    left, size, right = torch.linalg.svd(back(basis).T, full_matrices=False)
    left = basis @ left if tall else right.T
    return left * size / values.width**0.5


class _Standardised:
    """Features [N, D] with mean 0 and deviation 1 in every column that is not constant; never whole in memory."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features
        columns = features.shape[1]
        mean, squares = np.zeros(columns), np.zeros(columns)
        for _, part in blocks(features):
            mean += part.sum(0, dtype=np.float64)
        mean /= max(1, len(features))
        for _, part in blocks(features):
            squares += ((part - mean) ** 2).sum(0)
        spread = np.sqrt(squares / max(1, len(features) - 1))
        self._used = np.flatnonzero(spread > 1e-6 * (spread.max(initial=0.0) + 1e-12))
        self._mean = mean[self._used].astype(np.float32)
        self._spread = spread[self._used].astype(np.float32)
        self.width = len(self._used)

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        for rows, part in blocks(self._features):
            yield rows, torch.from_numpy((part[:, self._used].astype(np.float32) - self._mean) / self._spread)

    def times(self, right: Tensor) -> Tensor:
        """X R, [N, q]. right: [D, q]."""
        found = torch.empty(len(self._features), right.shape[1])
        for rows, part in self._blocks():
            found[rows] = part @ right
        return found

    def transposed_times(self, left: Tensor) -> Tensor:
        """Xᵀ L, [D, q]. left: [N, q]."""
        found = torch.zeros(self.width, left.shape[1])
        for rows, part in self._blocks():
            found += part.T @ left[rows]
        return found


def cross_ridge(inputs: Tensor, targets: Tensor, weights: Tensor, penalty: float, folds: Tensor) -> np.ndarray:
    """Weighted ridge regression, every sample predicted by a fit on the other folds, float64 [N].

    inputs: [N, D]; targets, weights: [N]; penalty: for each sample of the fit; folds: int [N].
    """
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    found = torch.zeros(len(inputs))
    for fold in folds.unique():
        fit = folds != fold
        rows = extended[fit]
        ridge = torch.full((rows.shape[1],), penalty * len(rows))
        ridge[-1] = 1e-6  # the intercept is free
        gram = rows.T @ (rows * weights[fit, None]) + torch.diag(ridge)
        found[~fit] = extended[~fit] @ torch.linalg.solve(gram, rows.T @ (weights[fit] * targets[fit]))
    return found.numpy().astype(np.float64)


def rank(
    inputs: Tensor, disagrees: np.ndarray, expected: np.ndarray, classes: int, *, refinements: int, seed: int
) -> Ranking:
    """Rank samples by how much their features say that their label does not belong to their content.

    First, regress the surprise on the features. Then, as long as there is evidence, learn what tells the flagged from
    the others, and flag again by that. inputs: float32 [N, D]; disagrees: bool [N]; expected: float [N].
    """
    count = len(disagrees)
    folds = torch.from_numpy(np.random.default_rng([seed, 21]).permutation(count) % min(_FOLDS, count))
    odds = log_odds(disagrees, expected, classes)
    right = torch.from_numpy(expected.astype(np.float32))
    # Poisoned samples are wrong with certainty, so their surprise is the expected accuracy: divided by it, it is 1.
    surprise = (torch.from_numpy(disagrees.astype(np.float32)) - (1 - right)) / right
    scores = cross_ridge(inputs, surprise, right**2, _FIRST_PENALTY, folds)
    found = Ranking(scores, *best_cut(scores, odds), [])
    history = [{"flagged": float(found.flagged), "evidence": found.evidence}]
    for _ in range(refinements):
        if found.flagged < _FEWEST or found.flagged > count // 2:
            break
        flagged = torch.zeros(count)
        flagged[np.argsort(-found.scores, kind="stable")[: found.flagged].copy()] = 1.0
        share = float(flagged.mean())
        weights = torch.where(flagged > 0, 0.5 / share, 0.5 / (1 - share))
        scores = cross_ridge(inputs, flagged, weights, _PENALTY, folds)
        found = Ranking(scores, *best_cut(scores, odds), [])
        history.append({"flagged": float(found.flagged), "evidence": found.evidence})
    return found._replace(history=history)


def posterior_odds(scores: np.ndarray, flagged: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """log P(poisoned) − log P(clean) of each sample, float64 [N], from its score and its own (dis)agreement.

    Scores of either kind are taken as normal, with the means, deviations and share of the flagged and the others.
    scores: float [N]; flagged: bool [N], at least 2 of each kind; odds: see `log_odds`. Below zero means: more likely
    clean, so zero is the threshold that follows from the definition.
    """
    share, ours, theirs = float(flagged.mean()), scores[flagged], scores[~flagged]
    width, other = max(float(ours.std()), 1e-9), max(float(theirs.std()), 1e-9)
    total = np.log(share / (1 - share)) + np.log(other / width)
    total = total - ((scores - ours.mean()) / width) ** 2 / 2 + ((scores - theirs.mean()) / other) ** 2 / 2
    return _rising(scores, total, float(ours.mean())) + odds


def _rising(scores: np.ndarray, values: np.ndarray, middle: float) -> np.ndarray:
    """Make a ratio of two normal densities rise with the score: the wider of them claims both tails, which only ever
    holds for the upper one here."""
    order = np.argsort(scores, kind="stable")
    along = values[order].copy()
    below = scores[order] <= middle
    lowest = int(along[below].argmin()) if below.any() else 0
    along[:lowest] = along[lowest]
    along = np.maximum.accumulate(along)
    found = np.empty_like(along)
    found[order] = along
    return found
