"""Surprise and its ranking: formulas by hand, against slow or library versions, and on simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import Ridge

from mspc_core.detectors.surprise import (
    Ranking,
    best_cut,
    cross_ridge,
    expected_accuracy,
    log_odds,
    posterior_odds,
    principal,
    rank,
)

CERTAINTY = 13.8  # nats that the detector asks for
CLASSES = 10


def test_log_odds_by_hand() -> None:
    """Of 4 classes. Poisoned: contradicted with 3/4, confirmed with 1/4; clean: with 1 − expected and expected."""
    found = log_odds(np.array([True, False, True, False]), np.array([0.9, 0.9, 0.25, 0.25]), 4)
    assert found.tolist() == pytest.approx([math.log(7.5), math.log(0.25 / 0.9), 0.0, 0.0])


@pytest.mark.parametrize("expected", [0.05, 0.4, 0.98])
def test_the_odds_of_clean_data_multiply_to_one_on_average(expected: float) -> None:
    """E exp(log-odds) = 1 under "clean": what Ville's inequality needs."""
    wrong, right = np.exp(log_odds(np.array([True, False]), np.full(2, expected), 7))
    assert (1 - expected) * wrong + expected * right == pytest.approx(1.0)


def test_best_cut_by_hand() -> None:
    odds = np.array([-1.0, 2.0, 1.5, -3.0, 0.5])
    scores = np.array([0.7, 0.9, 0.2, 0.8, 0.6])  # order: 2, −3, −1, 0.5, 1.5; sums: 2, −1, −2, −1.5, 0
    assert best_cut(scores, odds) == (1, 2.0)
    assert best_cut(-scores, odds) == (2, 2.0), "order 1.5, 0.5, −1, −3, 2: sums 1.5, 2, 1, −2, 0"
    assert best_cut(scores, -np.abs(odds)) == (0, 0.0), "no prefix is better than none"
    assert best_cut(np.zeros(0), np.zeros(0)) == (0, 0.0)


def test_best_cut_equals_trying_every_prefix() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 2, 17, 60):
        for _ in range(20):
            scores, odds = generator.permutation(size).astype(float), generator.normal(-0.1, 1, size)
            order = sorted(range(size), key=lambda row: -scores[row])
            sums = [0.0] + [sum(odds[row] for row in order[:length]) for length in range(1, size + 1)]
            flagged, evidence = best_cut(scores, odds)
            assert evidence == pytest.approx(max(sums), abs=1e-9)
            assert flagged == int(np.argmax(sums))


