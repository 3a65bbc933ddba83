"""Does mixed precision change what a model says of these images? Measured on a sample, and the answer kept.

bfloat16 rounds to three digits. Most models do not mind; where one does, all its passes run in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core.engine.device import half_precision
from mspc_core.engine.forward import (
    allow_half,
    check_finite,
    device_of,
    forward_pass,
    frozen,
    scale_images,
    to_float,
)
from mspc_core.engine.pixels import Images

LARGEST_CHANGE = 0.02  # share of predictions that mixed precision may change
_ONE_IN, _FEWEST, _MOST = 64, 16, 256  # so that the comparison costs a few percent of a scan


@dataclass(frozen=True)
class Precision:
    """used: bfloat16 or float32. sample: images that were compared, 0 where there is only one precision to use.
    changed_predictions: share of their predictions, at every scale, that mixed precision changes; changed_scores: share
    of the images whose SPC score it changes; largest_change: of such a score."""

    used: str
    sample: int = 0
    changed_predictions: float = 0.0
    changed_scores: float = 0.0
    largest_change: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def note(self) -> list[str]:
        """A sentence for people where mixed precision had to be left out."""
        if self.used != "float32" or not self.sample:
            return []
        return [
            f"Mixed precision changes {self.changed_predictions:.1%} of this model's predictions, so it computes in "
            "float32, which is slower."
        ]


def choose_precision(model: nn.Module, images: Images, scales: Sequence[float], *, seed: int = 0) -> Precision:
    """Compare both precisions on a sample of uint8 images [N, H, W, 3] and their scaled copies, and let the model use
    the fast one if at most 2 % of the predictions change. Costs about 2 · (1 + S) forwards an image of the sample."""
    if not half_precision(device_of(model)):
        return Precision("float32")
    count = min(len(images), int(np.clip(len(images) // _ONE_IN, _FEWEST, _MOST)))
    rows = np.sort(np.random.default_rng([seed, 17]).choice(len(images), count, replace=False))
    exact = _classes(model, images, rows, scales, half=False)
    rounded = _classes(model, images, rows, scales, half=True)
    scores = [(found[:, 1:] == found[:, :1]).mean(1) for found in (exact, rounded)]
    difference = np.abs(scores[0] - scores[1])
    changed = float((exact != rounded).mean())
    allow_half(model, changed <= LARGEST_CHANGE)
    return Precision(
        "bfloat16" if changed <= LARGEST_CHANGE else "float32",
        count,
        changed,
        float((difference > 0).mean()),
        float(difference.max()),
    )


def _classes(model: nn.Module, images: Images, rows: np.ndarray, scales: Sequence[float], *, half: bool) -> np.ndarray:
    """Predicted class of each image, unscaled and at each scale: int [B, 1 + S]."""
    found = []
    with frozen(model) as device, torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for part in np.array_split(rows, -(-len(rows) // _FEWEST)):
            batch = to_float(images[part], device)
            logits = [forward_pass(model, scale_images(batch, scale)).float().cpu() for scale in (1.0, *scales)]
            check_finite(logits[0])
            found.append(torch.stack(logits, 1).argmax(2).numpy())
    return np.concatenate(found)
