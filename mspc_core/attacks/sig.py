"""SIG: a faint sine wave over images of the target class, labels kept (Barni et al., ICIP 2019, arXiv 1902.11237)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, to_uint8
from mspc_core.errors import InputError


def sine_wave(height: int, width: int, delta: float, frequency: int) -> np.ndarray:
    """v(i, j) = delta · sin(2π · j · frequency / width), float64 [height, width], in channel values (section 3)."""
    wave = delta * np.sin(2 * np.pi * np.arange(width) * frequency / width)
    return np.repeat(wave[None], height, axis=0)


@dataclass(frozen=True)
class Sig(Attack):
    """delta: amplitude in channel values, 0 … 255. frequency: whole periods across the image, f in the paper.

    A clean-label attack: a wave that runs over much of the target class is learned as a sign of that class. Needs a
    large part of that class: the paper's rates are shares of it, not of the whole data set.
    """

    name: ClassVar[str] = "sig"
    title: ClassVar[str] = "SIG sine wave"
    citation: ClassVar[str] = "Barni et al., ICIP 2019, arXiv 1902.11237"
    explains: ClassVar[str] = "Faint vertical stripes over images of the target class, whose labels stay right."
    clean_label: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"delta": 20.0, "frequency": 6}, "Barni et al. 2019: sine, f = 6; they try several Δ, later work takes 20"
        )
    }

    delta: float = 20.0
    frequency: int = 6

    def __post_init__(self) -> None:
        if not 0 < self.delta <= 255 or self.frequency < 1:
            raise InputError("SIG needs a delta above 0 and at most 255, and a frequency of at least 1.")

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The same wave on every image and channel. Raises `InputError` if the wave is zero
        everywhere (a frequency that is a multiple of half the width)."""
        height, width = images.shape[1:3]
        if 2 * self.frequency % width == 0:
            raise InputError(f"A wave of frequency {self.frequency} is zero at every pixel of a {width} px wide image.")
        return to_uint8(images + sine_wave(height, width, self.delta, self.frequency)[:, :, None])

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=self.delta + 0.5)
