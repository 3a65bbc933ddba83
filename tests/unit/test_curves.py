"""Precision-recall curves and bootstrap intervals against scikit-learn and worked examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from mspc_core.curves import areas_of, bootstrap, precision_recall, tpr_at


def test_a_worked_example() -> None:
    # From the top: backdoor, clean, backdoor, clean; precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1.
    found = precision_recall(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]), 0.75)
    assert found is not None
    assert found.recall.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert found.precision == pytest.approx([1.0, 1.0, 0.5, 2 / 3, 0.5])
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found.base == 0.5
    assert found.point == (0.5, 0.5)


def test_one_kind_of_sample_has_no_curve() -> None:
    for truth in (np.zeros(3, bool), np.ones(3, bool)):
        assert precision_recall(np.arange(3.0), truth, 0.5) is None
        assert bootstrap(np.arange(3.0), truth) is None


def test_nothing_flagged_has_no_point_and_nan_ranks_lowest() -> None:
    found = precision_recall(np.array([np.nan, 0.2, 0.3]), np.array([False, True, True]), 0.9)
    assert found is not None
    assert found.point is None
    assert found.average_precision == 1.0


def test_long_curves_are_thinned_but_not_their_area() -> None:
    generator = np.random.default_rng(0)
    scores, truth = generator.random(5000), generator.random(5000) < 0.3
    found = precision_recall(scores, truth, 0.5)
    assert found is not None
    assert len(found.recall) <= 400
    assert found.average_precision == pytest.approx(average_precision_score(truth, scores))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_areas_from_counts_are_those_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if truth.all() or not truth.any():
        return
    counts = [np.bincount(scores[part], minlength=7)[None] for part in (truth, ~truth)]
    auroc, precision = areas_of(*counts)
    assert auroc[0] == pytest.approx(roc_auc_score(truth, scores))
    assert precision[0] == pytest.approx(average_precision_score(truth, scores))


@pytest.mark.parametrize("decimals", [1, 12])
def test_the_interval_is_that_of_resampling_by_hand(decimals: int) -> None:
    generator = np.random.default_rng(3)
    truth = np.arange(2500) < 500
    scores = (generator.normal(size=2500) + 1.2 * truth).round(decimals)
    found = bootstrap(scores, truth, repeats=600, seed=1)
    assert found is not None
    slow = []
    for _ in range(600):
        rows = np.concatenate([generator.choice(500, 500), 500 + generator.choice(2000, 2000)])
        slow.append((roc_auc_score(truth[rows], scores[rows]), average_precision_score(truth[rows], scores[rows])))
    for mine, column in zip((found.auroc, found.average_precision), np.array(slow).T, strict=True):
        assert mine == pytest.approx(np.percentile(column, [2.5, 97.5]), abs=0.006)
    assert bootstrap(scores, truth, repeats=600, seed=1) == found


def test_a_perfect_score_is_sure_of_itself() -> None:
    found = bootstrap(np.arange(10.0), np.arange(10) >= 5)
    assert found is not None
    assert found.auroc == (1.0, 1.0)
    assert found.average_precision == (1.0, 1.0)


def test_tpr_at_a_false_positive_rate() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6, np.nan]), np.array([True, False, True, False, False])
    assert tpr_at(scores, truth, 0.0) == 0.5
    assert tpr_at(scores, truth, 0.34) == 1.0
    assert tpr_at(scores, np.ones(5, bool)) is None
