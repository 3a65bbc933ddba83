"""A trigger that belongs to the object: a patch on the most striking place, in the image's own colours.

Made for this project, after no published attack. Detectors that cut a region out and move it assume that a trigger
moves independently of what the image shows. Here place and colours depend on the image: only the arrangement (squares
inside each other in a colour and its opposite) is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, State, to_uint8
from mspc_core.errors import InputError

_CHUNK = 128  # images whose saliency is held in memory at once


def saliency(images: np.ndarray) -> np.ndarray:
    """How striking each pixel is, float64 [N, H, W] ≥ 0: distance of its colour from the median colour of the border,
    plus the size of its brightness gradient, both smoothed over a sixteenth of the image."""
    from scipy.ndimage import gaussian_filter

    pixels = images.astype(np.float64)
    count = len(pixels)
    border = np.concatenate([pixels[:, [0, -1]].reshape(count, -1, 3), pixels[:, :, [0, -1]].reshape(count, -1, 3)], 1)
    distance = np.linalg.norm(pixels - np.median(border, axis=1)[:, None, None], axis=-1)
    down, right = np.gradient(pixels.mean(-1), axis=(1, 2))
    sigma = min(images.shape[1:3]) / 16
    smooth: np.ndarray = gaussian_filter(distance + np.hypot(down, right), sigma=(0, sigma, sigma), mode="nearest")
    return smooth


def most_salient(saliencies: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Top and left, int64 [N] each, of the size×size window with the largest sum of [N, H, W]; the first of equals."""
    sums = np.lib.stride_tricks.sliding_window_view(saliencies, (size, size), axis=(1, 2)).sum((3, 4))
    best = sums.reshape(len(sums), -1).argmax(1)
    tops, lefts = np.unravel_index(best, sums.shape[1:])
    return tops.astype(np.int64), lefts.astype(np.int64)


def arrangement(size: int) -> np.ndarray:
    """True where the patch has the opposite colour, bool [size, size]: nested squares, the outer one True."""
    rows, columns = np.indices((size, size))
    depth = np.minimum(np.minimum(rows, columns), size - 1 - np.maximum(rows, columns))
    outer: np.ndarray = depth % 2 == 0
    return outer


@dataclass(frozen=True)
class ObjectPatch(Attack):
    """size: side of the patch in pixels. opacity: 1 replaces the pixels."""

    name: ClassVar[str] = "object"
    title: ClassVar[str] = "Patch on the object"
    citation: ClassVar[str] = "this project, 2026; after no published attack"
    explains: ClassVar[str] = "A small patch on the most striking part of the image, made of the image's own colours."

    size: int = 5
    opacity: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 3 or not 0 < self.opacity <= 1:
            raise InputError("The patch needs a size of at least 3 and an opacity in (0, 1].")

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The colour is the median of the pixels under the patch; its opposite is half the range
        (128) away in every channel. Nothing is drawn."""
        height, width = images.shape[1:3]
        if self.size > min(height, width):
            raise InputError(f"A {self.size} px patch does not fit into {width}×{height} px.")
        out, opposite_here = images.copy(), arrangement(self.size)[..., None]
        for start in range(0, len(out), _CHUNK):
            chunk = out[start : start + _CHUNK]
            for image, top, left in zip(chunk, *most_salient(saliency(chunk), self.size), strict=True):
                region = image[top : top + self.size, left : left + self.size]
                own = np.median(region.reshape(-1, 3), axis=0)
                patch = np.where(opposite_here, np.where(own < 128, own + 128, own - 128), own)
                region[:] = to_uint8((1.0 - self.opacity) * region + self.opacity * patch)
        return out

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * self.opacity + 0.5, share=self.size**2 / (height * width))
