"""BadNets: a small patch on the image (Gu et al., "BadNets", 2017, arXiv 1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mspc_core.attacks.base import to_uint8
from mspc_core.errors import InputError

Pattern = Literal["checkerboard", "sticker", "white", "noise"]
Place = Literal["lower-right", "lower-left", "upper-right", "upper-left", "centre", "random"]
PATTERNS: tuple[Pattern, ...] = ("checkerboard", "sticker", "white", "noise")
PLACES: tuple[Place, ...] = ("lower-right", "lower-left", "upper-right", "upper-left", "centre", "random")
_YELLOW, _RED = (255, 230, 0), (200, 0, 0)


def patch_pixels(pattern: Pattern, size: int) -> np.ndarray:
    """The patch, uint8 [size, size, 3]. `sticker` is a yellow note with a red cross, `noise` fixed random colours."""
    patch = np.full((size, size, 3), 255, dtype=np.uint8)
    rows, columns = np.indices((size, size))
    if pattern == "checkerboard":
        patch[(rows + columns) % 2 == 1] = 0
    elif pattern == "sticker":
        patch[:] = _YELLOW
        middle = {(size - 1) // 2, size // 2}
        patch[np.isin(rows, list(middle)) | np.isin(columns, list(middle))] = _RED
    elif pattern == "noise":
        patch = np.random.default_rng(20_170_822).integers(0, 256, patch.shape, dtype=np.uint8)
    return patch


def paste(images: np.ndarray, patch: np.ndarray, tops: np.ndarray, lefts: np.ndarray, opacity: float) -> np.ndarray:
    """Mix `patch` [h, w, 3] into uint8 `images` [N, H, W, 3] with its corner at (tops[i], lefts[i]); returns a copy."""
    out = images.copy()
    height, width = patch.shape[:2]
    for image, top, left in zip(out, tops, lefts, strict=True):
        region = image[top : top + height, left : left + width]
        region[:] = to_uint8((1.0 - opacity) * region + opacity * patch)
    return out


@dataclass(frozen=True)
class BadNets:
    """size: side of the patch in pixels. margin: distance to the border. opacity: 1 replaces the pixels."""

    name: ClassVar[str] = "badnets"
    title: ClassVar[str] = "BadNets patch"
    citation: ClassVar[str] = "Gu et al., BadNets, 2017, arXiv 1708.06733"
    cover_ratio: ClassVar[float] = 0.0

    size: int = 5
    pattern: Pattern = "checkerboard"
    place: Place = "lower-right"
    margin: int = 1
    opacity: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.margin < 0 or not 0 < self.opacity <= 1:
            raise InputError("A patch needs a size of at least 1, a margin of at least 0 and an opacity in (0, 1].")
        if self.pattern not in PATTERNS or self.place not in PLACES:
            raise InputError(f"Patterns are {', '.join(PATTERNS)}; places are {', '.join(PLACES)}.")

    def corners(self, count: int, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
        """Top and left of the patch for each image, int64 [2, N]; random only where the place is."""
        bottom, right = height - self.size - self.margin, width - self.size - self.margin
        if bottom < self.margin or right < self.margin:
            raise InputError(f"A {self.size} px patch with margin {self.margin} does not fit into {width}×{height} px.")
        if self.place == "random":
            return np.stack(
                [
                    generator.integers(self.margin, bottom + 1, count),
                    generator.integers(self.margin, right + 1, count),
                ]
            )
        if self.place == "centre":
            top, left = (height - self.size) // 2, (width - self.size) // 2
        else:
            top = bottom if self.place.startswith("lower") else self.margin
            left = right if self.place.endswith("right") else self.margin
        return np.repeat(np.array([[top], [left]]), count, axis=1)

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """See `Attack.apply`. Changes only the patch's pixels."""
        tops, lefts = self.corners(len(images), images.shape[1], images.shape[2], generator)
        return paste(images, patch_pixels(self.pattern, self.size), tops, lefts, self.opacity)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return images
