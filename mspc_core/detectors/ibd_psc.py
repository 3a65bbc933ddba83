"""IBD-PSC: parameter-oriented scaling consistency (Hou et al., "IBD-PSC: Input-level Backdoor Detection via
Parameter-oriented Scaling Consistency", ICML 2024, arXiv 2405.09786).

Where SPC multiplies pixels, this multiplies parameters: weights and biases of the last k BatchNorm layers by ω = 1.5.
PSC(x) = mean over n = 5 such models, k = k₀ … k₀ + n − 1, of their confidence in the class that the unchanged model
predicts (eq. 3). Poisoned predictions survive; x is flagged if PSC(x) > T = 0.9. Algorithm 1: k₀ is the smallest k at
which the error on clean samples exceeds ξ = 60 %.

Deviation: without clean data, k₀ is found on the scanned training samples themselves (a random draw of them), whose
error is against the given labels. Poison holds on to its labels, so k₀ may come out later than on clean samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import check_labels
from mspc_core.detectors.features import batch_norms
from mspc_core.engine.forward import counting, predict_logits
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import InputError, Progress, ShouldStop


@dataclass(frozen=True)
class IBDPSCConfig:
    """amplification: ω. versions: n. error: ξ. threshold: T. search_samples: images that find the first k."""

    amplification: float = 1.5
    versions: int = 5
    error: float = 0.6
    threshold: float = 0.9
    search_samples: int = 1000
    seed: int = 0


class IBDPSC:
    """Mean confidence in the original class under amplified BatchNorm layers. Range [0, 1]."""

    name: ClassVar[str] = "ibd_psc"
    title: ClassVar[str] = CATALOG["ibd_psc"].title
    citation: ClassVar[str] = CATALOG["ibd_psc"].citation
    needs: ClassVar[Needs] = CATALOG["ibd_psc"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: IBDPSCConfig | None = None) -> None:
        self.config = config or IBDPSCConfig()

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
        """See `Detector.fit`. Costs 1 + n forwards an image and the search. The model is the same afterwards.
        `artifacts_.tables["search"]` has the error for each number of amplified layers that was tried."""
        config, labels = self.config, check_labels(labels, len(images))
        layers = affine_batch_norms(model)
        notes: list[str] = []
        with counting(model) as count:
            predicted = torch.tensor(plain_predictions(model, images, should_stop=should_stop).predicted)
            rows = np.random.default_rng(config.seed).permutation(len(images))[: config.search_samples]
            rows.sort()
            search = self._search(model, images, labels, rows, layers, progress, should_stop)
            first = int(search[-1]["layers"])
            if search[-1]["error"] <= config.error:
                first = max(1, len(layers) - config.versions + 1)
                notes.append(
                    f"No number of amplified layers brings the error above {config.error:.0%}, so the last "
                    f"{first} and more are used; the scores may mean little here."
                )
            numbers = range(first, min(first + config.versions, len(layers) + 1))
            if len(numbers) < config.versions:
                notes.append(
                    f"This model has {len(layers)} BatchNorm layers, so that only {len(numbers)} of "
                    f"{config.versions} amplified versions exist."
                )
            confidence = torch.zeros(len(images), dtype=torch.float64)
            for done, number in enumerate(numbers, start=1):
                with amplified(layers[-number:], config.amplification):
                    shares = torch.softmax(predict_logits(model, images, should_stop=should_stop).double(), 1)
                confidence += shares.gather(1, predicted[:, None])[:, 0] / len(numbers)
                if progress:
                    progress(done, len(numbers), "amplifying BatchNorm layers")
        self.decision_scores_ = confidence.numpy().clip(0.0, 1.0)
        self.threshold_ = Threshold(config.threshold, "natural", CATALOG["ibd_psc"].rule)
        self.labels_ = self.decision_scores_ > config.threshold
        if len(torch.unique(predicted)) == 1:
            notes.append("The model predicts one class for every image, so keeping it says nothing.")
        self.artifacts_ = Artifacts(tables={"search": search}, notes=notes, forward_equivalents=count.equivalents)
        return self

    def _search(
        self,
        model: nn.Module,
        images: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        layers: list[nn.Module],
        progress: Progress | None,
        should_stop: ShouldStop | None,
    ) -> list[dict[str, Any]]:
        """Algorithm 1: the error with the last 1, 2, … layers amplified, up to the first above ξ (or all layers)."""
        found: list[dict[str, Any]] = []
        for number in range(1, len(layers) + 1):
            with amplified(layers[-number:], self.config.amplification):
                logits = predict_logits(model, images, indices=rows, should_stop=should_stop)
            error = float((logits.argmax(1).numpy() != labels[rows]).mean())
            found.append({"layers": number, "error": error})
            if progress:
                progress(number, len(layers), "choosing the layers to amplify")
            if error > self.config.error:
                break
        return found


def affine_batch_norms(model: nn.Module) -> list[nn.Module]:
    """BatchNorm layers that have weights and biases, from input to output. Raises `InputError` where there is none."""
    layers = [layer for layer in batch_norms(model).values() if layer.weight is not None]
    if not layers:
        raise InputError("The BatchNorm layers of this model have no parameters to amplify: choose another detector.")
    return layers


@contextmanager
def amplified(layers: Sequence[nn.Module], factor: float) -> Iterator[None]:
    """Multiply weights and biases of `layers` inside the block; the very same values are put back afterwards."""
    parameters = [parameter for layer in layers for parameter in layer.parameters(recurse=False)]
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(factor)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
