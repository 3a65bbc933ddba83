"""Scaled prediction consistency against a few clean samples (Guo et al., "SCALE-UP", ICLR 2023, section 4.3).

The data-limited version: some classes are consistent by nature, so the SPC of an image is compared with that of clean
samples of the class that the model gives it: z(x) = (SPC(x) − μ_c) / σ_c with c = argmax F(x), where μ_c and σ_c are
the mean and the standard deviation of the SPC of clean samples labelled c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from mspc_core.detectors.base import SCALES, Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.spc import agreement_over_scales
from mspc_core.detectors.thresholds import one_class_note
from mspc_core.engine.forward import counting
from mspc_core.errors import InputError, Progress, ShouldStop

_FEWEST = 2  # clean samples of a class that give a spread


@dataclass(frozen=True)
class SPCLimitedConfig:
    """scales: the multipliers S. threshold: in standard deviations; the paper leaves it to the defender, and 0.5 is the
    customary setting in published implementations."""

    scales: tuple[float, ...] = SCALES
    threshold: float = 0.5


class SPCLimited:
    """SPC in standard deviations above the clean samples of the predicted class."""

    name: ClassVar[str] = "spc_limited"
    title: ClassVar[str] = CATALOG["spc_limited"].title
    citation: ClassVar[str] = CATALOG["spc_limited"].citation
    needs: ClassVar[Needs] = CATALOG["spc_limited"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SPCLimitedConfig | None = None) -> None:
        self.config = config or SPCLimitedConfig()

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
        """See `Detector.fit`. Costs 1 + |S| forwards for each image and each clean image; labels are not used.

        `artifacts_.tables["clean_classes"]` has mean and standard deviation of each class's clean samples. A class
        with fewer than two of them, or with no spread, takes what it lacks from all clean samples together; a note says
        so. Raises `InputError` without clean data.
        """
        if clean is None or not len(clean.images):
            raise InputError("SPC with clean data needs some images that are known to be clean: name a trusted part.")
        total = len(clean.images) + len(images)

        def after(offset: int) -> Progress:
            def report(done: int, _: int, message: str) -> None:
                if progress:
                    progress(offset + done, total, message)

            return report

        scales = self.config.scales
        with counting(model) as count:
            predicted, agreement = agreement_over_scales(
                model, images, scales, progress=after(0), should_stop=should_stop
            )
            _, trusted = agreement_over_scales(
                model, clean.images, scales, progress=after(len(images)), should_stop=should_stop
            )
        table = _statistics(trusted.mean(1), np.asarray(clean.labels), int(predicted.max()) + 1)
        means = np.array([row["mean"] for row in table])
        spreads = np.array([row["standard_deviation"] for row in table])
        self.decision_scores_ = (agreement.mean(1) - means[predicted]) / spreads[predicted]
        self.threshold_ = Threshold(
            self.config.threshold,
            "natural",
            f"more than {self.config.threshold:g} standard deviations above the clean samples of the predicted class",
        )
        self.labels_ = self.decision_scores_ > self.config.threshold
        self.artifacts_ = Artifacts(
            masks={"agreement_per_scale": agreement.mean(0).astype(np.float32)},
            tables={"clean_classes": table},
            notes=one_class_note(predicted) + _notes(table, np.unique(predicted)),
            forward_equivalents=count.equivalents,
        )
        return self


def _statistics(consistency: np.ndarray, labels: np.ndarray, classes: int) -> list[dict[str, Any]]:
    """One row a class from 0 on: how many clean samples it has, and the mean and standard deviation that count for it.

    consistency: SPC of the clean samples, float [M]; labels: int [M]; classes: at least this many rows.
    """
    pooled_spread = float(consistency.std()) or 1.0
    rows: list[dict[str, Any]] = []
    for number in range(max(classes, int(labels.max()) + 1)):
        own = consistency[labels == number]
        enough = len(own) >= _FEWEST
        spread = float(own.std()) if enough else 0.0
        rows.append(
            {
                "class": number,
                "samples": len(own),
                "mean": float(own.mean() if enough else consistency.mean()),
                "standard_deviation": spread or pooled_spread,
                "pooled": not spread,
            }
        )
    return rows


def _notes(table: list[dict[str, Any]], used: np.ndarray) -> list[str]:
    pooled = [str(number) for number in used if table[number]["pooled"]]
    if not pooled:
        return []
    some = ", ".join(pooled[:10]) + (" …" if len(pooled) > 10 else "")
    return [
        f"Too few clean samples, or none that differ, in class {some}: the mean or the spread of all clean samples "
        "was used there."
    ]
