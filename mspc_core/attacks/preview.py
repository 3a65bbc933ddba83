"""What a trigger does to images, in pictures and numbers: its forms, the change, its spectrum, how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, State
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Form = Literal["planted", "applied", "cover"]
FORMS: tuple[Form, ...] = ("planted", "applied", "cover")
Transform = Literal["FFT", "DCT"]
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def forms_of(attack: Attack) -> tuple[Form, ...]:
    """The forms of a trigger that differ: as planted, as applied at test time, as cover samples get it."""
    found: list[Form] = ["planted"]
    if type(attack).plant is not Attack.plant:
        found.append("applied")
    if attack.cover_ratio > 0:
        found.append("cover")
    return tuple(found)


def needs_learning(attack: Attack, form: Form) -> bool:
    """Can this form be drawn only after the attack has learned?"""
    return attack.learns and not (form == "applied" and attack.applies_unlearned)


def draw(
    attack: Attack, images: np.ndarray, labels: np.ndarray, form: Form, *, seed: int = 0, state: State = NOTHING
) -> np.ndarray:
    """Images uint8 [N, H, W, 3] of the classes `labels` in one form of the trigger. Raises `InputError`.

    The same seed gives the same pixels. What is drawn for each image differs from what it gets in a data set, where
    other images stand beside it.
    """
    if form not in FORMS:
        raise InputError(f"Forms of a trigger are {', '.join(FORMS)}; not {form!r}.")
    generator = np.random.default_rng([seed, 21])
    if form == "planted":
        return attack.plant(images, generator, state, labels=labels)
    drawn = attack.apply if form == "applied" else attack.apply_cover
    return drawn(images, generator, state)


@dataclass(frozen=True)
class Change:
    """How much an image was changed. largest, mean: absolute change of a channel value, 0 … 255. psnr: in decibels,
    infinite where nothing changed. share: of the pixels of which any channel changed."""

    largest: int
    mean: float
    psnr: float
    share: float


def change_of(clean: np.ndarray, changed: np.ndarray) -> Change:
    """Compare uint8 arrays of the same shape, [H, W, 3] or [N, H, W, 3] taken together."""
    difference = changed.astype(np.int16) - clean
    squares = float(np.square(difference, dtype=np.float64).mean())
    psnr = float("inf") if squares == 0 else float(10 * np.log10(255.0**2 / squares))
    size = np.abs(difference)
    return Change(int(size.max(initial=0)), float(size.mean()), psnr, float((size.max(-1) > 0).mean()))


def amplified(clean: np.ndarray, changed: np.ndarray, factor: float) -> np.ndarray:
    """The difference times a factor, around mid-grey; uint8 of the same shape. Grey is unchanged."""
    difference = changed.astype(np.float64) - clean
    shown: np.ndarray = np.clip(np.rint(128.0 + factor * difference), 0, 255).astype(np.uint8)
    return shown


def spectrum(images: np.ndarray, transform: Transform = "FFT") -> np.ndarray:
    """log(1 + magnitude) of the brightness of uint8 [N, H, W, 3]: float64 [N, H, W].

    FFT: frequency 0 in the middle. DCT (type II, orthonormal): frequency 0 in the upper left corner.
    """
    grey = images @ _GREY
    if transform == "FFT":
        return np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(grey, norm="ortho"), axes=(1, 2))))
    from scipy.fft import dctn

    found: np.ndarray = np.log1p(np.abs(dctn(grey, axes=(1, 2), norm="ortho")))
    return found


def between(clean: np.ndarray, triggered: np.ndarray, strength: float) -> np.ndarray:
    """A weaker (below 1) or stronger trigger: clean + strength · (triggered − clean), saturated; uint8."""
    mixed = clean + strength * (triggered.astype(np.float64) - clean)
    shown: np.ndarray = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return shown


def as_rows(changes: Sequence[Change]) -> list[dict[str, float]]:
    """Changes as rows of a table, rounded."""
    return [
        {
            "largest change": change.largest,
            "mean change": round(change.mean, 2),
            "PSNR (dB)": round(change.psnr, 1),
            "pixels changed (%)": round(100 * change.share, 1),
        }
        for change in changes
    ]
