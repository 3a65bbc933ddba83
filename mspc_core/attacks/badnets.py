"""BadNets: a small patch on the image (Gu et al., "BadNets", 2017, arXiv 1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, to_uint8
from mspc_core.errors import InputError

Pattern = Literal["checkerboard", "sticker", "white", "noise"]
Place = Literal["lower-right", "lower-left", "upper-right", "upper-left", "centre", "random"]
PATTERNS: tuple[Pattern, ...] = ("checkerboard", "sticker", "white", "noise")
PLACES: tuple[Place, ...] = ("lower-right", "lower-left", "upper-right", "upper-left", "centre", "random")
_FIXED: tuple[Place, ...] = ("lower-right", "lower-left", "upper-right", "upper-left", "centre")
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
class BadNets(Attack):
    """size: side of the patch in pixels. margin: distance to the border. opacity: 1 replaces the pixels.

    triggers: how many different patches there are. Each image gets one of them, drawn by the generator; the first has
    the pattern and place that are set here, each further one the next pattern and the next fixed place. Up to 5, or up
    to 4 where the place is random (then only the pattern tells them apart).
    """

    name: ClassVar[str] = "badnets"
    title: ClassVar[str] = "BadNets patch"
    citation: ClassVar[str] = "Gu et al., BadNets, 2017, arXiv 1708.06733"
    explains: ClassVar[str] = "A small patch in a fixed or random place."
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset({"size": 3, "margin": 1}, "Gu et al. 2017, section 4: 3×3 checkerboard near the corner")
    }

    size: int = 5
    pattern: Pattern = "checkerboard"
    place: Place = "lower-right"
    margin: int = 1
    opacity: float = 1.0
    triggers: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.margin < 0 or not 0 < self.opacity <= 1:
            raise InputError("A patch needs a size of at least 1, a margin of at least 0 and an opacity in (0, 1].")
        if self.pattern not in PATTERNS or self.place not in PLACES:
            raise InputError(f"Patterns are {', '.join(PATTERNS)}; places are {', '.join(PLACES)}.")
        most = len(PATTERNS) if self.place == "random" else len(_FIXED)
        if not 1 <= self.triggers <= most:
            raise InputError(f"The number of different patches must lie between 1 and {most}, not {self.triggers}.")

    def variants(self) -> list[BadNets]:
        """The single patches that images may get, as attacks with one trigger each."""
        found = []
        for step in range(self.triggers):
            pattern = PATTERNS[(PATTERNS.index(self.pattern) + step) % len(PATTERNS)]
            place = self.place if self.place == "random" else _FIXED[(_FIXED.index(self.place) + step) % len(_FIXED)]
            found.append(replace(self, pattern=pattern, place=place, triggers=1))
        return found

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

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Changes only the patch's pixels."""
        if self.triggers > 1:
            drawn = generator.integers(self.triggers, size=len(images))
            out = images.copy()
            for number, variant in enumerate(self.variants()):
                out[drawn == number] = variant.apply(images[drawn == number], generator)
            return out
        tops, lefts = self.corners(len(images), images.shape[1], images.shape[2], generator)
        return paste(images, patch_pixels(self.pattern, self.size), tops, lefts, self.opacity)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * self.opacity + 0.5, share=self.size**2 / (height * width))
