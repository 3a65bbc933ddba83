"""The pattern transplant, computed again for the Mask page: a class's difference, and what it does to other images.

The run keeps only the channel mean of each difference; its colours come from the images themselves, as in the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, compute

SHOWN = 12  # of the images that the scan added the pattern to
_CHUNK = 256


@dataclass(frozen=True)
class Addition:
    """A class's difference added to other images. pattern: float32 [H, W, 3] in [−1, 1]; others: positions in the table
    [K]; images: after it was added, uint8 [K, H, W, 3]; before, after: predicted classes [K]; confidence_before,
    confidence_after: of these predictions [K]."""

    pattern: np.ndarray
    others: np.ndarray
    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    confidence_before: np.ndarray
    confidence_after: np.ndarray
    target: int

    @property
    def turned(self) -> np.ndarray:
        found: np.ndarray = self.after == self.target
        return found


def class_table(run: Run) -> dict[int, dict[str, Any]]:
    """What the scan noted of each class; {} while the pattern transplant has not finished."""
    record = (cache.summary_of(run).get("detectors") or {}).get("pattern") or {}
    return {int(row["class"]): row for row in (record.get("tables") or {}).get("classes") or []}


def with_pattern(scores: np.ndarray, count: int) -> np.ndarray:
    """Which of a class's samples the scan found to have the pattern, bool [M]: the `count` highest scores.

    scores: float [M], a probability times one factor for the whole class, so their order is that of the probability.
    """
    present = np.zeros(len(scores), dtype=bool)
    present[np.argsort(-scores, kind="stable")[:count]] = True
    return present


def difference(pixels: np.ndarray, rows: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of a class's samples with the pattern minus mean of those without, float32 [H, W, 3] in [−1, 1].

    pixels: uint8 [N, H, W, 3]; rows: int [M], the class's samples; present: bool [M], true and false at least once.
    """
    means = []
    for chosen in (np.sort(rows[present]), np.sort(rows[~present])):
        total = np.zeros(pixels.shape[1:], dtype=np.float64)
        for start in range(0, len(chosen), _CHUNK):
            total += pixels[chosen[start : start + _CHUNK]].sum(0, dtype=np.float64)
        means.append(total / len(chosen) / 255)
    return (means[0] - means[1]).astype(np.float32)


def addition_of(run: Run, number: int) -> Addition:
    """Add the difference of class `number` to the first images that the scan added it to (cached).

    Raises `InputError` while the test has not finished, where the class has no difference, or when the data is gone.
    """
    row = class_table(run).get(number)
    if row is None:
        raise InputError("The pattern transplant has not finished in this run, or the model never gives this class.")
    if not row.get("with_pattern"):
        raise InputError("No part of this class stands apart from the rest of it, so there is nothing to add.")
    if not row.get("turned"):
        raise InputError("The difference of this class was added to other images and turned none of them.")
    return _addition(*compute.run_files(run), cache.stamp(run.folder / "summary.json"), number)


@st.cache_data(max_entries=40, show_spinner=False)
def _addition(folder: str, model: int, masks: int, scores: int, summary: int, number: int) -> Addition:
    import torch

    from mspc_core.engine.forward import frozen, to_float

    run = Run(Path(folder))
    table, pixels = cache.scores_of(run), cache.dataset_of(run).pixels
    predicted, rows = table["predicted"].to_numpy(), table["row"].to_numpy()
    own = np.flatnonzero(predicted == number)
    ranks = table["pattern_score"].to_numpy(dtype=float)[own]
    present = with_pattern(ranks, int(class_table(run)[number]["with_pattern"]))
    if not present.any() or present.all():
        raise InputError("The scores of this class cannot be read as a split: run the scan again.")
    pattern = difference(pixels, rows[own], present)
    seed = int(compute.settings_of(run, "pattern").get("seed", 0))
    others = np.random.default_rng([seed, 32, number]).permutation(np.flatnonzero(predicted != number))[:SHOWN]
    net = cache.model_of(run)
    with frozen(net) as device, torch.inference_mode():
        plain = to_float(pixels[rows[others]], device)
        mixed = (plain + torch.from_numpy(pattern).to(device).movedim(-1, -3)).clamp(0.0, 1.0)
        answers = [
            net(batch.contiguous(memory_format=torch.channels_last)).float().softmax(1) for batch in (plain, mixed)
        ]
        (sure_before, before), (sure_after, after) = (answer.max(1) for answer in answers)
        images = (mixed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return Addition(
        pattern,
        others,
        images,
        before.cpu().numpy(),
        after.cpu().numpy(),
        sure_before.cpu().numpy(),
        sure_after.cpu().numpy(),
        number,
    )
