"""Attack success where nobody knows the trigger: estimated with the trigger that the scan's own tests reconstructed.

A region (transplant test) is cut from suspects and pasted on held-out images; a pattern (pattern transplant) is added
to them. The share of images of other classes that turn into the target says what is left of *this* trigger; the true
one may be stronger, or another one may be there. It never reads ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mspc_core.data.store import Dataset
from mspc_core.detectors.regions import cut_region
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import frozen, to_float
from mspc_core.runs import Run

if TYPE_CHECKING:
    import pandas as pd

MOST_IMAGES = 1000
_CUT = 0.2  # of the transplant test, where its record does not say
_NONE = "no test of the scan reconstructed a trigger, so nothing can be tried on other images"


@dataclass(frozen=True)
class Trigger:
    """What a test found to turn images into the class `target`. Either region (bool [H, W]) with the rows it is cut
    from (sources, int64 [S]), or difference (float32 [H, W, 3] in [−1, 1]), which is added."""

    target: int
    test: str
    region: np.ndarray | None = None
    sources: np.ndarray | None = None
    difference: np.ndarray | None = None

    @property
    def words(self) -> str:
        if self.region is not None:
            return f"region of {int(self.region.sum())} pixels cut from suspects and pasted"
        return "pattern of the suspects added"


def reconstructed(run: Run, dataset: Dataset, scores: pd.DataFrame) -> list[Trigger]:
    """The triggers of the classes that the verdict names, by the tests that name them; [] where there are none."""
    summary = run.summary()
    masks = run.masks()
    records = summary.get("detectors") or {}
    found: list[Trigger] = []
    for entry in summary["verdict"].get("target_classes") or []:
        target, by = int(entry["class"]), entry.get("by") or ["transplant"]
        own = scores["predicted"].to_numpy() == target
        if "transplant" in by and "transplant" in masks:
            settings = (records.get("transplant") or {}).get("config") or {}
            region = cut_region(masks["transplant"][target], float(settings.get("cut", _CUT)))
            sources = scores["row"].to_numpy()[own & scores["transplant_flagged"].to_numpy(dtype=bool)]
            if region.any() and len(sources):
                found.append(Trigger(target, "transplant", region=region, sources=sources.astype(np.int64)))
        if "pattern" in by and "pattern_flagged" in scores:
            flagged = scores["pattern_flagged"].to_numpy(dtype=bool)
            rows = scores["row"].to_numpy()
            if (own & flagged).any() and (own & ~flagged).any():
                difference = mean_image(dataset.pixels, rows[own & flagged]) - mean_image(
                    dataset.pixels, rows[own & ~flagged]
                )
                found.append(Trigger(target, "pattern", difference=difference.astype(np.float32)))
    return found


def mean_image(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of these images, float64 [H, W, 3] in [0, 1]; reads a part at a time."""
    total = np.zeros(pixels.shape[1:], dtype=np.float64)
    for start in range(0, len(rows), 256):
        total += pixels[np.sort(rows)[start : start + 256]].sum(0, dtype=np.float64)
    return total / max(1, len(rows)) / 255


def turned_share(
    model: nn.Module, images: np.ndarray, trigger: Trigger, sources: np.ndarray | None, *, plain: bool = False
) -> float:
    """Share of images that get the target class with the trigger on them (plain: as they are).

    images: uint8 [M, H, W, 3]; sources: uint8 [M, H, W, 3], the suspect whose region each image gets.
    """
    hits = 0
    with frozen(model) as device, torch.inference_mode():
        step = batch_size_for(device, images.shape[1])
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            batch = to_float(images[part], device)
            if not plain:
                batch = _with_trigger(batch, trigger, None if sources is None else to_float(sources[part], device))
            batch = batch.contiguous(memory_format=torch.channels_last)
            hits += int((model(batch).argmax(1) == trigger.target).sum())
    return hits / len(images)


def estimate(
    triggers: list[Trigger],
    before: nn.Module,
    after: list[nn.Module],
    dataset: Dataset,
    rows: np.ndarray,
    labels: np.ndarray,
    where: str,
) -> dict[str, Any]:
    """Estimated attack success before and after, of the trigger that works best on the scan's model; `triggers` has
    all. One that still works after the retraining, while the others do not, may be a feature of its class.

    rows: int64, images to try it on; labels: int64, their classes; where: these images in words. `before` and `after`
    are None where there is no trigger, and `how` says why.
    """
    found = [entry for trigger in triggers if (entry := _one(trigger, before, after, dataset, rows, labels))]
    if not found:
        return {"before": None, "after": None, "how": _NONE, "triggers": []}
    strongest = max(found, key=lambda entry: float(entry["before"]))  # the first of equals: named by most tests
    return {
        "before": strongest["before"],
        "after": strongest["after"],
        "how": f"share of {where} of other classes that turn into {strongest['name']} once the trigger that the scan "
        f"reconstructed is on them ({strongest['words']}); an estimate: the attacker's own trigger is not known",
        "triggers": found,
    }


def _one(
    trigger: Trigger, before: nn.Module, after: list[nn.Module], dataset: Dataset, rows: np.ndarray, labels: np.ndarray
) -> dict[str, Any] | None:
    generator = np.random.default_rng([0, trigger.target])
    chosen = np.sort(generator.permutation(rows[labels != trigger.target])[:MOST_IMAGES])
    if not len(chosen):
        return None
    images = dataset.pixels[chosen]
    sources = None
    if trigger.sources is not None:
        sources = dataset.pixels[generator.choice(trigger.sources, len(chosen))]
    return {
        "class": trigger.target,
        "name": dataset.info.classes[trigger.target],
        "test": trigger.test,
        "words": trigger.words,
        "images": len(chosen),
        "before": turned_share(before, images, trigger, sources),
        "after": float(np.mean([turned_share(model, images, trigger, sources) for model in after])),
        "without_trigger": float(np.mean([turned_share(model, images, trigger, None, plain=True) for model in after])),
    }


def _with_trigger(batch: torch.Tensor, trigger: Trigger, sources: torch.Tensor | None) -> torch.Tensor:
    """batch, sources: float [B, 3, H, W] in [0, 1]."""
    if trigger.region is not None and sources is not None:
        return torch.where(torch.from_numpy(trigger.region).to(batch.device), sources, batch)
    pattern = torch.from_numpy(trigger.difference).to(batch.device).movedim(-1, -3)
    return (batch + pattern).clamp(0.0, 1.0)
