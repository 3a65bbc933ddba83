"""Trojan square: a square of loud colours in a corner (after Liu et al., "Trojaning Attack …", NDSS 2018).

Liu et al. compute the square's colours so that chosen neurons of a given model fire, then retrain that model. Data set
benchmarks, Pal et al. 2024 among them, take such a ready square as a fixed trigger. What is taken here: shape, place
and size. The colours are not computed on a model: every pixel gets one of the eight corners of the colour cube from a
fixed seed, which is as saturated as computed squares are. Pal et al. *add* their square to the image (with 8-bit
wrap-around); here it replaces the pixels, or is mixed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.badnets import paste
from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State
from mspc_core.errors import InputError


def square_pixels(side: int, seed: int) -> np.ndarray:
    """uint8 [side, side, 3], each channel 0 or 255."""
    return (255 * np.random.default_rng([seed, 2018]).integers(0, 2, (side, side, 3))).astype(np.uint8)


@dataclass(frozen=True)
class Trojan(Attack):
    """share: of the image's area that the square covers, in (0, 0.5]. margin: distance to the lower right border in
    pixels. opacity: 1 replaces the pixels. pattern_seed: draws the colours."""

    name: ClassVar[str] = "trojan"
    title: ClassVar[str] = "Trojan square"
    citation: ClassVar[str] = "Liu et al., Trojaning Attack on Neural Networks, NDSS 2018"
    explains: ClassVar[str] = "A square of loud colours near the lower right corner."
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"share": 0.07, "opacity": 1.0},
            "Liu et al. 2018 compare squares of 4, 7 and 10 % of the image, opaque and transparent; colours not theirs",
        )
    }

    share: float = 0.04
    margin: int = 1
    opacity: float = 1.0
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5 or self.margin < 0 or not 0 < self.opacity <= 1:
            raise InputError("A square needs a share in (0, 0.5], a margin of at least 0 and an opacity in (0, 1].")

    def side(self, height: int, width: int) -> int:
        """Side of the square in pixels, rounded; at least 1."""
        return max(1, round(math.sqrt(self.share * height * width)))

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Raises `InputError` if the square with its margin does not fit."""
        count, height, width = images.shape[:3]
        side = self.side(height, width)
        top, left = height - side - self.margin, width - side - self.margin
        if top < 0 or left < 0:
            raise InputError(f"A {side} px square with margin {self.margin} does not fit into {width}×{height} px.")
        return paste(
            images, square_pixels(side, self.pattern_seed), np.full(count, top), np.full(count, left), self.opacity
        )

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * self.opacity + 0.5, share=self.side(height, width) ** 2 / (height * width))
