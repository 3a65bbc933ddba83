"""The trigger as the suspects show it: the masked place cut out of many images, their mean and their spread.

What is the same in every suspect stays sharp in the mean and dark in the spread; what they merely happen to show blurs
away. Pure functions on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]  # top, bottom, left, right; the ends are outside, as in slices


@dataclass(frozen=True)
class Common:
    """mean: uint8 [h, w, 3]; spread: float [h, w], the standard deviation over the images, root mean square over the
    channels, in grey levels 0 … 255."""

    mean: np.ndarray
    spread: np.ndarray


def bounding_box(region: np.ndarray, margin: int = 0) -> Box | None:
    """The smallest rectangle around a region, grown by `margin` pixels where the image has them; None without one.

    region: bool [H, W].
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return None
    height, width = region.shape
    return (
        max(0, int(rows[0]) - margin),
        min(height, int(rows[-1]) + 1 + margin),
        max(0, int(columns[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
    )


def cropped(stack: np.ndarray, box: Box) -> np.ndarray:
    """The rectangle of every image: [N, H, W, …] → [N, h, w, …]."""
    top, bottom, left, right = box
    return stack[:, top:bottom, left:right]


def in_common(images: np.ndarray) -> Common:
    """Mean and spread of images, uint8 [N, H, W, 3] with N at least 1."""
    values = images.astype(np.float64)
    return Common(np.round(values.mean(0)).astype(np.uint8), np.sqrt(values.var(0).mean(-1)))


def agreeing(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pixels in which some images differ less than half as much as others do at the same place: bool [H, W].

    own, others: spreads, float [H, W].
    """
    found: np.ndarray = own < 0.5 * others
    return found
