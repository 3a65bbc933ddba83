"""FLARE (Hou et al., "FLARE: Toward Universal Dataset Purification against Backdoor Attacks", IEEE TIFS 2025,
arXiv 2411.19479): poisoned samples show abnormal activations in *some* layer, so all BatchNorm layers are read.

Representation: each BatchNorm layer's input is brought to one scale with the layer's own running mean and variance; of
each layer the most extreme values of the sample are kept. Adaptive subspace selection: project to two dimensions,
cluster with HDBSCAN; while no stable large cluster (the benign samples) appears, leave out one more of the last
layers, where classes, not triggers, tell samples apart. The samples are then divided in two.

Deviations. (1) Of each layer the largest and the smallest normalised value are kept, and columns are scaled by median
and MAD. (2) UMAP is replaced by PCA: no further dependency, and no random layout. (3) The published test of stability
compares density levels in UMAP's units (ξ = 0.02), which do not carry over; here a space is stable when HDBSCAN finds
two clusters or more, its largest holds more than half of the samples, and at most a quarter belong to none. (4) As in
the published code the largest cluster is benign and all others are poison, whichever is denser; samples that HDBSCAN
leaves over go to the nearer side. (5) Where no space is stable nothing is flagged. (6) At most `clustered` samples are
clustered; the others go to the nearer side too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.features import BATCH_NORM, collect_features
from mspc_core.engine.forward import counting
from mspc_core.errors import Progress, ShouldStop, stop_if

_NEIGHBOURS = 5  # members of a side whose mean distance is a sample's distance to that side
_EPSILON = 1e-12


@dataclass(frozen=True)
class FlareConfig:
    """cluster_share: smallest cluster, as a share of the clustered samples (published: 100 of 50,000), never below
    `smallest_cluster`. left_over: largest share of samples outside all clusters in a stable space (chosen on small CNNs
    on CIFAR-10: 0.00 to 0.11 where poison stood apart, 0.38 and more otherwise). clustered: at most this many samples
    are clustered. components: of the projection."""

    cluster_share: float = 0.004
    smallest_cluster: int = 20
    left_over: float = 0.25
    clustered: int = 10_000
    components: int = 2
    seed: int = 0


class Flare:
    """Score in [0, 1]: distance to the benign cluster over the sum of the distances to it and to the other clusters."""

    name: ClassVar[str] = "flare"
    title: ClassVar[str] = CATALOG["flare"].title
    citation: ClassVar[str] = CATALOG["flare"].citation
    needs: ClassVar[Needs] = CATALOG["flare"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: FlareConfig | None = None) -> None:
        self.config = config or FlareConfig()

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
        """See `Detector.fit`. One forward for each image; labels are not used. `artifacts_.tables["spaces"]` has a row
        for each number of layers that was tried: clusters, share of the largest, share left over."""
        with counting(model) as count:
            found = collect_features(
                model,
                images,
                layers=(BATCH_NORM,),
                pool=normalised_extremes,
                progress=progress,
                should_stop=should_stop,
            )
        extremes = np.stack(list(found.batch_norm.values()), 1)  # [N, L, 2]
        generator = np.random.default_rng(self.config.seed)
        drawn = np.sort(generator.permutation(len(extremes))[: self.config.clustered])
        scores, rows, notes = None, [], []
        total = extremes.shape[1]
        for dropped in range(total):
            stop_if(should_stop)
            space = project(extremes[:, : total - dropped], drawn, self.config.components)
            scores, row = self._divide(space, drawn)
            rows.append({"layers": total - dropped, **row})
            if progress:
                progress(dropped + 1, total, "looking for a stable space")
            if scores is not None:
                break
        if scores is None:
            notes.append(
                "In no set of layers do the samples form one large cluster beside smaller ones, so nothing was "
                "flagged: either the data are clean or this attack leaves no abnormal activations."
            )
            distance = np.linalg.norm(project(extremes, drawn, self.config.components), axis=1)
            scores = 0.5 * distance / max(float(distance.max()), _EPSILON)
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["flare"].rule)
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(tables={"spaces": rows}, notes=notes, forward_equivalents=count.equivalents)
        return self

    def _divide(self, space: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Cluster a space [N, k] → (scores of all N or None if it is not stable, facts about it)."""
        config = self.config
        smallest = max(config.smallest_cluster, round(config.cluster_share * len(drawn)))
        points = space[drawn]
        if len(points) <= smallest or not np.ptp(points, axis=0).any():
            return None, {"clusters": 0, "largest_share": 0.0, "left_over": 1.0}
        clusters = HDBSCAN(min_cluster_size=smallest, copy=True).fit(points).labels_
        sizes = np.bincount(clusters[clusters >= 0]) if (clusters >= 0).any() else np.zeros(1, dtype=int)
        facts = {
            "clusters": int((sizes > 0).sum()),
            "largest_share": float(sizes.max() / len(points)),
            "left_over": float((clusters < 0).mean()),
        }
        if facts["clusters"] < 2 or facts["largest_share"] <= 0.5 or facts["left_over"] > config.left_over:
            return None, facts
        benign = clusters == sizes.argmax()
        near = _distance(space, points[benign])
        far = _distance(space, points[(clusters >= 0) & ~benign])
        return near / np.maximum(near + far, _EPSILON), facts


def normalised_extremes(module: nn.Module, inputs: Tensor, _: Tensor) -> Tensor:
    """A BatchNorm layer's input [B, C, …] in units of its running statistics → smallest and largest value, [B, 2].

    Layers without running statistics are taken as they are.
    """
    flat = inputs.flatten(2) if inputs.ndim > 2 else inputs.unsqueeze(2)
    low, high = flat.amin(2), flat.amax(2)  # [B, C]
    mean, variance = module.running_mean, module.running_var
    if isinstance(mean, Tensor) and isinstance(variance, Tensor):
        deviation = (variance.float() + float(getattr(module, "eps", 0.0))).sqrt()
        low, high = (low - mean.float()) / deviation, (high - mean.float()) / deviation
    return torch.stack([low.amin(1), high.amax(1)], 1)


def project(extremes: np.ndarray, drawn: np.ndarray, components: int) -> np.ndarray:
    """[N, L, 2] → robustly standardised columns → principal components fitted on the rows `drawn`, float64 [N, k]."""
    columns = extremes.reshape(len(extremes), -1).astype(np.float64)
    offset = columns - np.median(columns[drawn], 0)
    spread = 1.4826 * np.median(np.abs(offset[drawn]), 0)
    spread = np.where(spread > _EPSILON, spread, offset[drawn].std(0))
    standard = offset / np.where(spread > _EPSILON, spread, 1.0)
    wanted = min(components, standard.shape[1], len(drawn))
    if not standard[drawn].any():
        return np.zeros((len(standard), wanted))
    found: np.ndarray = PCA(wanted, svd_solver="full").fit(standard[drawn]).transform(standard)
    return found


def _distance(points: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean distance of each point to its nearest members, float64 [N]."""
    nearest = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(members))).fit(members)
    found: np.ndarray = nearest.kneighbors(points)[0].mean(1)
    return found
