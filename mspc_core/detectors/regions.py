"""Regions that are cut from one image and pasted on others: the pure parts of the transplant test."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES_PER_STEP = 40
COLLAPSED = 0.02  # a mask whose largest weight is below this has let go of every pixel
_MOST_CELLS = 32


def cut_region(mask: np.ndarray, cut: float) -> np.ndarray:
    """Where a mask, divided by its maximum, is above `cut`: bool, same shape [H, W]. Nothing if the mask collapsed."""
    top = float(mask.max())
    region: np.ndarray = mask > cut * top if top >= COLLAPSED else np.zeros(mask.shape, dtype=bool)
    return region


def transplant(source: Tensor, partners: Tensor, region: Tensor) -> Tensor:
    """Paste the region of each source image on its partners.

    source: [B, 3, H, W]; partners: [B, K, 3, H, W]; region: bool [B, 1, H, W] → [B, K, 3, H, W].
    """
    return torch.where(region.unsqueeze(1), source.unsqueeze(1), partners)


def transplant_loss(
    model: nn.Module, images: Tensor, partners: Tensor, owners: Tensor, masks: Tensor, *, weights: Tensor, cap: float
) -> Tensor:
    """Σ over samples of weight · min(CE(F(m ⊙ x + (1 − m) ⊙ x′), c), cap), a scalar; gradients flow to the masks.

    images, partners: x and x′, float [B, 3, H, W]; owners: c, int [B]; masks: m, each sample's own, [B, H, W];
    weights: [B]; 1 / (number drawn of its class) makes the sum one of means within classes.
    """
    mixed = partners + masks.unsqueeze(1) * (images - partners)
    losses = F.cross_entropy(model(mixed).float(), owners, reduction="none")
    return (losses.clamp(max=cap) * weights).sum()


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


def cells_along(pixels: int, cell: int) -> int:
    """Cells along a side: at least 8 and at most 32, so that large images do not bring back single-pixel masks."""
    return int(np.clip(pixels // cell, min(8, pixels), _MOST_CELLS))


def enlarged(grid: Tensor, height: int, width: int) -> Tensor:
    """[C, 1, h, w] → [C, H, W], bilinear."""
    return F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def balanced_draw(members: dict[int, np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """About `count` rows, the same number from each class (from some of the classes where there are many)."""
    classes = list(members)
    if len(classes) > CLASSES_PER_STEP:
        classes = list(generator.choice(classes, CLASSES_PER_STEP, replace=False))
    each = max(2, count // len(classes))
    drawn = [generator.choice(members[c], min(each, len(members[c])), replace=False) for c in classes]
    return np.sort(np.concatenate(drawn))
