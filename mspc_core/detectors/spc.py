"""Scaled prediction consistency: a backdoored image keeps its class when its pixels are multiplied.

Guo et al., "SCALE-UP", ICLR 2023 (the data-free score):
SPC(x) = mean over n ∈ S of 1[argmax F(clip(n·x, 0, 1)) = argmax F(x)].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from torch import nn

from mspc_core.detectors.base import SCALES, Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.engine.forward import counting, scaled_agreement
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import Progress, ShouldStop


@dataclass(frozen=True)
class SPCConfig:
    """scales: the multipliers S; `threshold`: SCALE-UP compares with a number its authors chose, 0.5."""

    scales: tuple[float, ...] = SCALES
    threshold: float = 0.5


def agreement_over_scales(
    model: nn.Module,
    images: np.ndarray,
    scales: tuple[float, ...],
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted class of each image, int64 [N], and whether each scale keeps it, bool [N, S]. The mean over the scales
    is SPC. Costs S forwards an image beside the plain predictions. Raises `InputError` where the model gives NaN, and
    `Cancelled`."""
    predicted = plain_predictions(model, images, should_stop=should_stop).predicted
    agreement = scaled_agreement(model, images, predicted, scales, progress=progress, should_stop=should_stop)
    return predicted, agreement


class SPC:
    """Share of scales at which the prediction stays. Range [0, 1]."""

    name: ClassVar[str] = "spc"
    title: ClassVar[str] = CATALOG["spc"].title
    citation: ClassVar[str] = CATALOG["spc"].citation
    needs: ClassVar[Needs] = CATALOG["spc"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SPCConfig | None = None) -> None:
        self.config = config or SPCConfig()

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
        """See `Detector.fit`. Costs 1 + |S| forwards for each image; labels are not used."""
        with counting(model) as count:
            _, agreement = agreement_over_scales(
                model, images, self.config.scales, progress=progress, should_stop=should_stop
            )
        self.decision_scores_ = agreement.mean(1)
        self.threshold_ = Threshold(
            self.config.threshold, "natural", "more than half of the scales keep the predicted class"
        )
        self.labels_ = self.decision_scores_ > self.threshold_.value
        self.artifacts_ = Artifacts(
            masks={"agreement_per_scale": agreement.mean(0).astype(np.float32)}, forward_equivalents=count.equivalents
        )
        return self
