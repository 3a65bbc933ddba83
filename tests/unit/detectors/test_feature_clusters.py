"""Detectors that look at each class's features, on Gaussians that are known and against slow formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from mspc_core.detectors.activation_clustering import ActivationClustering, ActivationClusteringConfig, split_in_two
from mspc_core.detectors.base import CleanData
from mspc_core.detectors.classwise import EXP_2, anomaly_index, both, side, top_share
from mspc_core.detectors.scan_cov import SCAn, decompose, two_groups, whitening
from mspc_core.detectors.spectral_signatures import SpectralSignatures, top_projection
from mspc_core.detectors.spectre import Spectre, SpectreConfig, que_scores, robust_moments
from mspc_core.errors import InputError
from tests.unit.detectors.pixel_features import PixelFeatures, gaussians


def trusted(seed: int = 9) -> CleanData:
    images, labels, _ = gaussians(per_class=40, poisoned=0, seed=seed)
    return CleanData(images, labels)


def test_anomaly_index_by_hand() -> None:
    # median 3, distances 2 1 0 1 97, MAD 1
    assert anomaly_index(np.array([1, 2, 3, 4, 100.0])) == pytest.approx(np.array([-2, -1, 0, 1, 97]) / 1.4826)
    # MAD 0: mean absolute deviation 10/5 = 2
    assert anomaly_index(np.array([1, 1, 1, 1, 11.0]))[4] == pytest.approx(10 / (1.2533 * 2))
    assert anomaly_index(np.ones(5)).tolist() == [0] * 5
    assert anomaly_index(np.array([1.0, 50.0])).tolist() == [0, 0]


def test_one_score_for_class_and_sample() -> None:
    margin = np.array([-3.0, -1.0, 0.0, 2.0, 500.0])
    assert (side(margin) > 0.5).tolist() == [False, False, False, True, True]
    assert (np.diff(side(margin)) > 0).all()
    assert (both(1.01, margin) > 0.5).tolist() == (margin > 0).tolist()
    assert not (both(1.0, margin) > 0.5).any()
    assert both(0.5, margin) == pytest.approx(side(margin) / 4)


def test_top_share_removes_just_that_many() -> None:
    scores = np.arange(1, 21.0)
    assert (top_share(scores, 0.15) > 1).sum() == 3
    assert top_share(scores, 0.15)[16] == 1.0
    assert not (top_share(np.zeros(5), 0.4) > 1).any()


def test_activation_clustering_finds_the_small_cluster() -> None:
    images, labels, poison = gaussians()
    found = ActivationClustering().fit(PixelFeatures(), images, labels=labels)
    assert found.labels_[poison].mean() >= 0.95
    assert found.labels_[~poison].mean() <= 0.02
    assert found.artifacts_.forward_equivalents == len(images)
    row = found.artifacts_.tables["classes"][1]
    assert row["smaller_share"] == pytest.approx(0.2, abs=0.02)
    assert row["flagged"] == found.labels_[labels == 1].sum()


@pytest.mark.parametrize("detector", [ActivationClustering, SCAn])
def test_clean_gaussians_are_left_alone(detector: type) -> None:
    images, labels, _ = gaussians(poisoned=0)
    found = detector().fit(PixelFeatures(), images, labels=labels, clean=trusted())
    assert found.labels_.mean() <= 0.02


def test_activation_clustering_does_not_guess_between_halves() -> None:
    images, labels, _ = gaussians(poisoned=45, shift=120)
    found = ActivationClustering().fit(PixelFeatures(), images, labels=labels)
    assert not found.labels_[labels == 1].any()
    assert any("similar size" in note for note in found.artifacts_.notes)


def test_margin_is_the_difference_of_squared_distances() -> None:
    points = np.array([[0.0, 0], [2, 0], [0, 1], [2, 1], [30, 0], [30, 1]])
    margin, silhouette, share = split_in_two(points, ActivationClusteringConfig(components=2))
    centres = np.array([1, 0.5]), np.array([30, 0.5])
    expected = ((points - centres[0]) ** 2).sum(1) - ((points - centres[1]) ** 2).sum(1)
    np.testing.assert_allclose(margin, expected, atol=1e-9)
    assert share == pytest.approx(2 / 6)
    assert silhouette > 0.9


def test_spectral_projection_equals_the_singular_vectors() -> None:
    features = np.random.default_rng(0).standard_normal((30, 7)) * np.arange(1, 8)
    squared, share = top_projection(features)
    _, values, vectors = np.linalg.svd(features - features.mean(0))
    np.testing.assert_allclose(squared, ((features - features.mean(0)) @ vectors[0]) ** 2)
    assert share == pytest.approx(values[0] ** 2 / (values**2).sum())


def test_spectral_signatures_find_a_strong_direction_and_remove_a_fixed_share() -> None:
    images, labels, poison = gaussians(poisoned=12, shift=180)
    found = SpectralSignatures().fit(PixelFeatures(), images, labels=labels)
    assert found.labels_[poison].all()
    assert [found.labels_[labels == c].sum() for c in range(4)] == [15] * 4
    assert found.threshold_.rule == "quantile"
    assert found.artifacts_.forward_equivalents == len(images)


def test_spectre_finds_a_direction_of_small_variance() -> None:
    """Where the poison's direction varies less than an honest one, plain spectral signatures look the wrong way."""
    images, labels, poison = gaussians(per_class=200, poisoned=20, shift=50)
    plain = SpectralSignatures().fit(PixelFeatures(), images, labels=labels)
    found = Spectre().fit(PixelFeatures(), images, labels=labels)
    assert plain.labels_[poison].mean() < 0.5
    assert found.labels_[poison].mean() > 0.9
    assert found.labels_.sum() == 30, "15 % of one class"
    assert not found.labels_[labels != 1].any()
    best = max(found.artifacts_.tables["classes"], key=lambda row: row["mean_score"])
    assert best["class"] == 1


