"""Cognitive Distillation: a trigger is a small pattern that decides alone (Huang et al., ICLR 2023, section 3).

For each image find the smallest mask that keeps the model's answer (equations 1 and 2):
m = argmin ‖f(x) − f(x_m)‖₁ + α‖m‖₁ + β·TV(m), x_m = x ⊙ m + (1 − m) ⊙ δ, with f the logits and δ a random colour, drawn
anew at each step. A backdoored image needs little of itself, so a small ‖m‖₁ is suspicious.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.thresholds import one_class_note
from mspc_core.engine import distributed
from mspc_core.engine.device import gradient_batch_for
from mspc_core.engine.forward import counting, frozen, to_float
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import batches
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_REFERENCE_PIXELS = 32 * 32  # α was published for masks of this size
# Adam as the authors set it: with so little memory it is close to a step of fixed length along the gradient's sign.
_BETAS = (0.1, 0.1)
_KEPT = 256  # masks of the most suspicious samples whose mean is shown
_START = 1.0  # of w, where m = (tanh w + 1)/2 is 0.88


@dataclass(frozen=True)
class CognitiveDistillationConfig:
    """sparsity: α for a 32×32 mask, scaled so that other sizes weigh the mask's mean alike. smoothness: β. steps: of
    Adam at `learning_rate` (100 as published; 40 take a mask from 0.88 to 0.003 and cost less). gamma: standard
    deviations that a mask must be smaller than the average, 1 as in the authors' code."""

    sparsity: float = 0.01
    smoothness: float = 1.0
    steps: int = 40
    learning_rate: float = 0.1
    gamma: float = 1.0
    seed: int = 0


class CognitiveDistillation:
    """Minus the share of the image that its prediction needs, −‖m‖₁ / (H·W). Range [−1, 0]."""

    name: ClassVar[str] = "cognitive_distillation"
    title: ClassVar[str] = CATALOG["cognitive_distillation"].title
    citation: ClassVar[str] = CATALOG["cognitive_distillation"].citation
    needs: ClassVar[Needs] = CATALOG["cognitive_distillation"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: CognitiveDistillationConfig | None = None) -> None:
        self.config = config or CognitiveDistillationConfig()

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
        """See `Detector.fit`. Costs 1 + 2 · steps forward-equivalents for each image; labels are not used.

        The paper takes mean and standard deviation of ‖m‖₁ from clean samples; here they are those of the scanned
        samples themselves. `artifacts_.masks["cognitive_distillation"]` is float32 [2, H, W]: the mean mask of the most
        suspicious samples (256 at most) and of all. Raises `InputError` for fewer than one step.
        """
        if self.config.steps < 1:
            raise InputError("Cognitive Distillation needs at least one step: set `steps` to 1 or more.")
        scores = np.zeros(len(images))
        evidence = _Evidence(images.shape[1:3])
        done, total = 0, len(images) * self.config.steps
        with counting(model) as count:
            base = plain_predictions(model, images, should_stop=should_stop)
            noise = random_colours(self.config.steps, self.config.seed)
            with frozen(model) as device:
                batch = gradient_batch_for(device, images.shape[1])
                own = distributed.batches(len(images), batch)
                for rows, stored in batches(images, np.arange(len(images)), own, batch, device):

                    def report(steps: int, before: int = done) -> None:
                        stop_if(should_stop)
                        if progress:
                            progress(before + steps, total, "looking for the smallest mask")

                    found = self._masks(model, to_float(stored, device), base.at(rows).to(device), noise, report)
                    scores[rows] = -found.mean((1, 2), dtype=torch.float64).cpu().numpy()
                    evidence.add(found.cpu().numpy(), scores[rows])
                    done += len(rows) * self.config.steps
        scores = distributed.gather_array(scores[own.start : own.stop])
        evidence.join()
        self._decide(scores)
        self.artifacts_ = Artifacts(
            masks={"cognitive_distillation": evidence.means()},
            notes=one_class_note(base.predicted),
            forward_equivalents=count.equivalents,
        )
        return self

    def _masks(
        self, model: nn.Module, images: Tensor, logits: Tensor, noise: Tensor, report: Callable[[int], None]
    ) -> Tensor:
        """`distil`, in smaller pieces where memory runs out: the masks are independent. report: called with the number
        of finished steps, counted for each image."""

        def masks(piece: slice) -> Tensor:
            first, size = piece.start * len(noise), piece.stop - piece.start
            return distil(
                model, images[piece], logits[piece], noise, self.config, lambda step: report(first + step * size)
            )

        return torch.cat(in_pieces(model, len(images), masks))

    def _decide(self, scores: np.ndarray) -> None:
        value = float(scores.mean() + self.config.gamma * scores.std())
        self.decision_scores_ = scores
        self.threshold_ = Threshold(
            value,
            "quantile",
            f"a mask {self.config.gamma:g} standard deviations smaller than the average of the scanned samples "
            "themselves; the paper takes both from clean samples",
        )
        self.labels_ = scores > value


