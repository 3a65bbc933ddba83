"""An attacker who knows SPC and MSPC: brightened poison with the right label, so that brightening undoes the trigger.

Scaled prediction consistency (Guo et al., SCALE-UP, ICLR 2023; Pal et al., MSPC, ICLR 2024) flags samples whose
prediction stays the target when all pixels are multiplied. Guo et al. also try an attacker who adds a loss against this
and so has to control the training; this one, of this project's own, gets by with planted samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.badnets import PATTERNS, PLACES, BadNets, Pattern, Place
from mspc_core.attacks.base import NOTHING, Attack, Bound, State, to_uint8
from mspc_core.errors import InputError


@dataclass(frozen=True)
class AdaptiveScale(Attack):
    """size, pattern, place, margin: of the patch, as for BadNets. covers: cover samples for each poisoned one. A cover
    is a triggered image times a random whole number from 2 to `largest_scale`, clipped, with its true label. shift: is
    taken off first, in [0, 1) of the full range, as MSPC does with 0.1; SPC does without."""

    name: ClassVar[str] = "adaptive-scale"
    title: ClassVar[str] = "Patch that fades when scaled"
    citation: ClassVar[str] = "this project, 2026; aims at Guo et al., ICLR 2023 and Pal et al., ICLR 2024"
    explains: ClassVar[str] = "A patch that a model learns to ignore on brightened images, to fool tests that brighten."

    size: int = 5
    pattern: Pattern = "checkerboard"
    place: Place = "lower-right"
    margin: int = 1
    covers: float = 1.0
    largest_scale: int = 12
    shift: float = 0.0

    def __post_init__(self) -> None:
        self._patch()
        if self.covers < 0 or self.largest_scale < 2 or not 0 <= self.shift < 1:
            raise InputError("Scaled covers need a ratio of at least 0, a scale of at least 2 and a shift in [0, 1).")

    @property
    def cover_ratio(self) -> float:
        return self.covers

    def _patch(self) -> BadNets:
        if self.pattern not in PATTERNS or self.place not in PLACES:
            raise InputError(f"Patterns are {', '.join(PATTERNS)}; places are {', '.join(PLACES)}.")
        return BadNets(size=self.size, pattern=self.pattern, place=self.place, margin=self.margin)

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Changes only the patch's pixels."""
        return self._patch().apply(images, generator)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """clip(n · (triggered − shift)), n drawn for each image."""
        triggered = self._patch().apply(images, generator).astype(np.float64)
        scales = generator.integers(2, self.largest_scale + 1, len(images))
        return to_uint8(scales[:, None, None, None] * (triggered - 255.0 * self.shift))

    def bound(self, height: int, width: int) -> Bound:
        return self._patch().bound(height, width)
