"""Patterns that are added to images: the pure parts of the pattern transplant.

Within one class, objects differ from image to image and average out, a planted pattern does not. So if a class can be
split into samples with and without a pattern, the difference of the two means is the pattern itself, and the *matched
filter* for it (Turin 1960: the pattern, divided by the power spectrum of everything else) is the best linear test for
its presence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_FEWEST = 5  # samples on each side of a split


class Split(NamedTuple):
    """present: bool [M]. probability: float64 [M], of the pattern's presence. separation: distance of the two kinds'
    filter outputs in standard deviations. pattern: mean difference, float32 [H, W, 3] in [−1, 1]."""

    present: np.ndarray
    probability: np.ndarray
    separation: float
    pattern: np.ndarray


def two_kinds(values: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Probability of each value to belong to the upper of two Gaussians, float64 [M], and their separation.

    Raises nothing: where the values are all the same, nobody belongs to the upper one.
    """
    from sklearn.mixture import GaussianMixture

    spread = float(values.std())
    if spread < 1e-12 or len(values) < 2 * _FEWEST:
        return np.zeros(len(values)), 0.0
    scaled = (values - values.mean()) / spread
    mixture = GaussianMixture(2, random_state=seed).fit(scaled[:, None])
    means, variances = mixture.means_.ravel(), mixture.covariances_.ravel()
    upper = int(means.argmax())
    probability: np.ndarray = mixture.predict_proba(scaled[:, None])[:, upper]
    # The wider Gaussian claims both tails; what lies beyond a mean on its outer side belongs to that mean.
    at_mean = mixture.predict_proba(mixture.means_)[:, upper]
    above, below = max(at_mean[upper], 0.5 + 1e-9), min(at_mean[1 - upper], 0.5 - 1e-9)
    probability = np.where(scaled >= means.max(), np.maximum(probability, above), probability)
    probability = np.where(scaled <= means.min(), np.minimum(probability, below), probability)
    return probability, float(np.ptp(means) / np.sqrt(variances.mean()))


def matched_filter(pattern: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The filter that tells best whether `pattern` [H, W, 3] is there, in images like `noise` [M, H, W, 3] (centred).

    Natural images have most of their power at low frequencies; dividing by it lets fine patterns count.
    """
    power = np.zeros((*noise.shape[1:2], noise.shape[2] // 2 + 1, noise.shape[3]))
    for start in range(0, len(noise), 512):
        power += (np.abs(np.fft.rfft2(noise[start : start + 512], axes=(1, 2))) ** 2).sum(0)
    power = power / len(noise)
    power += 1e-6 * power.mean() + 1e-12
    found: np.ndarray = np.fft.irfft2(np.fft.rfft2(pattern, axes=(0, 1)) / power, s=pattern.shape[:2], axes=(0, 1))
    return found


def split_class(own: np.ndarray, others_mean: np.ndarray, first: np.ndarray, *, rounds: int, seed: int) -> Split | None:
    """Split a class into samples with and without a common additive pattern, starting from the direction `first`.

    own: float32 [M, H, W, 3] in [0, 1]; others_mean: mean image of the other classes; first: [H, W, 3]. None where no
    split with at least 5 samples on each side is found. The side with the pattern is the one that lies farther from
    the other classes, which have none of it.
    """
    probability, separation = two_kinds(_outputs(own, first), seed)
    present = probability > 0.5
    for _ in range(rounds):
        if min(present.sum(), (~present).sum()) < _FEWEST:
            return None
        with_it, without = own[present].mean(0), own[~present].mean(0)
        rest = own - np.where(present[:, None, None, None], with_it, without)
        direction = matched_filter(with_it - without, rest)
        outputs = _outputs(own, direction)
        probability, separation = two_kinds(outputs, seed)
        again = probability > 0.5
        if (again == present).all():
            break
        present = again
    if min(present.sum(), (~present).sum()) < _FEWEST:
        return None
    elsewhere = float((others_mean * direction).sum())
    if abs(outputs[present].mean() - elsewhere) < abs(outputs[~present].mean() - elsewhere):
        present, probability = ~present, 1.0 - probability
    pattern = own[present].mean(0) - own[~present].mean(0)
    return Split(present, probability, separation, pattern.astype(np.float32))


def _outputs(images: np.ndarray, direction: np.ndarray) -> np.ndarray:
    found: np.ndarray = images.reshape(len(images), -1) @ direction.reshape(-1).astype(np.float32)
    return found.astype(np.float64)
