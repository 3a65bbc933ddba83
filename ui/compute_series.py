"""What Inspect computes while the user waits: images under several scales, in one pass each, and cached.

Torch is imported inside the functions: opening a page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute

if TYPE_CHECKING:
    from torch import nn

PUBLISHED_SCALES = tuple(float(scale) for scale in range(2, 13))
WHOLE = tuple(float(scale) for scale in range(1, 13))  # of a strip of images
SHARED, CLASS = "shared", "class"  # masks
_FINE_PIXELS = 64  # up to this image size the curve over n has half steps; larger images only whole ones


@dataclass(frozen=True)
class Treatment:
    """What is done to an image before it is scaled. mask: none (""), the shared one of MSPC, or that of the predicted
    class. strength: 1 takes the mask as learned, 0 hides nothing. tau: subtracted from all pixels."""

    mask: str = ""
    strength: float = 1.0
    tau: float = 0.0


@dataclass(frozen=True)
class Series:
    """One image under several scales. images: uint8 [S, H, W, 3]; probabilities: [S, C]; clipped: [S], the share of
    pixel values that were cut off at white."""

    scales: np.ndarray
    images: np.ndarray
    probabilities: np.ndarray
    clipped: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        found: np.ndarray = self.probabilities.argmax(1)
        return found

    @property
    def confidence(self) -> np.ndarray:
        found: np.ndarray = self.probabilities.max(1)
        return found

    def part(self, places: Sequence[int]) -> Series:
        """Some of the scales."""
        chosen = list(places)
        return Series(self.scales[chosen], self.images[chosen], self.probabilities[chosen], self.clipped[chosen])

    def at(self, scale: float) -> int:
        """Index of the nearest scale."""
        return int(np.abs(self.scales - scale).argmin())


@dataclass(frozen=True)
class BuildUp:
    """How one score comes about. agrees: bool [S]; score: from the page's own computation."""

    scales: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    agrees: np.ndarray
    signed: bool

    @property
    def marks(self) -> np.ndarray:
        """1 or 0 (SPC), +1 or −1 (MSPC), for each scale."""
        return np.where(self.agrees, 1, -1 if self.signed else 0)

    @property
    def running_mean(self) -> np.ndarray:
        found: np.ndarray = self.marks.cumsum() / np.arange(1, len(self.marks) + 1)
        return found

    @property
    def score(self) -> float:
        return float(self.marks.mean())


def scaled_series(
    model: nn.Module, image: np.ndarray, scales: np.ndarray, mask: np.ndarray | None = None, tau: float = 0.0
) -> Series:
    """clip(n·(x−τ)⊙m) for every n, and what the model says of it. image: uint8 [H, W, 3]; mask: [H, W] or None."""
    return scaled_together(model, image[None], scales, [mask], tau)[0]