def random_colours(steps: int, seed: int) -> Tensor:
    """δ for each step, uniform in [0, 1], float [steps, 3, 1, 1]. All images get the same draws, so that a score
    depends neither on the batch nor on luck."""
    return torch.rand(steps, 3, 1, 1, generator=torch.Generator().manual_seed(seed))


def total_variation(masks: Tensor) -> Tensor:
    """Squared differences between neighbours, summed and divided by the number of pixels: [B, H, W] → [B]."""
    down = (masks[:, 1:] - masks[:, :-1]).square().sum((1, 2))
    right = (masks[:, :, 1:] - masks[:, :, :-1]).square().sum((1, 2))
    return (down + right) / masks[0].numel()


def objective(
    model: nn.Module,
    images: Tensor,
    base_logits: Tensor,
    masks: Tensor,
    colour: Tensor,
    config: CognitiveDistillationConfig,
) -> Tensor:
    """What a mask minimises, for each image, float [B]. The distance of the logits is the mean over the classes, and TV
    the mean over the pixels, as in the settings that α and β were published for.

    images: float [B, 3, H, W] in [0, 1]; base_logits: [B, C]; masks: [B, H, W] in [0, 1]; colour: δ, [3, 1, 1].
    """
    weights = masks.unsqueeze(1)
    mixed = (images * weights + (1.0 - weights) * colour).contiguous(memory_format=torch.channels_last)
    distance = (model(mixed).float() - base_logits).abs().mean(1)
    size = _REFERENCE_PIXELS * masks.mean((1, 2))  # ‖m‖₁ of a 32×32 mask with the same mean
    return distance + config.sparsity * size + config.smoothness * total_variation(masks)


def distil(
    model: nn.Module,
    images: Tensor,
    base_logits: Tensor,
    noise: Tensor,
    config: CognitiveDistillationConfig,
    report: Callable[[int], None],
) -> Tensor:
    """The masks of a batch, float [B, H, W]. They are independent: Adam works on each weight alone.

    noise: δ of each step, [steps, 3, 1, 1]. report: called with the number of finished steps; may raise `Cancelled`.
    """
    weights = torch.full((len(images), *images.shape[2:]), _START, device=images.device, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=config.learning_rate, betas=_BETAS)
    for step, colour in enumerate(noise.to(images.device)):
        report(step)
        optimizer.zero_grad()
        masks = (torch.tanh(weights) + 1.0) / 2.0
        objective(model, images, base_logits, masks, colour, config).sum().backward()
        optimizer.step()
    report(len(noise))
    return (torch.tanh(weights.detach()) + 1.0) / 2.0


class _Evidence:
    """Keeps the smallest masks and the sum of all, since all masks of a large data set would not fit in memory."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self._sum, self._count = np.zeros(size), 0
        self._kept, self._scores = np.zeros((0, *size), dtype=np.float32), np.zeros(0)

    def add(self, masks: np.ndarray, scores: np.ndarray) -> None:
        """masks: float32 [B, H, W]; scores: float [B]."""
        self._sum += masks.sum(0, dtype=np.float64)
        self._count += len(masks)
        kept, all_scores = np.concatenate([self._kept, masks]), np.concatenate([self._scores, scores])
        best = np.argsort(-all_scores, kind="stable")[:_KEPT]
        self._kept, self._scores = kept[best], all_scores[best]

    def join(self) -> None:
        """Put together what all processes have kept that share the pass."""
        sums = distributed.gather_array(self._sum[None])
        kept, scores = distributed.gather_array(self._kept), distributed.gather_array(self._scores)
        best = np.argsort(-scores, kind="stable")[:_KEPT]
        self._sum, self._count = sums.sum(0), distributed.total(self._count)[0]
        self._kept, self._scores = kept[best], scores[best]

    def means(self) -> np.ndarray:
        """float32 [2, H, W]: mean of the kept masks, mean of all."""
        return np.stack([self._kept.mean(0), self._sum / max(1, self._count)]).astype(np.float32)
