"""Activation clustering (Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering",
SafeAI workshop at AAAI 2019, arXiv 1811.03728).

For each label: penultimate activations → 10 components (section 4.1) → 2-means. A class is poisoned if the two
clusters fit well (silhouette, section 4.2 gives 0.10 to 0.15 as the border) and one is small (relative size; about a
half each is expected of clean data); its smaller cluster is the poison. Deviation: principal components by default, see
the configuration.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import both, check_labels, members_of, note_constant
from mspc_core.detectors.features import collect_features
from mspc_core.engine.forward import counting
from mspc_core.errors import Progress, ShouldStop, stop_if

_MINIMUM = 5  # samples of a class below which two clusters mean nothing
_SILHOUETTE_SAMPLE = 2000  # the silhouette compares all pairs; it is estimated on this many samples


@dataclass(frozen=True)
class ActivationClusteringConfig:
    """components, reduction: of the projection ("ica" as published, or "pca"; independent components are scaled to
    equal variance, which hid the clusters of every CIFAR-10 model that this was tried on). silhouette: a class with at
    most this fit of its two clusters is clean. largest_share: the smaller cluster is suspicious up to this share of the
    class."""

    components: int = 10
    reduction: Literal["ica", "pca"] = "pca"
    silhouette: float = 0.15
    largest_share: float = 0.35
    seed: int = 0


class ActivationClustering:
    """Score in [0, 1]: above 0.5 in the smaller cluster of a class whose activations fall into two clusters."""

    name: ClassVar[str] = "activation_clustering"
    title: ClassVar[str] = CATALOG["activation_clustering"].title
    citation: ClassVar[str] = CATALOG["activation_clustering"].citation
    needs: ClassVar[Needs] = CATALOG["activation_clustering"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: ActivationClusteringConfig | None = None) -> None:
        self.config = config or ActivationClusteringConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        clean: CleanData | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. One forward for each image. `artifacts_.tables["classes"]` has each class's silhouette
        and the share of its smaller cluster."""
        labels = check_labels(labels, len(images))
        with counting(model) as count:
            features = collect_features(model, images, progress=progress, should_stop=should_stop).penultimate
        classes, notes = members_of(labels, _MINIMUM)
        scores, rows, constant, halves = np.zeros(len(images)), [], [], []
        for done, (label, members) in enumerate(classes.items(), start=1):
            stop_if(should_stop)
            found = split_in_two(features[members], self.config)
            if found is None:
                constant.append(label)
            else:
                margin, silhouette, share = found
                ratio = silhouette / self.config.silhouette
                scores[members] = both(ratio if share <= self.config.largest_share else min(ratio, 1.0), margin)
                if ratio > 1 and share > self.config.largest_share:
                    halves.append(label)
                rows.append(_row(label, silhouette, share, int((scores[members] > 0.5).sum())))
            if progress:
                progress(done, len(classes), "clustering activations")
        if halves:
            notes.append(
                f"Class {', '.join(map(str, halves))}: two clusters, but of similar size, so that it cannot be told "
                "which of them is poison; nothing was flagged there."
            )
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["activation_clustering"].rule)
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(
            tables={"classes": rows}, notes=[*notes, *note_constant(constant)], forward_equivalents=count.equivalents
        )
        return self


def split_in_two(features: np.ndarray, config: ActivationClusteringConfig) -> tuple[np.ndarray, float, float] | None:
    """2-means of one class's features [n, D] → (margin [n], silhouette, share of the smaller cluster).

    margin: (squared distance to the larger cluster's centre − to the smaller's), positive in the smaller cluster.
    None if all features are the same.
    """
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    if float(np.abs(centred).max()) <= 1e-6 * max(1.0, float(np.abs(features).max())):
        return None
    reduced = _reduced(centred, config)
    clusters = KMeans(2, n_init=10, random_state=config.seed).fit(reduced)
    if len(np.unique(clusters.labels_)) < 2:
        return None
    small = int(np.bincount(clusters.labels_, minlength=2).argmin())
    squared = clusters.transform(reduced) ** 2  # [n, 2]
    fit = silhouette_score(
        reduced, clusters.labels_, sample_size=min(len(reduced), _SILHOUETTE_SAMPLE), random_state=config.seed
    )
    return squared[:, 1 - small] - squared[:, small], float(fit), float((clusters.labels_ == small).mean())


def _reduced(centred: np.ndarray, config: ActivationClusteringConfig) -> np.ndarray:
    """[n, D] → [n, k], k = `components` or what the rank allows."""
    rank = int(np.linalg.matrix_rank(centred))
    wanted = max(1, min(config.components, rank, len(centred) - 1))
    if config.reduction == "pca":
        found: np.ndarray = PCA(wanted, random_state=config.seed).fit_transform(centred)
        return found
    with warnings.catch_warnings():  # an unfinished rotation is still a projection on the same subspace
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(wanted, whiten="unit-variance", max_iter=200, tol=1e-3, random_state=config.seed)
        found = ica.fit_transform(centred)
    return found


def _row(label: int, silhouette: float, share: float, flagged: int) -> dict[str, Any]:
    return {"class": label, "silhouette": silhouette, "smaller_share": share, "flagged": flagged}
