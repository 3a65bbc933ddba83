"""Neighbours in feature space, against scikit-learn's brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from mspc_core.maps import nearest as module
from mspc_core.maps.nearest import nearest


@pytest.mark.parametrize("chunk", [7, 1000])
def test_as_a_brute_force_search(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    features = np.random.default_rng(0).normal(size=(100, 9)).astype(np.float16)
    search = NearestNeighbors(n_neighbors=13, algorithm="brute", metric="cosine").fit(features.astype(np.float64))
    distances, indices = search.kneighbors(features.astype(np.float64))
    for position in range(0, 100, 9):
        found, away = nearest(features, position, 12)
        assert found.tolist() == [index for index in indices[position] if index != position][:12]
        np.testing.assert_allclose(away, distances[position][1:], atol=1e-5)


def test_length_does_not_matter_and_ties_keep_their_order() -> None:
    features = np.array([[1, 0], [0, 1], [5, 0], [0, 0], [-1, 0], [2, 0]], dtype=np.float16)
    found, away = nearest(features, 0, 10)
    assert found.tolist() == [2, 5, 1, 3, 4]
    assert away.tolist() == [0, 0, 1, 1, 2]


def test_a_run_of_one_image_has_no_neighbours() -> None:
    found, away = nearest(np.ones((1, 3), np.float16), 0, 5)
    assert len(found) == len(away) == 0
