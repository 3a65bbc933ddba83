"""Features in two dimensions: principal components (exact, the same each time) and UMAP (seeded).

UMAP: McInnes, Healy and Melville 2018, arXiv 1802.03426. It keeps neighbours together; distances between groups, their
sizes and the axes mean nothing. It starts from the first two principal components and sees the first 50.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from mspc_core.errors import InputError, Progress, ShouldStop, stop_if
from mspc_core.maps.store import Map

COMPONENTS = 50
UMAP_SAMPLE = 20_000
_NEIGHBOURS, _PLACED_BY = 15, 3
_FEWEST = 10
_FITTED_VALUES = 64_000_000  # values that PCA is fitted on: half a gigabyte
_CHUNK = 2048


def stratified(classes: np.ndarray, always: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """At most `most` positions, ascending: all of `always` (bool [N]; if they alone are too many, a draw of them), and
    of the others each class in proportion. classes: int [N]. The same seed draws the same."""
    if len(classes) <= most:
        return np.arange(len(classes))
    kept, rest = np.flatnonzero(always), np.flatnonzero(~always)
    if len(kept) >= most:
        kept, rest = kept[:0], kept
    # Every k-th of a list in which the classes stand one after the other, each in random order.
    mixed = np.random.default_rng(seed).permutation(rest)
    mixed = mixed[np.argsort(classes[mixed], kind="stable")]
    drawn = mixed[np.linspace(0, len(mixed) - 1, most - len(kept)).round().astype(int)]
    return np.unique(np.concatenate([kept, drawn]))


def principal_components(
    features: np.ndarray, classes: np.ndarray, count: int = COMPONENTS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the first components, float32 [N, K], and the share of variance of each [K]; K is at least 2
    (zeros are added) and at most `count`.

    features: [N, D]. Exact, from the covariance of all samples; above 64 million values, of a stratified part.
    """
    from sklearn.decomposition import PCA

    wanted = min(count, *features.shape)
    if len(features) < 2:
        return np.zeros((len(features), max(2, wanted)), dtype=np.float32), np.zeros(max(2, wanted))
    most = max(wanted, _FITTED_VALUES // max(1, features.shape[1]))
    part = stratified(classes, np.zeros(len(features), dtype=bool), most, seed)
    model = PCA(n_components=wanted, svd_solver="covariance_eigh")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # constant features: 0 / 0, which becomes 0 below
        model.fit(np.asarray(features[part], dtype=np.float64))
    found = np.zeros((len(features), max(2, wanted)), dtype=np.float32)
    for start in range(0, len(features), 16 * _CHUNK):
        chunk = np.asarray(features[start : start + 16 * _CHUNK], dtype=np.float64)
        found[start : start + len(chunk), :wanted] = model.transform(chunk)
    explained = np.zeros(found.shape[1])
    explained[:wanted] = np.nan_to_num(model.explained_variance_ratio_)
    return found, explained


def pca_map(features: np.ndarray, classes: np.ndarray) -> Map:
    """The first two principal components."""
    found, explained = principal_components(features, classes, 2)
    return Map(found[:, :2], np.ones(len(found), dtype=bool), (float(explained[0]), float(explained[1])))


def umap_map(
    features: np.ndarray,
    classes: np.ndarray,
    always: np.ndarray,
    *,
    seed: int = 0,
    most: int = UMAP_SAMPLE,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Map:
    """UMAP of at most `most` samples; the others are placed between the three fitted ones nearest to them.

    features: [N, D]. classes: int [N]. always: bool [N], samples that are fitted if they are few enough. Raises
    `InputError` below ten samples, and `Cancelled`.
    """
    if len(features) < _FEWEST:
        raise InputError(f"UMAP needs at least {_FEWEST} images, and this run has {len(features)}.")
    report = progress or (lambda done, total, message: None)
    report(0, 100, "principal components")
    inputs, _ = principal_components(features, classes)
    chosen = stratified(classes, always, most, seed)
    stop_if(should_stop)
    nearest = _neighbours(
        inputs[chosen],
        inputs[chosen],
        min(_NEIGHBOURS, len(chosen) - 1),
        lambda share: report(5 + round(25 * share), 100, "finding neighbours"),
        should_stop,
    )
    report(30, 100, f"arranging {len(chosen):,} images")
    points = np.zeros((len(inputs), 2), dtype=np.float32)
    points[chosen] = _arrange(inputs[chosen], nearest, seed, report, should_stop)
    fitted = np.zeros(len(inputs), dtype=bool)
    fitted[chosen] = True
    rest = np.flatnonzero(~fitted)
    if len(rest):
        indices, distances = _neighbours(
            inputs[chosen],
            inputs[rest],
            min(_PLACED_BY, len(chosen)),
            lambda share: report(90 + round(10 * share), 100, f"placing the other {len(rest):,}"),
            should_stop,
        )
        points[rest] = _between(points[chosen], indices, distances)
    return Map(points, fitted)


def _neighbours(
    known: np.ndarray, asked: np.ndarray, count: int, report: Any, should_stop: ShouldStop | None
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest of `known` for each of `asked`, exactly: indices and distances, both [M, count]."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(known)
    indices, distances = np.empty((len(asked), count), np.int64), np.empty((len(asked), count), np.float32)
    for start in range(0, len(asked), _CHUNK):
        stop_if(should_stop)
        chunk = slice(start, start + _CHUNK)
        distances[chunk], indices[chunk] = search.kneighbors(asked[chunk])
        report(min(1.0, (start + _CHUNK) / len(asked)))
    return indices, distances


def _between(points: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Means of the neighbours' points, nearer ones counting more. indices, distances: [M, K] → [M, 2]."""
    weights = 1.0 / np.maximum(distances, 1e-6)
    weights /= weights.sum(1, keepdims=True)
    found: np.ndarray = (points[indices] * weights[:, :, None]).sum(1)
    return found


def _arrange(
    inputs: np.ndarray,
    nearest: tuple[np.ndarray, np.ndarray],
    seed: int,
    report: Progress,
    should_stop: ShouldStop | None,
) -> np.ndarray:
    """UMAP itself. inputs: [M, K], nearest: of each, itself included."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal():  # numba would give every library in this process all cores, also where the user limited them
        os.environ.setdefault("NUMBA_NUM_THREADS", limit)
    import umap

    start = inputs[:, :2] * (10.0 / max(float(np.abs(inputs[:, :2]).max()), 1e-9))
    watch = _Watch(report, should_stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread, and that this map cannot place new samples
        model = umap.UMAP(
            n_neighbors=nearest[0].shape[1],
            init=start.astype(np.float32),
            random_state=seed,
            n_jobs=1,
            precomputed_knn=nearest,
            force_approximation_algorithm=True,  # else few samples are not taken by their given neighbours
            tqdm_kwds={"file": watch, "disable": False, "bar_format": "{n}/{total}", "mininterval": 0.2},
        )
        found: np.ndarray = model.fit_transform(inputs)
    return np.nan_to_num(found)


class _Watch:
    """The file that UMAP writes its progress bar to: passes it on, and is where a request to stop takes effect."""

    def __init__(self, report: Progress, should_stop: ShouldStop | None) -> None:
        self.report, self.should_stop = report, should_stop

    def write(self, text: str) -> None:
        stop_if(self.should_stop)
        done, _, total = text.strip().partition("/")
        if done.isdigit() and total.isdigit():
            self.report(30 + round(60 * int(done) / max(1, int(total))), 100, f"arranging, round {done} of {total}")

    def flush(self) -> None:
        pass