def simulated(generator: np.random.Generator, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Clean data: a second model that is wrong exactly as often as its confidence says."""
    expected = generator.uniform(0.3, 0.97, count)
    return generator.random(count) >= expected, expected


def test_evidence_on_clean_data_stays_below_ville_s_bound() -> None:
    generator = np.random.default_rng([0, 5])
    evidence, cheating = [], []
    for _ in range(300):
        disagrees, expected = simulated(generator)
        odds = log_odds(disagrees, expected, CLASSES)
        evidence.append(best_cut(generator.random(len(odds)), odds)[1])
        cheating.append(best_cut(odds, odds)[1])
    bound = math.exp(-3)
    margin = 3 * math.sqrt(bound * (1 - bound) / 300)
    share = np.mean(np.array(evidence) >= 3)
    assert 0 < share <= bound + margin
    assert min(cheating) > 3, "scores that know the own odds break the bound: it is not true of anything"


@pytest.mark.parametrize("label", [0, 1])
def test_expected_accuracy_recovers_a_known_calibration_of_every_label(label: int) -> None:
    """Label 0 is judged overconfidently, label 1 never wrongly: what is known of one says nothing of the other."""
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1.0, 40_000)
    labels = np.arange(40_000) % 2
    truth = np.where(labels == 0, 0.3 + 0.8 * (confidence - 0.5), 1.0)
    right = generator.random(len(confidence)) < truth
    probabilities = np.zeros((len(confidence), 3), dtype=np.float32)
    probabilities[np.arange(len(confidence)), np.where(right, labels, 1 - labels)] = confidence
    found = expected_accuracy(probabilities, labels)
    own = labels == label
    inner = own & (confidence > 0.55) & (confidence < 0.95)
    assert np.abs(found - np.minimum(truth, 0.98))[inner].max() < 0.06
    assert np.abs(found - np.minimum(truth, 0.98))[own].mean() < 0.02
    assert (np.diff(found[own][np.argsort(confidence[own])]) >= 0).all()


def test_a_class_that_is_judged_badly_is_usual_within_its_label_only() -> None:
    probabilities = np.tile(np.array([[0.7, 0.3]], dtype=np.float32), (200, 1))
    labels = np.repeat([0, 1], 100)  # always 0: right for one label, wrong for the other
    assert expected_accuracy(probabilities, labels, within=False) == pytest.approx(0.5)
    within = expected_accuracy(probabilities, labels)
    assert sorted(set(within)) == pytest.approx([0.05, 0.98])


def test_expected_accuracy_learns_from_the_known_alone() -> None:
    probabilities = np.tile(np.array([[0.6, 0.4]], dtype=np.float32), (100, 1))
    labels = np.repeat([0, 1], 50)  # the model says 0: right for label 0
    labels[:20] = 1
    known = np.ones(100, dtype=bool)
    known[30:50] = False
    found = expected_accuracy(probabilities, labels, known)
    assert (found[labels == 0] == 0.98).all()
    assert (found[labels == 1] == 0.05).all()
    nobody = expected_accuracy(probabilities, labels, np.zeros(100, dtype=bool))
    assert (nobody == found).all(), "a label of which nothing is known takes its own samples"


def test_expected_accuracy_never_claims_certainty() -> None:
    probabilities = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
    assert (expected_accuracy(probabilities, np.arange(30) % 3) == 0.98).all()
    assert (expected_accuracy(probabilities, (np.arange(30) + 1) % 3) == 0.05).all()


def standardised(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / features.std(0, ddof=1)


def test_all_components_are_the_standardised_features_turned() -> None:
    features = np.random.default_rng(2).normal(3, [1, 5, 0.1, 20], (50, 4)).astype(np.float32)
    features = np.insert(features, 2, 7.0, axis=1)  # a constant column
    found = principal(features, 300, 0).numpy()
    assert found.shape == (50, 4)
    expected = standardised(np.delete(features, 2, 1).astype(np.float64))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T / 4, atol=1e-4)  # distances and angles
    assert found.var(0, ddof=1).sum() == pytest.approx(1.0, rel=1e-4)


def test_leading_components_span_the_exact_subspace() -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(200, 3)) @ generator.normal(size=(3, 12)) + 0.02 * generator.normal(
        size=(200, 12)
    )
    found = principal(features.astype(np.float32), 3, 0).numpy()
    left, size, _ = np.linalg.svd(standardised(features), full_matrices=False)
    exact = left[:, :3] * size[:3] / 12**0.5
    np.testing.assert_allclose(found @ found.T, exact @ exact.T, atol=1e-3)
    assert found.var(0, ddof=1).sum() <= 1.0


def test_constant_features_say_nothing() -> None:
    assert principal(np.full((6, 4), 2.5, dtype=np.float32), 3, 0).tolist() == [[0.0]] * 6


def test_components_leave_the_global_generator_alone() -> None:
    features = np.random.default_rng(4).normal(size=(30, 8)).astype(np.float32)
    before = torch.random.get_rng_state()
    first, second = principal(features, 3, 5), principal(features, 3, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)


def regression(count: int = 90) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 6, generator=generator)
    targets = inputs @ torch.randn(6, generator=generator) + 4 + torch.randn(count, generator=generator)
    return inputs, targets, torch.rand(count, generator=generator) + 0.1, torch.arange(count) % 4


@pytest.mark.parametrize("penalty", [1e-3, 0.5])
def test_cross_ridge_equals_scikit_learn_fold_by_fold(penalty: float) -> None:
    inputs, targets, weights, folds = regression()
    found = cross_ridge(inputs, targets, weights, penalty, folds)
    for fold in range(4):
        fit = (folds != fold).numpy()
        library = Ridge(alpha=penalty * fit.sum())  # it leaves the intercept free
        library.fit(inputs.numpy()[fit], targets.numpy()[fit], sample_weight=weights.numpy()[fit])
        np.testing.assert_allclose(found[~fit], library.predict(inputs.numpy()[~fit]), atol=2e-4)


def test_nobody_s_own_target_is_used() -> None:
    inputs, targets, weights, folds = regression()
    before = cross_ridge(inputs, targets, weights, 0.01, folds)
    targets[7] += 100
    after = cross_ridge(inputs, targets, weights, 0.01, folds)
    same_fold = (folds == folds[7]).numpy()
    assert (after[same_fold] == before[same_fold]).all()
    assert (np.abs(after - before)[~same_fold] > 1e-3).all()


def planted(poison: float, noise: float = 0.0, *, count: int = 2000, seed: int = 0) -> tuple[Ranking, np.ndarray]:
    """Ranks samples with 40 Gaussian features. Poison is shifted along one direction and contradicted in 95 % of the
    cases, like label noise, which has no features of its own; the others in 35 %."""
    generator = np.random.default_rng([seed, 9])
    features = generator.standard_normal((count, 40)).astype(np.float32)
    kind = generator.random(count)
    poisoned, noisy = kind < poison, (kind >= poison) & (kind < poison + noise)
    direction = generator.standard_normal(40)
    features[poisoned] += (5 * direction / np.linalg.norm(direction)).astype(np.float32)
    disagrees = generator.random(count) < np.where(poisoned | noisy, 0.95, 0.35)
    expected = np.full(count, 1 - disagrees.mean())  # what isotonic regression gives where confidence says nothing
    found = rank(principal(features, 300, 0), disagrees, expected, CLASSES, refinements=9, seed=seed)
    return found, poisoned


@pytest.mark.parametrize("seed", [0, 1])
def test_rank_finds_what_is_planted(seed: int) -> None:
    found, poisoned = planted(0.05, seed=seed)
    assert found.evidence >= CERTAINTY
    chosen = np.argsort(-found.scores)[: found.flagged]
    assert poisoned[chosen].mean() > 0.9
    assert poisoned[chosen].sum() > 0.9 * poisoned.sum()
    assert len(found.history) > 1
    assert found.history[-1] == {"flagged": float(found.flagged), "evidence": found.evidence}
    assert found.history[0]["evidence"] < found.evidence, "refinements sharpen the ranking"


def test_the_bound_survives_cross_fitting() -> None:
    """Scores of `rank` do depend on other samples' contradictions; clean data gives no more evidence for it."""
    evidence = []
    for seed in range(100):
        generator = np.random.default_rng([seed, 6])
        disagrees, expected = simulated(generator)
        inputs = principal(generator.standard_normal((len(expected), 20), dtype=np.float32), 300, seed)
        evidence.append(rank(inputs, disagrees, expected, CLASSES, refinements=9, seed=seed).evidence)
    bound = math.exp(-3)
    assert np.mean(np.array(evidence) >= 3) <= bound + 3 * math.sqrt(bound * (1 - bound) / 100)
    assert max(evidence) > 0


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_rank_flags_nothing_without_features_of_poison(noise: float, seed: int) -> None:
    found, _ = planted(0.0, noise, seed=seed)
    assert min(found.evidence, found.history[0]["evidence"]) < CERTAINTY


def test_setting_apart_by_hand() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.9])
    assert Ranking(scores, 3, 20.0, []).set_apart().tolist() == [False, True, True, True]
    assert Ranking(scores, 1, 20.0, []).set_apart().tolist() == [False, True, False, True], "at least two"


