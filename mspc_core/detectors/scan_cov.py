"""SCAn, the statistical contamination analyser (Tang et al., "Demon in the Variant: Statistical Analysis of DNNs for
Robust Backdoor Contamination Detection", USENIX Security 2021).

A feature vector is r = μ + u + e: global mean, identity of its class, variation (section 4.2). Trusted samples give the
covariances S_u and S_e by EM. In each class of the scanned data, two hypotheses are compared (section 4.3): one group
N(μ_t, S_e), or two groups with means μ₁, μ₂ and the same S_e, split where a linear discriminant separates them. The
statistic is J = (2/n)·log likelihood ratio; a class whose anomaly index |J − median|/(1.4826·MAD) exceeds e² is mixed.

With a common S_e the split that maximises the likelihood is 2-means in coordinates where S_e is the identity, so
scikit-learn's is used; J is then the drop of the mean squared distance to the centres. As in the published code J is
divided by the class size. Deviation: S_e is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), because a
few hundred trusted samples do not determine hundreds of dimensions; the published code uses a pseudo-inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import EXP_2, anomaly_index, both, check_labels, members_of, note_constant
from mspc_core.detectors.features import collect_features
from mspc_core.detectors.groups import two_means, whitener
from mspc_core.engine.forward import counting
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_MINIMUM = 4
_EM_ROUNDS, _EM_TOLERANCE = 50, 1e-4


@dataclass(frozen=True)
class SCAnConfig:
    """threshold: of the anomaly index of a class, e² as published."""

    threshold: float = EXP_2
    seed: int = 0


class SCAn:
    """Score in [0, 1]: above 0.5 in the suspicious half of a class whose features are a mixture of two groups."""

    name: ClassVar[str] = "scan_cov"
    title: ClassVar[str] = CATALOG["scan_cov"].title
    citation: ClassVar[str] = CATALOG["scan_cov"].citation
    needs: ClassVar[Needs] = CATALOG["scan_cov"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SCAnConfig | None = None) -> None:
        self.config = config or SCAnConfig()

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
        """See `Detector.fit`. One forward for each scanned and each trusted image. Raises `InputError` without clean
        data. `artifacts_.tables["classes"]` has each class's J and anomaly index."""
        if clean is None or len(clean.images) < 2:
            raise InputError("SCAn needs clean data: name a trusted part of the data set.")
        labels, trusted_labels = check_labels(labels, len(images)), check_labels(clean.labels, len(clean.images))
        with counting(model) as count:
            features = collect_features(model, images, progress=progress, should_stop=should_stop).penultimate
            trusted = collect_features(model, clean.images, should_stop=should_stop).penultimate
        centre = trusted.mean(0, dtype=np.float64)
        whiten = whitening(trusted - centre, trusted_labels)
        classes, notes = members_of(labels, _MINIMUM)
        margins: dict[int, np.ndarray] = {}
        statistics: list[float] = []
        constant = []
        for done, (label, members) in enumerate(classes.items(), start=1):
            stop_if(should_stop)
            known = (trusted[trusted_labels == label] - centre) @ whiten
            found = two_groups((features[members] - centre) @ whiten, known, self.config.seed)
            if found is None:
                constant.append(label)
            else:
                margins[label], statistic = found
                statistics.append(statistic)
            if progress:
                progress(done, len(classes), "testing each class for two groups")
        if 0 < len(margins) < 3:
            notes.append("Fewer than three classes can be compared, so that none stands out: nothing was flagged.")
        index = anomaly_index(np.array(statistics))
        scores = np.zeros(len(images))
        rows: list[dict[str, Any]] = []
        for (label, margin), value, statistic in zip(margins.items(), index, statistics, strict=True):
            scores[classes[label]] = both(float(value) / self.config.threshold, margin)
            flagged = int((scores[classes[label]] > 0.5).sum())
            rows.append({"class": label, "statistic": statistic, "anomaly_index": float(value), "flagged": flagged})
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["scan_cov"].rule)
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(
            tables={"classes": rows}, notes=[*notes, *note_constant(constant)], forward_equivalents=count.equivalents
        )
        return self


def decompose(centred: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """S_u and S_e of r = u_class + e by EM, both [D, D]; centred: [M, D], global mean 0.

    E: u_k has mean S_u (S_u + S_e/n_k)⁻¹ r̄_k and covariance S_u − S_u (S_u + S_e/n_k)⁻¹ S_u. M: S_u is the mean over
    classes of E[u uᵀ], S_e the mean over samples of E[e eᵀ].
    """
    data = centred.astype(np.float64)
    names, owner, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([data[owner == k].mean(0) for k in range(len(names))])
    ridge = 1e-6 * max(float((data**2).mean()), 1e-12) * np.eye(data.shape[1])
    between, within = means.T @ means / len(names) + ridge, (data - means[owner]).T @ (data - means[owner]) / len(data)
    within = within + ridge
    for _ in range(_EM_ROUNDS):
        gains = {int(n): np.linalg.solve(between + within / n, between).T for n in np.unique(sizes)}
        posterior = np.stack([gains[int(n)] @ mean for n, mean in zip(sizes, means, strict=True)])
        spread = [between - gains[int(n)] @ between for n in sizes]
        rest = data - posterior[owner]
        uncertain = sum(n * s for n, s in zip(sizes, spread, strict=True))
        new_within = (rest.T @ rest + uncertain) / len(data) + ridge
        new_between = (posterior.T @ posterior + sum(spread)) / len(names) + ridge
        change = np.linalg.norm(new_within - within) / np.linalg.norm(within)
        between, within = new_between, new_within
        if change < _EM_TOLERANCE:
            break
    return between, within


def whitening(centred: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """S_e^(−1/2) of trusted features [M, D], [D, D]; S_e shrunk towards a multiple of the identity."""
    _, within = decompose(centred, labels)
    names, owner = np.unique(labels, return_inverse=True)
    means = np.stack([centred[owner == k].mean(0) for k in range(len(names))])
    shrinkage = float(ledoit_wolf_shrinkage((centred - means[owner]).astype(np.float64), assume_centered=True))
    return whitener(within, shrinkage)


def two_groups(white: np.ndarray, known: np.ndarray, seed: int) -> tuple[np.ndarray, float] | None:
    """Split whitened features [n, D] in two → (margin [n], J). margin > 0 in the suspicious group: the one that holds
    the smaller part of the class's trusted samples `known` [m, D] for its size; without any, the smaller one.

    margin is the log likelihood ratio of the groups. None if all features are the same.
    """
    found = two_means(white, seed)
    if found is None:
        return None
    margin = found.margin
    if len(known):
        shares = np.bincount(found.fitted.predict(known), minlength=2) / found.sizes
        if shares.argmin() != found.sizes.argmin():
            margin = -margin
    return margin, found.statistic
