"""One mask per predicted class, and a test that moves what the mask found into other images.

Our extension of MSPC (docs/method.md). A class-conditional mask keeps the smallest region that holds a class's
predictions together under scaling. That alone separates nothing (every class finds a mask that keeps it); the
transplant does: cut the region from the sample, paste it on samples the model gives another class, and see how
often they turn into the sample's predicted class. A trigger moves with its pixels, an object's features rarely do.
Score: that share, in [0, 1]; natural threshold: a majority.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.detectors.base import SCALES, Artifacts, Needs, Threshold
from mspc_core.detectors.mspc import scaled_divergence
from mspc_core.engine.forward import batch_size_for, counting, frozen, predict_logits, to_float
from mspc_core.errors import Progress, ShouldStop, stop_if

_REFERENCE_PIXELS = 32 * 32
_COLLAPSED = 0.02  # a mask whose largest weight is below this has let go of every pixel


@dataclass(frozen=True)
class TransplantConfig:
    """steps, images_per_step: of the joint mask optimisation. divergence_cap: KL above which a sample stops pulling
    (it cannot be kept anyway). cut: region = mask / max(mask) > cut. partners: images each region is pasted on."""

    scales: tuple[float, ...] = SCALES
    tau: float = 0.1
    sparsity: float = 0.01
    learning_rate: float = 0.1
    momentum: float = 0.9
    steps: int = 300
    images_per_step: int = 120
    divergence_cap: float = 3.0
    cut: float = 0.2
    partners: int = 16
    seed: int = 0


def cut_region(mask: np.ndarray, cut: float) -> np.ndarray:
    """Where a mask, divided by its maximum, is above `cut`: bool, same shape [H, W]. Nothing if the mask collapsed."""
    top = float(mask.max())
    region: np.ndarray = mask > cut * top if top >= _COLLAPSED else np.zeros(mask.shape, dtype=bool)
    return region


def transplant(source: Tensor, partners: Tensor, region: Tensor) -> Tensor:
    """Paste the region of each source image on its partners.

    source: [B, 3, H, W]; partners: [B, K, 3, H, W]; region: bool [B, 1, H, W] → [B, K, 3, H, W].
    """
    return torch.where(region.unsqueeze(1), source.unsqueeze(1), partners)


class Transplant:
    """Class-conditional masks and the transplant test. Score: share of other images the sample's region turns."""

    name: ClassVar[str] = "transplant"
    title: ClassVar[str] = "Transplant"
    citation: ClassVar[str] = "this project, after Pal et al., ICLR 2024"
    needs: ClassVar[Needs] = Needs(gradients=True)

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: TransplantConfig | None = None) -> None:
        self.config = config or TransplantConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. `artifacts_.masks["transplant"]` is float32 [C, H, W], one mask a predicted class;
        `artifacts_.tables["classes"]` has each class's mean transplant rate, which names the target."""
        steps, total = self.config.steps, 2 * self.config.steps

        def half(offset: int, message: str) -> Progress:
            def report(done: int, of: int, _: str) -> None:
                if progress:
                    progress(offset + round(steps * done / max(1, of)), total, message)

            return report

        with counting(model) as count:
            logits = predict_logits(model, images, should_stop=should_stop)
            predicted = logits.argmax(1).numpy()
            masks = self._learn_masks(model, images, logits, half(0, "learning one mask a class"), should_stop)
            regions = np.stack([cut_region(mask, self.config.cut) for mask in masks])
            scores = self._score(model, images, predicted, regions, half(steps, "transplanting regions"), should_stop)
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", "the region turns most of the images it is pasted on")
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(
            masks={"transplant": masks},
            tables={"classes": _class_table(scores, predicted, masks, regions)},
            notes=_notes(predicted, masks),
            forward_equivalents=count.equivalents,
        )
        return self

    def _learn_masks(
        self,
        model: nn.Module,
        images: np.ndarray,
        logits: Tensor,
        progress: Progress,
        should_stop: ShouldStop | None,
    ) -> np.ndarray:
        """All classes' masks together, float32 [C, H, W]; a class nobody is predicted as keeps a mask of zeros."""
        config, (height, width) = self.config, images.shape[1:3]
        generator = np.random.default_rng(config.seed)
        predicted = logits.argmax(1).numpy()
        members = {int(c): np.flatnonzero(predicted == c) for c in np.unique(predicted)}
        ratio = height * width / _REFERENCE_PIXELS
        with frozen(model) as device:
            masks = torch.zeros(logits.shape[1], height, width, device=device)
            masks[list(members)] = 1.0
            masks.requires_grad_(True)
            optimizer = torch.optim.SGD([masks], lr=config.learning_rate * ratio, momentum=config.momentum)
            for step in range(config.steps):
                stop_if(should_stop)
                rows = _balanced_draw(members, config.images_per_step, generator)
                owners = torch.from_numpy(predicted[rows]).to(device)
                scale = float(generator.choice(config.scales))
                divergence = scaled_divergence(
                    model,
                    to_float(images[rows], device),
                    logits[torch.from_numpy(rows)].to(device),
                    masks[owners].unsqueeze(1),
                    [scale],
                    config.tau,
                ).clamp(max=config.divergence_cap)
                # Mean within each drawn class, so that every class's mask sees the same balance as MSPC's one mask.
                share = torch.bincount(owners, minlength=len(masks)).clamp(min=1)[owners]
                drawn = torch.zeros(len(masks), device=device)
                drawn[owners] = 1.0
                penalty = (drawn[:, None, None] * masks).sum() * config.sparsity / ratio
                optimizer.zero_grad()
                ((divergence / share).sum() + penalty).backward()
                optimizer.step()
                with torch.no_grad():
                    masks.clamp_(0.0, 1.0)
                progress(step + 1, config.steps, "")
        learned: np.ndarray = masks.detach().cpu().numpy().astype(np.float32)
        return learned

    def _score(
        self,
        model: nn.Module,
        images: np.ndarray,
        predicted: np.ndarray,
        regions: np.ndarray,
        progress: Progress,
        should_stop: ShouldStop | None,
    ) -> np.ndarray:
        """Share of partners that take the sample's predicted class once its region is on them, float64 [N]."""
        scores = np.zeros(len(images))
        partners_of = draw_partners(predicted, self.config.partners, self.config.seed)
        rows = np.flatnonzero(regions.any((1, 2))[predicted] & (partners_of[:, 0] >= 0))
        with frozen(model) as device, torch.inference_mode():
            step = max(1, batch_size_for(device, images.shape[1]) // self.config.partners)
            for start in range(0, len(rows), step):
                stop_if(should_stop)
                chunk = rows[start : start + step]
                turned = self._turned(model, images, predicted, regions, chunk, partners_of[chunk], device)
                scores[chunk] = turned.mean(1)
                progress(min(start + step, len(rows)), len(rows), "")
        return scores

    @staticmethod
    def _turned(
        model: nn.Module,
        images: np.ndarray,
        predicted: np.ndarray,
        regions: np.ndarray,
        chunk: np.ndarray,
        partners: np.ndarray,
        device: torch.device,
    ) -> np.ndarray:
        """bool [B, K]: did partner k of sample b turn into b's class?"""
        source = to_float(images[chunk], device)
        others = to_float(images[partners.ravel()], device).unflatten(0, partners.shape)
        region = torch.from_numpy(regions[predicted[chunk]]).to(device).unsqueeze(1)
        mixed = transplant(source, others, region).flatten(0, 1)
        found = model(mixed.contiguous(memory_format=torch.channels_last)).argmax(1).view(partners.shape)
        turned: np.ndarray = (found == torch.from_numpy(predicted[chunk]).to(device)[:, None]).cpu().numpy()
        return turned


def draw_partners(predicted: np.ndarray, count: int, seed: int) -> np.ndarray:
    """For each sample, `count` random rows the model gives another class: int64 [N, count], -1 where there is none."""
    generator = np.random.default_rng([seed, 7])
    order = np.argsort(predicted, kind="stable")
    lowest = np.searchsorted(predicted[order], predicted, side="left")
    own = np.searchsorted(predicted[order], predicted, side="right") - lowest
    others = len(predicted) - own
    # Draw among the rows outside the sample's own block of the class-sorted order.
    drawn = (generator.random((len(predicted), count)) * others[:, None]).astype(np.int64)
    drawn += np.where(drawn >= lowest[:, None], own[:, None], 0)
    partners: np.ndarray = order[np.minimum(drawn, len(predicted) - 1)]
    partners[others == 0] = -1
    return partners


def _balanced_draw(members: dict[int, np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """About `count` rows, the same number from every class (from a random subset of classes if there are too many)."""
    classes = list(members)
    if len(classes) > count // 4:
        classes = list(generator.choice(classes, max(1, count // 4), replace=False))
    each = max(1, count // len(classes))
    drawn = [generator.choice(members[c], min(each, len(members[c])), replace=False) for c in classes]
    return np.sort(np.concatenate(drawn))


def _class_table(
    scores: np.ndarray, predicted: np.ndarray, masks: np.ndarray, regions: np.ndarray
) -> list[dict[str, float | int]]:
    return [
        {
            "class": c,
            "predicted": int((predicted == c).sum()),
            "transplant_rate": float(scores[predicted == c].mean()) if (predicted == c).any() else 0.0,
            "flagged": int((scores[predicted == c] > 0.5).sum()),
            "region_share": float(regions[c].mean()),
            "mask_mean": float(masks[c].mean()),
        }
        for c in range(len(masks))
    ]


def _notes(predicted: np.ndarray, masks: np.ndarray) -> list[str]:
    notes = []
    used = np.unique(predicted)
    if len(used) == 1:
        notes.append(
            "The model predicts one class for every image, so there is nothing to transplant to: no sample was scored."
        )
    collapsed = [int(c) for c in used if masks[c].max() < _COLLAPSED]
    if collapsed:
        shown = ", ".join(map(str, collapsed[:8])) + (", …" if len(collapsed) > 8 else "")
        notes.append(f"The masks of {len(collapsed)} classes ({shown}) let go of every pixel; their samples score 0.")
    return notes
