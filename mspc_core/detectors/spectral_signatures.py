"""Spectral signatures (Tran et al., "Spectral Signatures in Backdoor Attacks", NeurIPS 2018, algorithm 1).

For each label: centre the penultimate features and take the top right singular vector v; the score of a sample is
((h(x) − mean) · v)². The published rule removes the 1.5·ε·n highest scores of a class, ε being the share of poison
that the defender expects in a class. It has to be known: here it is a setting, so the rule is a quantile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import check_labels, members_of, note_constant, top_share
from mspc_core.detectors.features import collect_features
from mspc_core.engine.forward import counting
from mspc_core.errors import Progress, ShouldStop, stop_if

_MINIMUM = 3


@dataclass(frozen=True)
class SpectralSignaturesConfig:
    """expected: ε, the share of poison expected in a poisoned class (the paper tries 0.05 and 0.1).
    multiplier: 1.5 as published. So 15 % of every class are removed, poisoned or not."""

    expected: float = 0.1
    multiplier: float = 1.5


class SpectralSignatures:
    """Score: squared projection divided by its class's cut-off, ≥ 0; above 1 is removed."""

    name: ClassVar[str] = "spectral_signatures"
    title: ClassVar[str] = CATALOG["spectral_signatures"].title
    citation: ClassVar[str] = CATALOG["spectral_signatures"].citation
    needs: ClassVar[Needs] = CATALOG["spectral_signatures"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SpectralSignaturesConfig | None = None) -> None:
        self.config = config or SpectralSignaturesConfig()

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
        """See `Detector.fit`. One forward for each image. `artifacts_.tables["classes"]` has the share of each class's
        variance along its top singular vector."""
        labels = check_labels(labels, len(images))
        removed = self.config.expected * self.config.multiplier
        with counting(model) as count:
            features = collect_features(model, images, progress=progress, should_stop=should_stop).penultimate
        classes, notes = members_of(labels, _MINIMUM)
        scores, constant = np.zeros(len(images)), []
        rows: list[dict[str, Any]] = []
        for done, (label, members) in enumerate(classes.items(), start=1):
            stop_if(should_stop)
            squared, share = top_projection(features[members])
            if not squared.any():
                constant.append(label)
            else:
                scores[members] = top_share(squared, removed)
                rows.append({"class": label, "variance_share": share, "flagged": int((scores[members] > 1).sum())})
            if progress:
                progress(done, len(classes), "projecting on the top direction")
        self.decision_scores_ = scores
        self.threshold_ = Threshold(
            1.0,
            "quantile",
            f"the {removed:.0%} of each class that lie farthest along its top direction "
            f"({self.config.multiplier:g} times an expected poison share of {self.config.expected:.0%})",
        )
        self.labels_ = scores > 1.0
        self.artifacts_ = Artifacts(
            tables={"classes": rows}, notes=[*notes, *note_constant(constant)], forward_equivalents=count.equivalents
        )
        return self


def top_projection(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Squared projection of centred features [n, D] on their top right singular vector, float64 [n], and the share of
    the variance along it. All zeros for constant features."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    if float(np.abs(centred).max()) <= 1e-6 * max(1.0, float(np.abs(features).max())):
        return np.zeros(len(features)), 0.0
    values, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    return (centred @ vectors[:, -1]) ** 2, float(values[-1] / values.clip(0).sum())
