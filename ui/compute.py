"""What Inspect and Mask compute while the user waits, with the run's own model, in one forward pass each, and cached.

Torch is imported inside the functions: opening a page must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache

if TYPE_CHECKING:
    from torch import nn

PUBLISHED_SCALES = tuple(float(scale) for scale in range(2, 13))
_FINE_PIXELS = 64  # up to this image size the curve over n has half steps; larger images only whole ones


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
    import torch

    from mspc_core.engine.forward import frozen, scale_images, to_float

    with frozen(model) as device, torch.inference_mode():
        pixels = to_float(image[None], device).expand(len(scales), -1, -1, -1)
        weights = None if mask is None else torch.from_numpy(np.array(mask, dtype=np.float32)).to(device)
        steps = torch.tensor(np.asarray(scales), dtype=torch.float32, device=device).view(-1, 1, 1, 1)
        scaled = scale_images(pixels, steps, weights, tau)
        moved = (pixels - tau) * (1.0 if weights is None else weights) * steps
        clipped = (moved > 1.0).float().mean((1, 2, 3))
        probabilities = model(scaled.contiguous()).float().softmax(1)
        pictures = (scaled * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return Series(
        np.asarray(scales, dtype=float), pictures.cpu().numpy(), probabilities.cpu().numpy(), clipped.cpu().numpy()
    )


def settings_of(run: Run, detector: str) -> dict[str, Any]:
    """The configuration a detector ran with; {} while it has not finished."""
    found: dict[str, Any] = cache.summary_of(run).get("detectors", {}).get(detector, {}).get("config") or {}
    return found


def finished(run: Run, detector: str) -> bool:
    """Has this detector's record been written?"""
    return detector in cache.summary_of(run).get("detectors", {})


def final_mask(run: Run) -> np.ndarray | None:
    """The last MSPC mask [H, W], or None while there is none."""
    rounds = cache.masks_of(run).get("mspc")
    return rounds[-1] if rounds is not None and len(rounds) else None


def series_of(run: Run, row: int, *, masked: bool, tau: float, extra: float | None = None) -> Series:
    """The curve of one stored image over n = 1 … 12 (cached); with `extra`, just that scale."""
    size = cache.dataset_of(run).info.size
    step = 0.5 if size <= _FINE_PIXELS else 1.0
    scales = tuple(np.arange(1.0, 12.0 + step / 2, step)) if extra is None else (float(extra),)
    return _series(*run_files(run), row, scales, masked, tau)


def build_ups(run: Run, row: int, predicted: int) -> dict[str, BuildUp]:
    """SPC and (once its mask is there) MSPC of one stored image, scale by scale, with the run's own settings."""
    spc, mspc = settings_of(run, "spc"), settings_of(run, "mspc")
    found = {"spc": _build_up(run, row, tuple(spc.get("scales", PUBLISHED_SCALES)), False, 0.0, predicted)}
    if finished(run, "mspc") and final_mask(run) is not None:
        scales, tau = tuple(mspc.get("scales", PUBLISHED_SCALES)), float(mspc.get("tau", 0.1))
        found["mspc"] = _build_up(run, row, scales, True, tau, predicted)
    return found


def _build_up(run: Run, row: int, scales: tuple[float, ...], masked: bool, tau: float, predicted: int) -> BuildUp:
    series = _series(*run_files(run), row, scales, masked, tau)
    return BuildUp(series.scales, series.predicted, series.confidence, series.predicted == predicted, signed=masked)


@dataclass(frozen=True)
class Demonstration:
    """One sample's region pasted on other images. region: bool [H, W]; others: positions in the table [K]; before and
    after: predicted classes [K]; confidence: of the predictions after [K]; images: uint8 [K, H, W, 3]."""

    region: np.ndarray
    others: np.ndarray
    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    confidence: np.ndarray
    target: int

    @property
    def turned(self) -> np.ndarray:
        found: np.ndarray = self.after == self.target
        return found


def transplant_of(run: Run, position: int) -> Demonstration:
    """Paste the masked region of the sample at `position` on the same images as the scan did (cached).

    Raises `InputError` while the transplant test has not finished, or where it could not be done for this class.
    """
    if "transplant" not in cache.masks_of(run) or not finished(run, "transplant"):
        raise InputError("The transplant test has not finished in this run.")
    return _demonstration(*run_files(run), position)


def run_files(run: Run) -> tuple[str, int, int, int]:
    """Names the files that a computation depends on."""
    folder = run.folder
    model, masks, scores = (cache.stamp(folder / name) for name in ("model.safetensors", "masks.npz", "scores.parquet"))
    return str(folder), model, masks, scores


@st.cache_data(max_entries=400, show_spinner=False)
def _series(
    folder: str, model: int, masks: int, scores: int, row: int, scales: tuple[float, ...], masked: bool, tau: float
) -> Series:
    run = Run(Path(folder))
    image = np.array(cache.dataset_of(run).pixels[row])
    mask = final_mask(run) if masked else None
    return scaled_series(cache.model_of(run), image, np.array(scales), mask, tau)


@st.cache_resource(max_entries=2, show_spinner=False)
def _partners(folder: str, scores: int, count: int, seed: int) -> np.ndarray:
    from mspc_core.detectors.regions import draw_partners

    predicted = cache.scores_of(Run(Path(folder)))["predicted"].to_numpy()
    return draw_partners(predicted, count, seed)


@st.cache_data(max_entries=100, show_spinner=False)
def _demonstration(folder: str, model: int, masks: int, scores: int, position: int) -> Demonstration:
    import torch

    from mspc_core.detectors.regions import cut_region, transplant
    from mspc_core.engine.forward import frozen, to_float

    run = Run(Path(folder))
    settings, table, pixels = settings_of(run, "transplant"), cache.scores_of(run), cache.dataset_of(run).pixels
    predicted, rows = table["predicted"].to_numpy(), table["row"].to_numpy()
    target = int(predicted[position])
    region = cut_region(cache.masks_of(run)["transplant"][target], float(settings.get("cut", 0.2)))
    others = _partners(folder, scores, int(settings.get("partners", 16)), int(settings.get("seed", 0)))[position]
    if not region.any():
        raise InputError("The mask of this class let go of every pixel, so there is no region to cut out.")
    if others[0] < 0:
        raise InputError("The model gives every image the same class, so there is nothing to paste on.")
    net = cache.model_of(run)
    with frozen(net) as device, torch.inference_mode():
        source = to_float(pixels[rows[position]][None], device)
        partners = to_float(pixels[rows[others]], device)[None]
        mixed = transplant(source, partners, torch.from_numpy(region)[None, None].to(device))[0]
        probabilities = net(mixed.contiguous(memory_format=torch.channels_last)).float().softmax(1)
        confidence, after = probabilities.max(1)
        images = (mixed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return Demonstration(
        region, others, images, predicted[others], after.cpu().numpy(), confidence.cpu().numpy(), target
    )
