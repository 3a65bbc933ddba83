"""What pages ask of a run's settings, masks and model, and the transplant demonstration; cached.

Torch is imported inside the functions: opening a page must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache


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
