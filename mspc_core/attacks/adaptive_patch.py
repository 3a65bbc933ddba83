"""Adaptive-Patch: one of several faint patches in training, several opaque ones at test time, and cover samples.

Qi et al., "Revisiting the Assumption of Latent Separability for Backdoor Defenses", ICLR 2023, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.badnets import BadNets, Pattern, Place
from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State
from mspc_core.errors import InputError

# Pattern, corner and opacity relative to `opacity`: with 0.5 these are the published 0.5, 0.5, 0.3 and 0.2.
PATCHES: tuple[tuple[Pattern, Place, float], ...] = (
    ("sticker", "upper-left", 1.0),
    ("checkerboard", "lower-right", 1.0),
    ("noise", "lower-left", 0.6),
    ("white", "upper-right", 0.4),
)


@dataclass(frozen=True)
class AdaptivePatch(Attack):
    """size: side of each patch in pixels. margin: distance to the border. opacity: of the strongest patch in training;
    two are fainter. planted: how many of the four patches a training image gets, drawn anew. test_opacity, shown: the
    opacity and number of the patches at test time. covers: cover samples for each poisoned one, label kept."""

    name: ClassVar[str] = "adaptive-patch"
    title: ClassVar[str] = "Adaptive-Patch"
    citation: ClassVar[str] = "Qi et al., ICLR 2023, openreview _wSHsgrVali"
    explains: ClassVar[str] = (
        "One of several faint patches is planted, sometimes without changing the label; the attacker later uses "
        "several at full strength."
    )
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"opacity": 0.5, "planted": 1, "test_opacity": 1.0, "shown": 2, "covers": 2.0},
            "Qi et al. 2023, section 4 and appendix, and the authors' code: 0.3 % poison, twice as many covers, one of "
            "four patches (opacity 0.5, 0.5, 0.3, 0.2) in training, two opaque ones at test time; patches not theirs",
        )
    }

    size: int = 5
    margin: int = 1
    opacity: float = 0.5
    planted: int = 1
    test_opacity: float = 1.0
    shown: int = 4
    covers: float = 2.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.margin < 0 or not 0 < self.opacity <= 1 or not 0 < self.test_opacity <= 1:
            raise InputError("Patches need a size of at least 1, a margin of at least 0 and opacities in (0, 1].")
        if not 1 <= self.planted <= len(PATCHES) or not 1 <= self.shown <= len(PATCHES) or self.covers < 0:
            raise InputError(f"Adaptive-Patch plants and shows 1 to {len(PATCHES)} patches, with at least 0 covers.")

    @property
    def cover_ratio(self) -> float:
        return self.covers

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The first `shown` patches, all with `test_opacity`."""
        everyone = np.ones((len(images), self.shown), dtype=bool)
        return self._paste(images, everyone, [self.test_opacity] * self.shown)

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """See `Attack.plant`. `planted` of the patches, each with its own opacity."""
        return self._some(images, generator)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """The same form as `plant`: only the label tells covers and poison apart."""
        return self._some(images, generator)

    def _some(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        ranks = np.argsort(np.argsort(generator.random((len(images), len(PATCHES))), axis=1), axis=1)
        return self._paste(images, ranks < self.planted, [self.opacity * relative for _, _, relative in PATCHES])

    def _paste(self, images: np.ndarray, wanted: np.ndarray, opacities: list[float]) -> np.ndarray:
        """wanted: bool [N, patches], which images get which of the first patches."""
        height, width = images.shape[1:3]
        if 2 * (self.size + self.margin) > min(height, width):
            raise InputError(f"Patches of {self.size} px do not fit side by side into {width}×{height} px.")
        out = images.copy()
        unused = np.random.default_rng(0)  # the places are fixed
        for (pattern, place, _), opacity, rows in zip(PATCHES, opacities, wanted.T, strict=False):
            patch = BadNets(size=self.size, pattern=pattern, place=place, margin=self.margin, opacity=opacity)
            out[rows] = patch.apply(out[rows], unused)
        return out

    def bound(self, height: int, width: int) -> Bound:
        most = max(self.planted, self.shown)
        return Bound(
            change=255.0 * max(self.opacity, self.test_opacity) + 0.5, share=most * self.size**2 / (height * width)
        )
