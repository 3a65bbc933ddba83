"""Maps: PCA is exact, UMAP is repeatable and can be stopped, samples of both keep what matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mspc_core.errors import Cancelled, InputError
from mspc_core.maps import project
from mspc_core.maps.project import pca_map, principal_components, stratified, umap_map


def groups(count: int = 120, width: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features in three groups far apart, and the group of each."""
    generator = np.random.default_rng(seed)
    classes = np.arange(count) % 3
    centres = np.diag([20.0, 30.0, 45.0]) @ np.eye(3, width)
    return (centres[classes] + generator.normal(size=(count, width))).astype(np.float16), classes


def test_components_are_those_of_the_singular_value_decomposition() -> None:
    features, classes = groups()
    found, explained = principal_components(features, classes, 5)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :5] * values[:5]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(explained, (values**2 / (values**2).sum())[:5], rtol=1e-6)
    again, _ = principal_components(features, classes, 5)
    assert (again == found).all()


def test_with_many_values_a_part_of_the_samples_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    features, classes = groups(600)
    whole, _ = principal_components(features, classes, 2)
    monkeypatch.setattr(project, "_FITTED_VALUES", 300 * features.shape[1])
    part, _ = principal_components(features, classes, 2)
    assert part.shape == whole.shape
    assert abs(np.corrcoef(whole[:, 0], part[:, 0])[0, 1]) > 0.99


@pytest.mark.parametrize("features", [np.ones((30, 8)), np.zeros((30, 8)), np.arange(30.0)[:, None], np.ones((1, 4))])
def test_features_that_span_no_plane_give_finite_points(features: np.ndarray) -> None:
    found = pca_map(features.astype(np.float16), np.zeros(len(features), dtype=int))
    assert found.points.shape == (len(features), 2)
    assert np.isfinite(found.points).all()
    assert np.isfinite(found.explained).all()


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    share=st.floats(0, 1),
    most=st.integers(1, 220),
    seed=st.integers(0, 3),
)
def test_a_stratified_sample(classes: list[int], share: float, most: int, seed: int) -> None:
    labels = np.array(classes)
    always = np.random.default_rng(seed).random(len(labels)) < share
    found = stratified(labels, always, most, seed)
    assert len(found) == min(most, len(labels))
    assert (np.diff(found) > 0).all()
    assert (found == stratified(labels, always, most, seed)).all()
    if always.sum() <= most:
        assert always[found].sum() == always.sum()
    if not always.any():
        for label in np.unique(labels):
            expected = most * (labels == label).sum() / len(labels)
            assert abs((labels[found] == label).sum() - min(expected, (labels == label).sum())) <= 1.01


def test_umap_keeps_groups_apart_and_repeats_itself() -> None:
    features, classes = groups()
    nothing = np.zeros(len(features), dtype=bool)
    found = umap_map(features, classes, nothing)
    assert found.fitted.all()
    centres = np.stack([found.points[classes == number].mean(0) for number in range(3)])
    nearest = np.linalg.norm(found.points[:, None] - centres[None], axis=2).argmin(1)
    assert (nearest == classes).all()
    assert (umap_map(features, classes, nothing).points == found.points).all()


def test_the_rest_is_placed_with_its_group_and_suspects_are_fitted() -> None:
    features, classes = groups(240)
    always = np.arange(240) % 11 == 0
    seen: list[int] = []
    found = umap_map(features, classes, always, most=80, progress=lambda done, total, text: seen.append(done))
    assert found.fitted.sum() == 80
    assert found.fitted[always].all()
    centres = np.stack([found.points[found.fitted & (classes == number)].mean(0) for number in range(3)])
    nearest = np.linalg.norm(found.points[:, None] - centres[None], axis=2).argmin(1)
    assert (nearest == classes).all()
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_umap_can_be_stopped_while_it_arranges() -> None:
    features, classes = groups()
    at = 0

    def progress(done: int, total: int, text: str) -> None:
        nonlocal at
        at = done

    with pytest.raises(Cancelled):
        umap_map(features, classes, np.zeros(120, dtype=bool), progress=progress, should_stop=lambda: at >= 30)
    assert at < 90


def test_too_few_images_are_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="at least 10 images"):
        umap_map(np.ones((4, 3)), np.zeros(4, dtype=int), np.zeros(4, dtype=bool))


def test_identical_images_do_no_harm() -> None:
    found = umap_map(np.ones((30, 4), np.float16), np.zeros(30, dtype=int), np.zeros(30, dtype=bool))
    assert np.isfinite(found.points).all()
