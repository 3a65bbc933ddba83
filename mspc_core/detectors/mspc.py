"""Mask-aware scaled prediction consistency with bi-level optimisation (Pal et al., ICLR 2024, arXiv 2403.10717).

MSPC(x; m, τ) = mean over n ∈ S of +1 if argmax F(clip(n·(x−τ)⊙m, 0, 1)) = argmax F(x), else −1.   (range [−1, 1])
Upper level: w_i = 1[MSPC(x_i) > 0], the rule without a threshold to choose.
Lower level: m = argmin (1/N) Σ w_i · mean_n KL(softmax F(x_i) ‖ softmax F(clip(n·(x_i−τ)⊙m))) + λ‖m‖₁.

Same results as the published loop with only the forwards it needs: logits of unscaled images are computed once, samples
with w_i = 0 never enter the model while the mask is optimised (they add nothing to the sum), and between rounds an
image leaves the scoring as soon as the majority of its scales is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.detectors.base import SCALES, Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.engine import distributed
from mspc_core.engine.device import gradient_batch_for
from mspc_core.engine.forward import (
    counting,
    frozen,
    scale_images,
    scaled_agreement,
    scaled_majority,
    to_float,
)
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import Images, on_device
from mspc_core.engine.plain import Plain, plain_predictions
from mspc_core.errors import Progress, ShouldStop, stop_if

_REFERENCE_PIXELS = 32 * 32  # λ and the learning rate were published for masks of this size
# A mask whose largest weight is below this shows the model nothing but black, even at the largest scale. The mean would
# be the wrong thing to look at: a mask on the five pixels of a small trigger is the best there is.
_COLLAPSED = 0.02


@dataclass(frozen=True)
class MSPCConfig:
    """tau: shift τ. sparsity: λ for a 32×32 mask; scaled so that other sizes weigh the mask's mean alike.

    A round makes `inner_epochs` passes over the data in batches of `batch_size` (as published) unless `inner_steps` is
    given: then it takes that many steps, each on `batch_size` samples with w = 1. What matters is the number of steps:
    λ and the rate move a pixel by about 0.01 a step, so that fewer than about 100 cannot take the mask from 1 to 0.
    `scales_per_step` draws that many of
    the scales for each step (an unbiased estimate of their mean); None uses all.
    """

    scales: tuple[float, ...] = SCALES
    tau: float = 0.1
    sparsity: float = 0.01
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    rounds: int = 2
    inner_epochs: int = 10
    inner_steps: int | None = 150
    batch_size: int = 64
    scales_per_step: int | None = 2
    seed: int = 0


# The settings of the paper's experiments (section 5 and its appendix).
PAPER = MSPCConfig(rounds=4, inner_steps=None, batch_size=1000, scales_per_step=None)
PRESETS = {"fast": MSPCConfig(), "paper": PAPER}


def scaled_divergence(
    model: nn.Module, images: Tensor, base_logits: Tensor, mask: Tensor, scales: list[float], tau: float
) -> Tensor:
    """mean_n KL(softmax F(x) ‖ softmax F(clip(n·(x−τ)⊙m))) for each image, float [B]; gradients flow to the mask only.

    images: float [B, 3, H, W] in [0, 1]; base_logits: [B, C]; mask: [H, W], or [B, 1, H, W] for one mask an image.
    """
    target = F.log_softmax(base_logits.detach(), dim=1)  # [B, C]
    scaled = torch.cat([scale_images(images, scale, mask, tau) for scale in scales])  # all scales in one pass
    found = F.log_softmax(model(scaled).float(), dim=1).unflatten(0, (len(scales), len(images)))  # [S, B, C]
    return F.kl_div(found, target.expand_as(found), reduction="none", log_target=True).sum(2).mean(0)


class MSPC:
    """Bi-level MSPC. Score in [−1, 1]; flagged where it is above 0, that is, where most scales agree."""

    name: ClassVar[str] = "mspc"
    title: ClassVar[str] = CATALOG["mspc"].title
    citation: ClassVar[str] = CATALOG["mspc"].citation
    needs: ClassVar[Needs] = CATALOG["mspc"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: MSPCConfig | None = None) -> None:
        self.config = config or MSPCConfig()

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
        """See `Detector.fit`. `artifacts_.masks["mspc"]` is float32 [rounds + 1, H, W], the first all ones."""
        config, notes = self.config, []
        report = _Steps(progress, 2 * config.rounds + 2)
        generator = np.random.default_rng(config.seed)
        with counting(model) as count, frozen(model) as device:
            pixels = on_device(images, device)
            base = plain_predictions(model, pixels, should_stop=should_stop)
            predicted = base.predicted
            mask = torch.ones(images.shape[1:3], device=device)
            masks, flagged_per_round = [mask], []
            for number in range(1, config.rounds + 1):
                weights = scaled_majority(
                    model,
                    pixels,
                    predicted,
                    config.scales,
                    mask=mask,
                    shift=config.tau,
                    progress=report.stage(f"round {number}: scoring"),
                    should_stop=should_stop,
                )
                flagged_per_round.append(int(weights.sum()))
                stage = report.stage(f"round {number}: learning the mask")
                if not weights.any():
                    notes.append(f"Round {number} started with no suspicious sample, so the mask was left as it was.")
                    break
                learned = self._learn_mask(model, pixels, base, weights, mask, generator, stage, should_stop)
                if float(learned.max()) < _COLLAPSED:
                    notes.append(
                        f"The mask collapsed to zero in round {number} (the model would see only black), "
                        "so the mask of the round before was kept."
                    )
                    break
                mask = learned
                masks.append(mask)
            agreement = scaled_agreement(
                model,
                pixels,
                predicted,
                config.scales,
                mask=mask,
                shift=config.tau,
                progress=report.stage("final scores"),
                should_stop=should_stop,
            )
            black = int(model(torch.zeros(1, 3, *images.shape[1:3], device=device)).argmax())
        self.decision_scores_ = 2.0 * agreement.mean(1) - 1.0
        self.threshold_ = Threshold(0.0, "natural", CATALOG["mspc"].rule)
        self.labels_ = self.decision_scores_ > 0.0
        share = float((predicted[self.labels_] == black).mean()) if self.labels_.any() else 0.0
        if share > 0.5:
            notes.append(
                f"{share:.0%} of the flagged samples are predicted as class {black}, which is also what the model says "
                "of a black image: a known source of false alarms."
            )
        self.artifacts_ = Artifacts(
            masks={"mspc": torch.stack(masks).cpu().numpy().astype(np.float32)},
            tables={"rounds": [{"round": n, "suspicious": k} for n, k in enumerate(flagged_per_round, start=1)]},
            notes=notes,
            forward_equivalents=count.equivalents,
        )
        return self

    def _learn_mask(
        self,
        model: nn.Module,
        images: Images,
        base: Plain,
        weights: np.ndarray,
        start: Tensor,
        generator: np.random.Generator,
        progress: Progress,
        should_stop: ShouldStop | None,
    ) -> Tensor:
        """The lower level: SGD on the mask, clamped to [0, 1] after each step. Returns the new mask [H, W]."""
        config, device = self.config, start.device
        mask = start.clone().requires_grad_(True)
        # Both terms' gradients for one pixel shrink with the number of pixels; the rate grows to make up for it.
        ratio = mask.numel() / _REFERENCE_PIXELS
        optimizer = torch.optim.SGD(
            [mask],
            lr=config.learning_rate * ratio,
            momentum=config.momentum,
            weight_decay=config.weight_decay / ratio,
        )
        steps = self._batches(weights, generator)
        total = self._number_of_steps(len(weights))
        for done, (chunk, share) in enumerate(steps, start=1):
            stop_if(should_stop)
            optimizer.zero_grad()
            penalty = config.sparsity / ratio * mask.abs().sum()
            penalty.backward()
            if len(chunk):
                scales = _draw_scales(config, generator)
                # A backward pass for each part, and for as many scales as fit, keeps memory small; the sum of the
                # gradients is the same.
                most = gradient_batch_for(device, images.shape[1])
                parts = np.array_split(chunk, -(-len(chunk) // most))
                groups = _in_groups(scales, max(1, most // len(parts[0])))
                add_gradient = self._gradient(model, images, base, mask, parts, share / len(chunk) / len(scales))
                units = [(number, group) for number in range(len(parts)) for group in groups]
                distributed.accumulate(mask, units, add_gradient)
            optimizer.step()
            with torch.no_grad():
                mask.clamp_(0.0, 1.0)
            progress(done, total, "")
        return distributed.from_leader(mask.detach())

    def _gradient(
        self,
        model: nn.Module,
        images: Images,
        base: Plain,
        mask: Tensor,
        parts: list[np.ndarray],
        weight: float,
    ) -> Callable[[tuple[int, list[float]]], None]:
        """Adds the gradient of one part of a step's rows at some scales. weight: of each image at each scale."""
        device = mask.device
        held: dict[int, tuple[Tensor, Tensor]] = {}  # the part in work, for all of its scales

        def add(unit: tuple[int, list[float]]) -> None:
            number, scales = unit
            if number not in held:
                rows = parts[number]
                held.clear()
                held[number] = to_float(images[rows], device), base.at(rows).to(device)
            batch, logits = held[number]

            def backward(piece: slice) -> None:
                divergence = scaled_divergence(model, batch[piece], logits[piece], mask, scales, self.config.tau)
                (divergence.sum() * weight * len(scales)).backward()

            in_pieces(model, len(batch), backward)

        return add

    def _number_of_steps(self, count: int) -> int:
        config = self.config
        return config.inner_steps or config.inner_epochs * -(-count // config.batch_size)

    def _batches(self, weights: np.ndarray, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, float]]:
        """Yield (rows with w = 1, their share of the batch they stand for): the 1/N of the objective is kept.

        With epochs, batches are drawn from all samples as published and only their w = 1 members are handed on; with
        `inner_steps`, whole batches of w = 1 samples stand for a sample of the data with the same share of w = 1.
        """
        config, candidates = self.config, np.flatnonzero(weights)
        if config.inner_steps is None:
            for _ in range(config.inner_epochs):
                order = generator.permutation(len(weights))
                for start in range(0, len(order), config.batch_size):
                    batch = order[start : start + config.batch_size]
                    chosen = batch[weights[batch]]
                    yield np.sort(chosen), len(chosen) / len(batch)
            return
        share = len(candidates) / len(weights)
        for _ in range(config.inner_steps):
            size = min(config.batch_size, len(candidates))
            yield np.sort(generator.choice(candidates, size, replace=False)), share


def _draw_scales(config: MSPCConfig, generator: np.random.Generator) -> list[float]:
    if config.scales_per_step is None or config.scales_per_step >= len(config.scales):
        return list(config.scales)
    return [float(scale) for scale in generator.choice(config.scales, config.scales_per_step, replace=False)]


def _in_groups(scales: list[float], size: int) -> list[list[float]]:
    return [scales[first : first + size] for first in range(0, len(scales), size)]


class _Steps:
    """Turns the progress of several equal stages into one count of thousandths."""

    def __init__(self, progress: Progress | None, stages: int) -> None:
        self._progress, self._stages, self._begun = progress, stages, -1

    def stage(self, message: str) -> Progress:
        self._begun += 1
        base = self._begun

        def report(done: int, total: int, _: str) -> None:
            if self._progress:
                fraction = (base + done / max(1, total)) / self._stages
                self._progress(round(1000 * min(1.0, fraction)), 1000, message)

        return report
