"""Patterns that are added to images: the pure parts of the pattern transplant.

Within one class, objects differ from image to image and average out, a planted pattern does not. So if a class can be
split into samples with and without a pattern, the difference of the two means is the pattern itself, and the *matched
filter* for it (Turin 1960: the pattern, divided by the power spectrum of everything else) is the best linear test for
its presence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mspc_core.engine.rows import blocks

_FEWEST = 5  # samples on each side of a split
_BLOCK = 512  # images in memory at a time


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
    power = np.zeros(())
    for _, part in blocks(noise, _BLOCK):
        power = power + _power(part)
    return _filter(pattern, power / len(noise))


def _power(noise: np.ndarray) -> np.ndarray:
    """Sum of the power spectra of images [B, H, W, 3]: [H, W // 2 + 1, 3]."""
    found: np.ndarray = (np.abs(np.fft.rfft2(noise, axes=(1, 2))) ** 2).sum(0)
    return found


def _filter(pattern: np.ndarray, power: np.ndarray) -> np.ndarray:
    """pattern [H, W, 3] divided by the mean power spectrum of what it is to be told from."""
    power = power + 1e-6 * power.mean() + 1e-12
    found: np.ndarray = np.fft.irfft2(np.fft.rfft2(pattern, axes=(0, 1)) / power, s=pattern.shape[:2], axes=(0, 1))
    return found


def split_class(own: np.ndarray, others_mean: np.ndarray, first: np.ndarray, *, rounds: int, seed: int) -> Split | None:
    """Split a class into samples with and without a common additive pattern, starting from the direction `first`.

    own: uint8, or float32 in [0, 1], [M, H, W, 3], read in blocks, because a class may be larger than memory;
    others_mean: mean image of the other classes; first: [H, W, 3]. None where no split with at least 5 samples on each
    side is found. The side with the pattern is the one that lies farther from the other classes, which have none of it.
    """
    probability, separation = two_kinds(_outputs(own, first), seed)
    present = probability > 0.5
    for _ in range(rounds):
        if min(present.sum(), (~present).sum()) < _FEWEST:
            return None
        with_it, without = _means(own, present)
        power = np.zeros(())
        for rows, images in _floats(own):
            power = power + _power(images - np.where(present[rows, None, None, None], with_it, without))
        direction = _filter(with_it - without, power / len(own))
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
    with_it, without = _means(own, present)
    return Split(present, probability, separation, with_it - without)


def _floats(images: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of images as float32 in [0, 1]."""
    for rows, part in blocks(images, _BLOCK):
        yield rows, part.astype(np.float32) / 255 if part.dtype == np.uint8 else part


def _means(images: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean images with and without the pattern, float32 [H, W, 3]. present: bool [M], some of either kind."""
    total = np.zeros((2, *images.shape[1:]))
    for rows, part in _floats(images):
        for kind, own in enumerate((present[rows], ~present[rows])):
            total[kind] += part[own].sum(0, dtype=np.float64)
    with_it, without = total / np.array([present.sum(), (~present).sum()]).reshape(2, 1, 1, 1)
    return with_it.astype(np.float32), without.astype(np.float32)


def _outputs(images: np.ndarray, direction: np.ndarray) -> np.ndarray:
    weights, found = direction.reshape(-1).astype(np.float32), np.zeros(len(images))
    for rows, part in _floats(images):
        found[rows] = part.reshape(len(part), -1) @ weights
    return found