def scaled_together(
    model: nn.Module,
    images: np.ndarray,
    scales: np.ndarray,
    masks: Sequence[np.ndarray | None],
    tau: float = 0.0,
) -> list[Series]:
    """`scaled_series` of several images in few passes. images: uint8 [K, H, W, 3]; masks: one each."""
    import torch

    from mspc_core.engine.device import batch_size_for
    from mspc_core.engine.forward import frozen, scale_images, to_float

    count, size = len(scales), images.shape[1]
    weights = np.stack([np.ones(images.shape[1:3]) if mask is None else mask for mask in masks]).astype(np.float32)
    with frozen(model) as device, torch.inference_mode():
        pixels = to_float(images, device).repeat_interleave(count, 0)  # [K·S, 3, H, W]
        under = torch.from_numpy(weights).to(device)[:, None].repeat_interleave(count, 0)
        steps = (
            torch.tensor(np.asarray(scales), dtype=torch.float32, device=device).repeat(len(images)).view(-1, 1, 1, 1)
        )
        scaled = scale_images(pixels, steps, under, tau)
        clipped = ((pixels - tau) * under * steps > 1.0).float().mean((1, 2, 3))
        step = batch_size_for(device, size)
        parts = [model(part.contiguous(memory_format=torch.channels_last)).float() for part in scaled.split(step)]
        probabilities = torch.cat(parts).softmax(1)
        pictures = (scaled * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    whole = np.asarray(scales, dtype=float)
    arrays = [found.cpu().numpy() for found in (pictures, probabilities, clipped)]
    return [Series(whole, *(array[k * count : (k + 1) * count] for array in arrays)) for k in range(len(images))]


def curve_scales(run: Run) -> tuple[float, ...]:
    """Where the curves over n are computed: from 1 to 12."""
    step = 0.5 if cache.dataset_of(run).info.size <= _FINE_PIXELS else 1.0
    return tuple(float(scale) for scale in np.arange(1.0, 12.0 + step / 2, step))


def mask_for(run: Run, treatment: Treatment, predicted: int) -> np.ndarray | None:
    """The mask [H, W] that a treatment asks for, at its strength; None without one, or where the run has none."""
    if treatment.mask == CLASS:
        per_class = cache.masks_of(run).get("transplant")
        found = per_class[predicted] if per_class is not None and 0 <= predicted < len(per_class) else None
    else:
        found = compute.final_mask(run) if treatment.mask == SHARED else None
    if found is None or treatment.strength >= 1.0:
        return found
    weakened: np.ndarray = 1.0 - treatment.strength * (1.0 - found)
    return weakened


def series_of(
    run: Run, samples: Sequence[tuple[int, int]], scales: tuple[float, ...], treatment: Treatment
) -> list[Series]:
    """Some stored images under some scales, all in one pass (cached). samples: (row, predicted class) of each."""
    if not samples:
        return []
    curve = curve_scales(run)
    if len(samples) == 1 and set(scales) <= set(curve):  # one pass for the curve serves strips and scores, too
        whole = _series(*compute.run_files(run), tuple(samples), curve, treatment)[0]
        return [whole.part([curve.index(scale) for scale in scales])]
    return _series(*compute.run_files(run), tuple(samples), scales, treatment)


def scan_treatment(run: Run, detector: str) -> Treatment:
    """How the scan treated images for SPC (not at all) or MSPC (its shared mask and τ)."""
    if detector == "spc":
        return Treatment()
    return Treatment(SHARED, 1.0, float(compute.settings_of(run, "mspc").get("tau", 0.1)))


def scan_scales(run: Run, detector: str) -> tuple[float, ...]:
    """The scales that a detector of the scan used."""
    return tuple(float(scale) for scale in compute.settings_of(run, detector).get("scales", PUBLISHED_SCALES))


def build_ups(run: Run, row: int, predicted: int) -> dict[str, BuildUp]:
    """SPC and (once its mask is there) MSPC of one stored image, scale by scale, with the run's own settings."""
    found = {}
    for name in ("spc", "mspc"):
        if name == "spc" or (compute.finished(run, "mspc") and compute.final_mask(run) is not None):
            found[name] = build_up(run, name, row, predicted, scan_scales(run, name), scan_treatment(run, name))
    return found


def build_up(
    run: Run, detector: str, row: int, predicted: int, scales: tuple[float, ...], treatment: Treatment
) -> BuildUp:
    """One score of one stored image with any scales and treatment."""
    series = series_of(run, [(row, predicted)], scales, treatment)[0]
    agrees = series.predicted == predicted
    return BuildUp(series.scales, series.predicted, series.confidence, agrees, signed=detector == "mspc")


@st.cache_data(max_entries=400, show_spinner=False)
def _series(
    folder: str,
    model: int,
    masks: int,
    scores: int,
    samples: tuple[tuple[int, int], ...],
    scales: tuple[float, ...],
    treatment: Treatment,
) -> list[Series]:
    run = Run(Path(folder))
    pixels = cache.dataset_of(run).pixels
    images = np.stack([pixels[row] for row, _ in samples])
    masks_ = [mask_for(run, treatment, predicted) for _, predicted in samples]
    return scaled_together(cache.model_of(run), images, np.array(scales), masks_, treatment.tau)