def test_robust_moments_ignore_a_contamination() -> None:
    generator = np.random.default_rng(1)
    clean = generator.standard_normal((2000, 3)) * [1, 2, 3]
    data = np.concatenate([clean, np.full((200, 3), 40.0) + generator.standard_normal((200, 3))])
    mean, covariance = robust_moments(data, 0.2)
    assert np.abs(mean).max() < 0.2
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [1, 2, 3], rtol=0.12)
    assert np.sqrt(np.diag(np.cov(data.T))).min() > 10, "the plain estimate is far off"


def test_que_equals_its_formula() -> None:
    white = np.random.default_rng(2).standard_normal((50, 4)) * [1, 1, 1, 2]
    scores, mean = que_scores(white, 4.0)
    covariance = np.cov(white.T, bias=True)
    weight = expm(4 * (covariance - np.eye(4)) / (np.linalg.norm(covariance, 2) - 1))
    assert scores == pytest.approx(np.array([x @ weight @ x / np.trace(weight) for x in white]))
    assert mean == pytest.approx(np.trace(covariance @ weight) / np.trace(weight))


def test_scan_finds_a_mixture() -> None:
    images, labels, poison = gaussians()
    found = SCAn().fit(PixelFeatures(), images, labels=labels, clean=trusted())
    assert found.labels_[poison].mean() >= 0.95
    assert found.labels_[~poison].mean() <= 0.01
    rows = found.artifacts_.tables["classes"]
    assert [row["anomaly_index"] > EXP_2 for row in rows] == [False, True, False, False]
    assert found.artifacts_.forward_equivalents == len(images) + 160


def test_scan_knows_the_poison_when_it_is_the_larger_part() -> None:
    images, labels, poison = gaussians(poisoned=60)
    found = SCAn().fit(PixelFeatures(), images, labels=labels, clean=trusted())
    assert found.labels_[poison].mean() >= 0.95
    assert found.labels_[~poison].mean() <= 0.01


def test_scan_statistic_by_hand() -> None:
    """Two groups at ±3, one dimension: 9 a sample around the mean, 0 around the group; and the ratio's logarithm."""
    white = np.array([[-3.0], [-3], [-3], [3]])
    margin, statistic = two_groups(white, np.empty((0, 1)), 0)
    assert statistic == pytest.approx(((white - white.mean()) ** 2).mean())
    assert margin == pytest.approx([-18, -18, -18, 18])
    flipped, _ = two_groups(white, np.array([[3.0]]), 0)
    assert flipped == pytest.approx(-margin), "the trusted sample says which group is honest"


def test_em_separates_identity_and_variation() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(300), 12)
    data = generator.standard_normal((300, 2))[labels] * [3, 1] + generator.standard_normal((3600, 2)) * [1, 2]
    between, within = decompose(data - data.mean(0), labels)
    np.testing.assert_allclose(between, np.diag([9.0, 1.0]), atol=1.0)
    np.testing.assert_allclose(within, np.diag([1.0, 4.0]), atol=0.25)
    white = (data - data.mean(0)) @ whitening(data - data.mean(0), labels)
    inside = white - np.stack([white[labels == k].mean(0) for k in range(300)])[labels]
    np.testing.assert_allclose(np.cov(inside.T), np.eye(2) * 11 / 12, atol=0.1)


def test_scan_needs_clean_data() -> None:
    images, labels, _ = gaussians(per_class=5)
    with pytest.raises(InputError, match="needs clean data"):
        SCAn().fit(PixelFeatures(), images, labels=labels)


@pytest.mark.parametrize("detector", [ActivationClustering, SpectralSignatures, Spectre, SCAn])
def test_constant_features_and_tiny_classes(detector: type) -> None:
    images, labels, _ = gaussians(per_class=20, poisoned=0, classes=3)
    images[labels == 2] = 77
    labels[0] = 3
    found = detector().fit(PixelFeatures(), images, labels=labels, clean=trusted())
    assert np.isfinite(found.decision_scores_).all()
    assert found.decision_scores_[0] == 0
    assert (found.decision_scores_[labels == 2] == 0).all()
    assert any("class 3" in note for note in found.artifacts_.notes)
    assert any("same features" in note and "2" in note for note in found.artifacts_.notes)


def test_labels_must_fit() -> None:
    images, labels, _ = gaussians(per_class=5)
    with pytest.raises(InputError, match="19 labels for 20 images"):
        Spectre(SpectreConfig()).fit(PixelFeatures(), images, labels=labels[1:])
