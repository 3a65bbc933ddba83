"""Splitting by a pattern: against known Gaussians, a dense computation, and images with a pattern planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mspc_core.detectors.patterns import matched_filter, split_class, two_kinds


def test_two_kinds_of_known_gaussians() -> None:
    """0.7 · N(0, 1) + 0.3 · N(4, 1): the posterior is known for every value."""
    generator = np.random.default_rng(0)
    upper = generator.random(4000) < 0.3
    values = generator.standard_normal(4000) + 4.0 * upper
    probability, separation = two_kinds(values, 0)
    above, below = 0.3 * norm.pdf(values, 4), 0.7 * norm.pdf(values, 0)
    assert np.abs(probability - above / (above + below)).max() < 0.1
    assert np.abs(probability - above / (above + below)).mean() < 0.01
    assert separation == pytest.approx(4.0, rel=0.05)
    moved, same = two_kinds(-7 * values + 100, 0)
    np.testing.assert_allclose(moved, 1 - probability, atol=1e-4, err_msg="units and sign do not matter")
    assert same == pytest.approx(separation, rel=1e-3)


def test_what_lies_beyond_a_mean_belongs_to_it() -> None:
    """N(0, 3) and N(6, 0.3): by its density alone, the wide one would claim the values far above the narrow one."""
    generator = np.random.default_rng(1)
    values = np.concatenate([3 * generator.standard_normal(500), 6 + 0.3 * generator.standard_normal(300), [7.6, 7.8]])
    assert 0.625 * norm.pdf(7.8, 0, 3) > 1000 * 0.375 * norm.pdf(7.8, 6, 0.3)
    probability, separation = two_kinds(values, 0)
    assert (probability[-2:] > 0.8).all(), "like the narrow one's mean, so that a share of turned images can count"
    assert (probability[values < 0] < 0.1).all()
    assert probability[500:800].mean() > 0.8
    mirrored, _ = two_kinds(-values, 0)
    np.testing.assert_allclose(mirrored, 1 - probability, atol=1e-4)
    assert separation == pytest.approx(6 / ((9 + 0.09) / 2) ** 0.5, rel=0.15)


@pytest.mark.parametrize("values", [np.full(40, 3.7), np.arange(9.0)])
def test_values_without_two_kinds(values: np.ndarray) -> None:
    """All the same, or too few."""
    probability, separation = two_kinds(values, 0)
    assert probability.tolist() == [0.0] * len(values)
    assert separation == 0.0


def test_white_noise_leaves_the_pattern_as_it_is() -> None:
    """Images with a single bright pixel have a flat spectrum: 1 at every frequency, for each channel."""
    noise = np.zeros((6, 4, 5, 3))
    for row, pixel in enumerate(np.random.default_rng(2).integers(0, 4, (6, 2))):
        noise[row, pixel[0], pixel[1]] = 1.0
    pattern = np.random.default_rng(3).normal(size=(4, 5, 3))
    np.testing.assert_allclose(matched_filter(pattern, noise), pattern, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(matched_filter(pattern, 3 * noise), pattern / 9, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (4, 6)])
def test_matched_filter_equals_a_dense_computation(shape: tuple[int, int]) -> None:
    """The inverse of the noise's covariance, averaged over all cyclic shifts, times the pattern; channel by channel."""
    height, width = shape
    generator = np.random.default_rng(4)
    noise = generator.normal(size=(30, height, width, 3))
    noise += 0.7 * np.roll(noise, 1, 1) + 0.5 * np.roll(noise, 1, 2)  # neighbours are alike
    pattern = generator.normal(size=(height, width, 3))
    found = matched_filter(pattern, noise)
    pixels = height * width
    for channel in range(3):
        covariance = np.zeros((pixels, pixels))
        for down in range(height):
            for right in range(width):
                shifted = np.roll(noise[..., channel], (down, right), (1, 2)).reshape(len(noise), pixels)
                covariance += shifted.T @ shifted
        covariance /= len(noise)  # a sum over the shifts: the scale of an unnormalised Fourier transform
        expected = np.linalg.solve(covariance, pattern[..., channel].ravel())
        np.testing.assert_allclose(found[..., channel].ravel(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_many_images_are_averaged_in_parts() -> None:
    noise = np.random.default_rng(5).normal(size=(600, 4, 4, 3))
    pattern = np.random.default_rng(6).normal(size=(4, 4, 3))
    power = (np.abs(np.fft.fft2(noise, axes=(1, 2))) ** 2).mean(0)
    expected = np.fft.ifft2(np.fft.fft2(pattern, axes=(0, 1)) / power, axes=(0, 1)).real
    np.testing.assert_allclose(matched_filter(pattern, noise), expected, rtol=1e-4, atol=1e-9)


SIDE = 16


def smooth(count: int, generator: np.random.Generator) -> np.ndarray:
    """Images with most of their power at low frequencies, like natural ones: float64 [N, 16, 16, 3] about 0.5."""
    coarse = generator.normal(0, 0.12, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    return 0.5 + coarse + generator.normal(0, 0.03, (count, SIDE, SIDE, 3))


def planted(share: float, sign: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A class's images, mean of the others, pattern (±0.03, the content has 0.12), and which images have it."""
    generator = np.random.default_rng(7)
    pattern = sign * 0.03 * generator.choice([-1.0, 1.0], (SIDE, SIDE, 3))
    with_it = generator.random(200) < share
    own = smooth(200, generator) + with_it[:, None, None, None] * pattern
    return own.astype(np.float32), smooth(400, generator).mean(0), pattern, with_it


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_a_planted_pattern_is_recovered(share: float, sign: float) -> None:
    """From a start that holds the pattern among as much noise; the poisoned side may be the larger one."""
    own, elsewhere, pattern, with_it = planted(share)
    first = pattern + np.random.default_rng(8).normal(0, 0.03, pattern.shape)
    found = split_class(own, elsewhere, sign * first, rounds=12, seed=0)
    assert found is not None
    assert (found.present == with_it).mean() > 0.99, "the side with the pattern, whichever way the search started"
    assert ((found.probability > 0.5) == found.present).all()
    assert found.separation > 4
    assert found.pattern.dtype == np.float32
    assert np.corrcoef(found.pattern.ravel(), pattern.ravel())[0, 1] > 0.5
    expected = own[found.present].mean(0) - own[~found.present].mean(0)
    np.testing.assert_allclose(found.pattern, expected, atol=1e-6)


def test_refining_is_what_separates() -> None:
    """Along the first direction the two kinds overlap; along the matched filter they do not."""
    own, elsewhere, pattern, with_it = planted(0.3)
    first = pattern + np.random.default_rng(8).normal(0, 0.25, pattern.shape)
    unrefined = two_kinds(own.reshape(200, -1).astype(float) @ first.ravel(), 0)[0] > 0.5
    found = split_class(own, elsewhere, first, rounds=12, seed=0)
    assert found is not None
    assert (unrefined == with_it).mean() < 0.8 < 0.99 < (found.present == with_it).mean()


def test_nothing_to_split() -> None:
    own, elsewhere, pattern, _ = planted(0.0)
    assert split_class(own[:9], elsewhere, pattern, rounds=12, seed=0) is None, "nine are not five and five"
    same = np.full((40, SIDE, SIDE, 3), 0.5, dtype=np.float32)
    assert split_class(same, elsewhere, pattern, rounds=12, seed=0) is None, "images that are all the same"
    own[:4] += (8 * pattern).astype(np.float32)
    assert split_class(own, elsewhere, pattern, rounds=12, seed=0) is None, "four with the pattern are fewer than five"
    own[4] += (8 * pattern).astype(np.float32)
    found = split_class(own, elsewhere, pattern, rounds=12, seed=0)
    assert found is not None
    assert np.flatnonzero(found.present).tolist() == [0, 1, 2, 3, 4]
