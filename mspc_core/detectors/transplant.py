"""One mask per predicted class, and a test that moves what the mask found into other images.

Our extension of MSPC (docs/method.md). For each class, learn the smallest region that, cut from the class's samples and
pasted on samples the model gives another class, turns them into this class. The price of a pixel rises while the masks
are learned: a trigger is small and works alone, so its class keeps just its pixels; an object needs much of the image,
so an honest class lets go of everything. Then score each sample by transplanting its own region: the share of other
images that turn into its predicted class, in [0, 1]; natural threshold: a majority. A trigger moves with its pixels.

That a surprisingly small region names the target class is the observation of Wang et al., "Neural Cleanse", IEEE S&P
2019; here nothing is invented, the region holds pixels of the suspicious images themselves, so it needs no clean data.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.class_masks import TransplantConfig, learn_masks
from mspc_core.detectors.regions import COLLAPSED, cut_region, draw_partners, transplant
from mspc_core.engine import distributed
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import counting, device_of, forward_pass, frozen, to_float
from mspc_core.engine.pixels import Images, on_device
from mspc_core.engine.plain import plain_predictions
from mspc_core.engine.rows import Collected
from mspc_core.errors import Progress, ShouldStop, stop_if

__all__ = ["Transplant", "TransplantConfig"]


class Transplant:
    """Class-conditional masks and the transplant test. Score: share of other images the sample's region turns."""

    name: ClassVar[str] = "transplant"
    title: ClassVar[str] = CATALOG["transplant"].title
    citation: ClassVar[str] = CATALOG["transplant"].citation
    needs: ClassVar[Needs] = CATALOG["transplant"].needs

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
        clean: CleanData | None = None,
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
            pixels = on_device(images, device_of(model))
            base = plain_predictions(model, pixels, should_stop=should_stop)
            predicted, learning = base.predicted, half(0, "learning one mask a class")
            masks = learn_masks(self.config, model, pixels, predicted, base.classes, learning, should_stop)
            regions = np.stack([cut_region(mask, self.config.cut) for mask in masks])
            scores = self._score(model, pixels, predicted, regions, half(steps, "transplanting regions"), should_stop)
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["transplant"].rule)
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(
            masks={"transplant": masks},
            tables={"classes": _class_table(scores, predicted, masks, regions)},
            notes=_notes(predicted, masks),
            forward_equivalents=count.equivalents,
        )
        return self

    def _score(
        self,
        model: nn.Module,
        images: Images,
        predicted: np.ndarray,
        regions: np.ndarray,
        progress: Progress,
        should_stop: ShouldStop | None,
    ) -> np.ndarray:
        """Share of partners that take the sample's predicted class once its region is on them, float64 [N]."""
        scores = np.zeros(len(images))
        partners_of = draw_partners(predicted, self.config.partners, self.config.seed)
        with_region = np.flatnonzero([region.any() for region in regions])  # classes
        rows = np.flatnonzero(np.isin(predicted, with_region) & (partners_of[:, 0] >= 0))
        with frozen(model) as device, torch.inference_mode():
            step = max(1, batch_size_for(device, images.shape[1]) // self.config.partners)
            turned = Collected(distributed.own_rows(len(rows), step))
            for start in distributed.batches(len(rows), step):
                stop_if(should_stop)
                chunk = rows[start : start + step]
                found = self._turned(model, images, predicted, regions, chunk, partners_of[chunk], device)
                turned.add(found.mean(1))
                progress(min(start + step, len(rows)), len(rows), "")
        if len(rows):
            scores[rows] = distributed.gather_array(turned.array())
        return scores

    @staticmethod
    def _turned(
        model: nn.Module,
        images: Images,
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
        mixed = mixed.contiguous(memory_format=torch.channels_last)
        found = forward_pass(model, mixed).argmax(1).view(partners.shape)
        turned: np.ndarray = (found == torch.from_numpy(predicted[chunk]).to(device)[:, None]).cpu().numpy()
        return turned


def _class_table(
    scores: np.ndarray, predicted: np.ndarray, masks: np.ndarray, regions: np.ndarray
) -> list[dict[str, float | int]]:
    """One row a class. transplant_rate: mean score of its samples; strength: mean score of its flagged samples."""
    rows: list[dict[str, float | int]] = []
    for number, mask in enumerate(masks):
        own = scores[predicted == number]
        flagged = own[own > 0.5]
        rows.append(
            {
                "class": number,
                "predicted": len(own),
                "flagged": len(flagged),
                "transplant_rate": float(own.mean()) if len(own) else 0.0,
                "strength": float(flagged.mean()) if len(flagged) else 0.0,
                "region_share": float(regions[number].mean()),
                "mask_mean": float(mask.mean()),
            }
        )
    return rows


def _notes(predicted: np.ndarray, masks: np.ndarray) -> list[str]:
    notes = []
    used = np.unique(predicted)
    if len(used) == 1:
        notes.append(
            "The model predicts one class for every image, so there is nothing to transplant to: no sample was scored."
        )
    elif all(masks[c].max() < COLLAPSED for c in used):
        notes.append("No class has a small region that turns other images: nothing could be transplanted.")
    return notes