def two_normals(width: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 900 clean samples, N(0, 1), and of 100 poisoned ones, N(4, width)."""
    generator = np.random.default_rng(10)
    return np.concatenate([generator.standard_normal(900), 4 + width * generator.standard_normal(100)]), (
        np.arange(1000) >= 900
    )


def test_posterior_odds_of_known_normals() -> None:
    """With the right split, the exact border is found: log(1/9) + 4 s − 8 = 0 at s = 2.55."""
    scores, poisoned = two_normals(1.0)
    found = posterior_odds(scores, poisoned, np.zeros(1000))
    assert ((found > 0) == poisoned).mean() > 0.98
    assert scores[found > 0].min() == pytest.approx(2.55, abs=0.3)
    assert scores[found <= 0].max() == pytest.approx(2.55, abs=0.3)
    near = (scores > 2) & (scores < 4)
    exact = np.log(0.1 / 0.9) + norm.logpdf(scores, 4) - norm.logpdf(scores)
    assert near.sum() > 50
    assert np.abs(found - exact)[near].max() < 1.5


@pytest.mark.parametrize("width", [0.2, 1.0, 4.0])
def test_posterior_odds_rise_with_the_score(width: float) -> None:
    """Also in the tails, which the wider of two normals would claim both."""
    scores, poisoned = two_normals(width)
    found = posterior_odds(scores, poisoned, np.zeros(1000))
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()
    assert found[scores.argmax()] > 0 > found[scores.argmin()]


def test_the_own_contradiction_is_added() -> None:
    """Once, after the rank has had its say."""
    scores, poisoned = two_normals(0.5)
    plain = posterior_odds(scores, poisoned, np.zeros(1000))
    settled = plain > 0
    odds = np.zeros(1000)
    odds[:450] = -1.5  # clean samples that are confirmed: nobody changes sides
    shifted = posterior_odds(scores, settled, odds)
    assert ((shifted > 0) == settled).all()
    np.testing.assert_allclose(shifted - posterior_odds(scores, settled, np.zeros(1000)), odds, atol=1e-9)
    row = int(np.abs(plain).argmin())
    odds = np.zeros(1000)
    odds[row] = -5.0 if plain[row] > 0 else 5.0
    changed = posterior_odds(scores, settled, odds)[row]
    assert (changed > 0) != (plain[row] > 0), "a case on the border is decided by it"


def test_posterior_odds_of_scores_without_spread() -> None:
    found = posterior_odds(np.r_[np.zeros(10), np.ones(3)], np.r_[np.zeros(10), np.ones(3)] > 0, np.zeros(13))
    assert np.isfinite(found).all()
    assert ((found > 0) == np.r_[np.zeros(10), np.ones(3)]).all()


def test_the_same_seed_gives_the_same_ranking() -> None:
    first, second = planted(0.05, count=300)[0], planted(0.05, count=300)[0]
    assert (first.scores == second.scores).all()
    assert first.history == second.history
