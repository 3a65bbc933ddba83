"""STRIP: a backdoored image keeps its class when other images are laid over it (Gao et al., ACSAC 2019).

Superimpose K other images of the data set on x, one at a time, and take the mean entropy of the predictions:
H(x) = −(1/K) Σ_k Σ_c y_kc log₂ y_kc with y_k = softmax F(clip(x + x_k, 0, 1)). Low entropy is suspicious.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.thresholds import normal_tail, one_class_note
from mspc_core.engine import distributed
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import counting, forward_pass, frozen, to_float
from mspc_core.engine.pixels import batches, on_device
from mspc_core.engine.plain import plain_predictions
from mspc_core.engine.rows import Collected
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if


@dataclass(frozen=True)
class STRIPConfig:
    """overlays: K, how many other images are laid over each (100 in the paper; 10 for speed). weight: of the overlay,
    added with saturation (1 as published). false_rejection_rate: of clean samples, 1 % as published."""

    overlays: int = 10
    weight: float = 1.0
    false_rejection_rate: float = 0.01
    seed: int = 0


class STRIP:
    """Minus the mean entropy of the predictions under superimposed images, in bits. Range [−log₂ C, 0]."""

    name: ClassVar[str] = "strip"
    title: ClassVar[str] = CATALOG["strip"].title
    citation: ClassVar[str] = CATALOG["strip"].citation
    needs: ClassVar[Needs] = CATALOG["strip"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: STRIPConfig | None = None) -> None:
        self.config = config or STRIPConfig()

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
        """See `Detector.fit`. Costs 1 + K forwards for each image; labels are not used.

        The paper fits a normal distribution to the entropies of clean samples and cuts at its 1 % point. Here the same
        distribution is fitted to the bulk of the scanned samples (median and median absolute deviation), so that no
        clean data is needed. Raises `InputError` for fewer than two images.
        """
        if len(images) < 2:
            raise InputError("STRIP lays images over each other, so it needs at least two: scan more images.")
        with counting(model) as count:
            predicted = plain_predictions(model, images, should_stop=should_stop).predicted
            overlays = draw_overlays(len(images), self.config.overlays, self.config.seed)
            entropy = mean_entropy(
                model, images, overlays, self.config.weight, progress=progress, should_stop=should_stop
            )
        self.decision_scores_ = -entropy
        rate = self.config.false_rejection_rate
        value = normal_tail(self.decision_scores_, rate)
        self.threshold_ = Threshold(
            value,
            "quantile",
            f"entropy below the {rate:.0%} point of a normal distribution fitted to the bulk of all entropies (median "
            "and median absolute deviation); the paper fits it to clean samples",
        )
        self.labels_ = self.decision_scores_ > value
        notes = one_class_note(predicted)
        if value >= 0.0:
            notes.append("The entropies spread so widely that no entropy is low enough: nothing can be flagged.")
        self.artifacts_ = Artifacts(notes=notes, forward_equivalents=count.equivalents)
        return self


def draw_overlays(count: int, overlays: int, seed: int) -> np.ndarray:
    """For each image, rows of other images, int64 [N, K]: uniform, with repetition, never the image itself."""
    generator = np.random.default_rng(seed)
    steps = generator.integers(1, count, (count, overlays))
    found: np.ndarray = (np.arange(count)[:, None] + steps) % count
    return found


def entropy_bits(logits: Tensor) -> Tensor:
    """Shannon entropy of softmax(logits) in bits: [B, C] → float64 [B]."""
    return torch.special.entr(torch.softmax(logits.double(), 1)).sum(1) / math.log(2.0)


def mean_entropy(
    model: nn.Module,
    images: np.ndarray,
    overlays: np.ndarray,
    weight: float,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """Mean over the overlays of the entropy of F(clip(x + weight · x_k, 0, 1)), in bits, float64 [N].

    images: uint8 [N, H, W, 3]; overlays: rows of `images`, int [N, K].
    """
    done = 0
    with frozen(model) as device, torch.inference_mode():
        pixels, count = on_device(images, device), overlays.shape[1]
        step = max(1, batch_size_for(device, images.shape[1]) // count)
        starts = distributed.batches(len(images), step)
        found = Collected(distributed.own_rows(len(images), step))
        for chunk, own in batches(pixels, np.arange(len(images)), starts, step, device):
            stop_if(should_stop)
            mixed = to_float(pixels[overlays[chunk].ravel()], device).mul_(weight)  # [B · K, 3, H, W]
            mixed.unflatten(0, (len(chunk), count)).add_(to_float(own, device).unsqueeze(1))
            entropy = entropy_bits(forward_pass(model, mixed.clamp_(0.0, 1.0)).float().cpu())
            found.add(entropy.view(len(chunk), count).mean(1).numpy())
            done += len(chunk) * distributed.size()  # the others are about as far
            if progress:
                progress(min(done, len(images)), len(images), "laying other images over each")
    return distributed.gather_array(found.array())
