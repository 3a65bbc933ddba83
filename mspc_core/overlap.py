"""How far an attribution and a learned mask point at the same pixels. Pure functions on arrays.

Both measures look only at what speaks for the class, so negative attributions count as none. Each has a value by
chance, without which it says nothing: a mask over half of the image holds half of anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Overlap:
    """Of one attribution and one region. pixels: k, the area of the region; iou: of the region and the k pixels with
    the largest attribution; mass: share of the attribution that lies inside the region; iou_by_chance, mass_by_chance:
    what k pixels drawn at random, and an even attribution, would reach. None where it is not defined: without a region,
    or without any positive attribution."""

    pixels: int
    iou: float | None
    mass: float | None
    iou_by_chance: float | None
    mass_by_chance: float | None


def top_pixels(values: np.ndarray, count: int) -> np.ndarray:
    """The `count` pixels with the largest positive values, bool, same shape; fewer where fewer are positive.

    Equal values are taken in reading order, so that the answer does not depend on the sorting routine.
    """
    flat = np.nan_to_num(np.asarray(values, dtype=float)).ravel()
    first = np.argsort(-flat, kind="stable")[: max(0, count)]
    chosen = np.zeros(flat.shape, dtype=bool)
    chosen[first] = flat[first] > 0
    return chosen.reshape(values.shape)


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float | None:
    """|A ∩ B| / |A ∪ B| of two bool arrays of the same shape; None where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else None


def mass_inside(values: np.ndarray, region: np.ndarray) -> float | None:
    """The share of positive values that lies inside the region, 0 … 1; None where no value is positive.

    values: float [H, W]; region: bool [H, W].
    """
    positive = np.clip(np.nan_to_num(np.asarray(values, dtype=float)), 0.0, None)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else None


def overlap_of(values: np.ndarray, region: np.ndarray) -> Overlap:
    """Compare an attribution, float [H, W], with a region, bool [H, W].

    By chance, k of P pixels share k²/P with a region of k pixels, which gives an IoU of k / (2P − k) (the ratio of the
    expected areas).
    """
    pixels, all_pixels = int(region.sum()), region.size
    if not pixels:
        return Overlap(0, None, None, None, None)
    top = top_pixels(values, pixels)
    iou = intersection_over_union(top, region) if top.any() else None
    chance = pixels / (2 * all_pixels - pixels)
    return Overlap(pixels, iou, mass_inside(values, region), chance, pixels / all_pixels)
