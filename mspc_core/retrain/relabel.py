"""A class for each suspect whose label is in doubt: suggestions that a person confirms (`confirmed`), nothing more.

The model that was trained without the suspects is asked: it has not seen their labels. Where the scan found a region
that carries the trigger, the region is covered with other images' content first, because what was missed may have kept
the trigger alive, and a sticker is no part of the object anyway; the mean probability over several covers is the
confidence. The region is the smallest that works, not the whole trigger, so it is widened before it is covered: of 48
stickers of 4×4 pixels, the scan's model named the original class for 52 % as the region was, for 98 % once widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from mspc_core import atomic
from mspc_core.detectors.regions import cells_along
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import frozen, predict_logits, to_float
from mspc_core.errors import ShouldStop, stop_if

PARTNERS = 16
_CELL = 2  # pixels, as the transplant test learns its masks
MASKED, RETRAINED = "trigger region covered", "model without the suspects"


def widened(region: np.ndarray) -> np.ndarray:
    """The region grown by half a cell of the grid that it was learned on (`transplant`), bool [H, W]."""
    side = region.shape[0]
    margin = max(1, round(side / cells_along(side, _CELL) / 2))
    pooled = F.max_pool2d(torch.from_numpy(region).float()[None, None], 2 * margin + 1, stride=1, padding=margin)
    found: np.ndarray = pooled[0, 0].numpy() > 0.5
    return found


def covered_probabilities(
    model: nn.Module,
    images: np.ndarray,
    regions: np.ndarray,
    partners: np.ndarray,
    *,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """Mean class probabilities with the region covered by each partner's content in turn, float64 [M, C].

    images: uint8 [M, H, W, 3]; regions: bool [M, H, W], each image's own; partners: uint8 [K, H, W, 3].
    """
    found = []
    with frozen(model) as device, torch.inference_mode():
        others = to_float(partners, device)  # [K, 3, H, W]
        step = max(1, batch_size_for(device, images.shape[1]) // len(partners))
        for start in range(0, len(images), step):
            stop_if(should_stop)
            part = slice(start, start + step)
            batch = to_float(images[part], device)  # [B, 3, H, W]
            region = torch.from_numpy(regions[part]).to(device)[:, None, None]  # [B, 1, 1, H, W]
            mixed = torch.where(region, others[None], batch[:, None]).flatten(0, 1)  # [B·K, 3, H, W]
            logits = model(mixed.contiguous(memory_format=torch.channels_last)).float()
            found.append(logits.softmax(1).unflatten(0, (len(batch), len(partners))).mean(1).double().cpu().numpy())
    return np.concatenate(found)


def mean_probabilities(models: Sequence[nn.Module], images: np.ndarray) -> np.ndarray:
    """Mean class probabilities of several models, float64 [M, C]. images: uint8 [M, H, W, 3]."""
    found: np.ndarray = np.mean([predict_logits(model, images).softmax(1).double().numpy() for model in models], axis=0)
    return found


def suggest(
    models: Sequence[nn.Module],
    images: np.ndarray,
    region_of: dict[int, np.ndarray],
    in_region: np.ndarray,
    predicted: np.ndarray,
    partners: np.ndarray,
    *,
    should_stop: ShouldStop | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Suggested class int64 [M], confidence float64 [M] in [0, 1], and by what it was found (str [M]).

    models: trained without the suspects. images: uint8 [M, H, W, 3], the suspects. region_of: class → bool [H, W].
    in_region: bool [M], the transplant test flags the sample. predicted: int [M], the scan's. partners: uint8
    [K, H, W, 3], images that were kept.
    """
    probabilities = mean_probabilities(models, images)
    how = np.full(len(images), RETRAINED, dtype=object)
    masked = np.flatnonzero(in_region & np.isin(predicted, list(region_of)))
    if len(masked) and len(partners):
        wide = {label: widened(region) for label, region in region_of.items()}
        regions = np.stack([wide[int(predicted[place])] for place in masked])
        covered = [
            covered_probabilities(model, images[masked], regions, partners, should_stop=should_stop) for model in models
        ]
        probabilities[masked] = np.mean(covered, axis=0)
        how[masked] = MASKED
    return probabilities.argmax(1).astype(np.int64), probabilities.max(1), how


def write_suggestions(path: Path, table: pd.DataFrame) -> None:
    """`sample_id, label, predicted, suggested_label, confidence, how`: numbers and ids only, safe in a spreadsheet."""
    atomic.write_with(path, lambda handle: table.to_csv(handle, index=False, lineterminator="\n"))


def summary_of(table: pd.DataFrame, original: np.ndarray | None) -> dict[str, Any]:
    """How many suggestions there are, differ from the label and (with truth) name the original class, by method.

    original: int [M], the classes before the data was poisoned, or None.
    """
    suggested = table["suggested_label"].to_numpy()
    found: dict[str, Any] = {
        "count": len(table),
        "changed": int((suggested != table["label"].to_numpy()).sum()),
        "equal_original": None if original is None else int((suggested == original).sum()),
        "by": {},
    }
    for how in (MASKED, RETRAINED):
        own = (table["how"] == how).to_numpy()
        right = None if original is None else int((suggested[own] == original[own]).sum())
        found["by"][how] = {"count": int(own.sum()), "equal_original": right}
    return found
